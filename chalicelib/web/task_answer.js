// The controls that complete a task: the seconds, by stopwatch or by hand, and Correct or Incorrect, by click or key.
import { ApiError, request } from "./api.js";
import { matches } from "./answer_check.js";
import { announceChange, latestState } from "./freshness.js";
import { richText } from "./rich_text.js";
import { secondsIn, stopwatch } from "./stopwatch.js";
import { refreshSoon, showCompletion } from "./training.js";
import { draft, duration, el, notice, relativeTime, report, whileBusy } from "./ui.js";

const ANSWERED_BEFORE_MS = 5000; // a first result is stored within moments of its time

function answerButton(className, text, letter, describedBy) {
  const attributes = { "aria-keyshortcuts": letter.toLowerCase(), "aria-describedby": describedBy };
  return el("button", { type: "button", className, attributes }, text, el("kbd", { ariaHidden: "true" }, letter));
}

/**
 * Return the Latin letter of a key. A key that types one means it, wherever it is: Dvorak and AZERTY move the letters
 * that are printed on the buttons. With another script, such as Cyrillic, the position of the key (`code`) decides.
 */
function letterOf({ key, code }) {
  return (/^[a-z]$/i.test(key) ? key : /^Key([A-Z])$/.exec(code)?.[1] ?? "").toLowerCase();
}

const TAKES_LETTERS = "input:not(.seconds), textarea";
const MODIFIERS = ["Control", "Alt", "AltGraph", "Meta", "Shift"];

/** Let keys press the buttons while the focus is in `place`, also in the input of seconds, which takes no letters. */
export function addShortcuts(place, buttons) {
  place.addEventListener("keydown", (event) => {
    const button = buttons[letterOf(event)];
    if (button === undefined || event.target.matches(TAKES_LETTERS) || event.repeat || event.isComposing || MODIFIERS.some((name) => event.getModifierState(name))) return;
    event.preventDefault();
    button.click();
  });
}

const pathOf = (task) => `practice-tasks/${encodeURIComponent(task.id)}`;

/** Store a result on the server, and return the completed task. */
async function patch(task, body) {
  const { data } = await request("PATCH", pathOf(task), { body });
  const { training, ...completed } = data;
  // A repeated completion, sent again because its first response was lost, comes back without the counter.
  if (training) showCompletion(training);
  else refreshSoon();
  if (!task.completed && Date.parse(completed.updated_at) - Date.parse(completed.completed_at) > ANSWERED_BEFORE_MS) {
    notice(`This task had been answered ${relativeTime(new Date(completed.completed_at))}. Your new result has replaced that one.`, { kind: "info" });
  }
  return completed;
}

/** Return a button that shows the solution of an open task. That is recorded, because it tells how much a result says. */
function solutionButton(task, controls) {
  const button = el("button", { type: "button", className: "quiet" }, "Show the solution");
  button.addEventListener("click", () => {
    const shown = el("div", { className: "solution", tabIndex: -1 }, el("h4", {}, "Solution"), richText(task.solution_content));
    button.replaceWith();
    controls().before(shown);
    shown.focus();
    request("PATCH", pathOf(task), { body: { solution_viewed_at: new Date().toISOString() }, quiet: true })
      .catch((error) => { if (!(error instanceof ApiError)) throw error; }); // the solution is shown also without the server
  });
  return button;
}

/** Return the field for an answer that is compared with the accepted one. `check(typed)` gets what is typed. */
function answerField(task, describedBy, check) {
  const id = `typed-${task.id}`;
  const saved = draft(`typed:${task.id}`);
  const input = el("input", { id, type: "text", maxLength: 1000, autocomplete: "off", spellcheck: false, dir: "auto", value: saved.read() ?? "", attributes: { autocapitalize: "none", "aria-describedby": describedBy } });
  const button = el("button", { type: "button", className: "primary", attributes: { "aria-describedby": describedBy } }, "Check");
  const submit = () => { if (input.value.trim() === "") input.focus(); else check(input.value.trim()); };
  input.addEventListener("input", () => saved.write(input.value));
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  button.addEventListener("click", submit);
  return el("div", { className: "typed" }, el("label", { htmlFor: id }, "Your answer"), input, button);
}

/**
 * Return the controls of a task that is open or whose result is to be changed. Errors are shown in `place`.
 *
 * `onChange(task, typed)` gets the completed task, or null if it no longer exists, and the answer that was compared.
 * `submit(task, body)` stores a result and returns a promise of the completed task. `onCancel()` puts the former result back.
 */
export function answerControls(task, place, onChange, { submit = patch, onCancel = null } = {}) {
  const id = `seconds-${task.id}`;
  const topic = `topic-${task.id} content-${task.id}`;
  const input = el("input", { id, type: "text", inputMode: "numeric", className: "seconds", autocomplete: "off", maxLength: 5, attributes: { "aria-describedby": `${topic} ${id}-error` } });
  const inputError = el("p", { className: "error", id: `${id}-error`, role: "alert" });
  const question = el("div", { className: "question", role: "group", hidden: true, attributes: { "aria-labelledby": `${id}-question` } });
  if (task.completed) input.value = String(Math.round(task.actual_time_seconds ?? 0));
  const watch = stopwatch(input, task.id);
  const correct = answerButton("good", "Correct", "C", topic);
  const incorrect = answerButton("bad", "Incorrect", "I", topic);

  /** Ask which time is right, if the stopwatch ran for hours or while the device slept. Returns whether it asks. */
  function asks(isCorrect, typed) {
    const doubt = watch.doubt();
    if (doubt === null) return false;
    const { total, worked } = doubt;
    const choose = (seconds) => {
      watch.set(seconds);
      answer(isCorrect, typed);
    };
    const choice = (seconds, text) => el("button", { type: "button", onclick: () => choose(seconds) }, text);
    const gap = total > worked ? ` For ${duration(total - worked)} of it, this page was not running.` : "";
    question.replaceChildren(
      el("p", { id: `${id}-question` }, `The timer shows ${duration(total)}.${gap} How long did you work on this task?`),
      ...[...new Set([total, worked, 0])].map((seconds) => choice(seconds, seconds === 0 ? "I do not know" : duration(seconds))));
    question.hidden = false;
    question.querySelector("button").focus();
    return true;
  }

  async function complete(isCorrect, typed) {
    await latestState();
    if (!controls.isConnected) return; // answered elsewhere: the card has been replaced
    watch.stop();
    question.hidden = true;
    if (asks(isCorrect, typed)) return;
    const seconds = secondsIn(input);
    inputError.textContent = seconds === null ? "Enter the time in whole seconds, from 0 to 86400, or start the timer." : "";
    input.ariaInvalid = seconds === null ? "true" : null;
    if (seconds === null) {
      input.focus();
      return;
    }
    try {
      const completed = await submit(task, { completed: true, is_correct: isCorrect, actual_time_seconds: seconds });
      watch.forget();
      draft(`typed:${task.id}`).clear();
      onChange(completed, typed);
      announceChange();
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) {
        watch.forget();
        onChange(null);
        notice("That task no longer exists: it has been deleted.", { kind: "info" });
      } else report(error, { place, retry: () => answer(isCorrect, typed) });
    }
  }

  input.addEventListener("input", () => { question.hidden = true; });
  const answer = (isCorrect, typed = null) => whileBusy([correct, incorrect], () => complete(isCorrect, typed));
  correct.addEventListener("click", () => answer(true));
  incorrect.addEventListener("click", () => answer(false));
  const cancel = () => {
    watch.forget();
    onCancel();
  };
  const controls = el("div", { className: "answer" },
    task.completed || !task.answer_content ? null : answerField(task, topic, (typed) => answer(matches(typed, task.answer_content), typed)),
    el("div", { className: "time" }, el("label", { htmlFor: id }, "Seconds"), input, watch.button),
    el("div", { className: "actions" }, correct, incorrect, onCancel === null ? null : el("button", { type: "button", className: "quiet", onclick: cancel }, "Cancel")),
    task.completed || !task.solution_content ? null : solutionButton(task, () => controls),
    inputError,
    question);
  addShortcuts(controls, { c: correct, i: incorrect, s: watch.button });
  if (onCancel !== null) controls.addEventListener("keydown", ({ key }) => { if (key === "Escape") cancel(); });
  return controls;
}
