// How a task is answered: the seconds by stopwatch or by hand, and Correct or Incorrect by click or key.
import { ApiError, request } from "./api.js";
import { secondsIn, stopwatch } from "./stopwatch.js";
import { noteCompletion, refreshSoon } from "./training.js";
import { el, notice, report, whileBusy } from "./ui.js";

const key = (letter) => el("kbd", { ariaHidden: "true" }, letter);

function answerButton(className, text, letter, describedBy) {
  const attributes = { "aria-keyshortcuts": letter.toLowerCase(), "aria-describedby": describedBy };
  return el("button", { type: "button", className, attributes }, text, key(letter));
}

/** Keys do what the buttons say while the focus is in the task: C, I and S, also in the field of seconds. */
function listenToKeys(place, buttons) {
  place.addEventListener("keydown", (event) => {
    const button = buttons[event.key.toLowerCase()];
    if (button === undefined || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    event.preventDefault();
    button.click();
  });
}

async function send(task, body, watch, changed) {
  const { data } = await request("PATCH", `practice-tasks/${encodeURIComponent(task.id)}`, { body });
  const { training, ...completed } = data;
  watch.forget();
  changed(completed);
  // A completion that was sent twice, because its first answer got lost, does not tell the counter again.
  if (training) noteCompletion(training);
  else refreshSoon();
}

/**
 * The controls of a task, open or to be corrected. `place` shows what goes wrong; `changed(task)` is called with the
 * completed task, or null when it is gone.
 */
export function answerControls(task, place, changed) {
  const id = `seconds-${task.id}`;
  const topic = `topic-${task.id}`;
  const input = el("input", { id, type: "text", inputMode: "numeric", className: "seconds", autocomplete: "off", maxLength: 5, attributes: { "aria-describedby": `${topic} ${id}-error` } });
  const wrong = el("p", { className: "error", id: `${id}-error`, role: "alert" });
  if (task.completed) input.value = String(Math.round(task.actual_time_seconds ?? 0));
  const watch = stopwatch(input, task.id);
  const right = answerButton("good", "Correct", "C", topic);
  const incorrect = answerButton("bad", "Incorrect", "I", topic);

  async function complete(isCorrect) {
    watch.stop();
    const seconds = secondsIn(input);
    wrong.textContent = seconds === null ? "Enter whole seconds from 0 to 86400, or start the clock." : "";
    input.ariaInvalid = seconds === null ? "true" : null;
    if (seconds === null) {
      input.focus();
      return;
    }
    try {
      await send(task, { completed: true, is_correct: isCorrect, actual_time_seconds: seconds }, watch, changed);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) {
        watch.forget();
        changed(null);
        notice("That task is no longer there: it was deleted meanwhile.", { kind: "info" });
      } else report(error, { place, again: () => answer(isCorrect) });
    }
  }

  const answer = (isCorrect) => whileBusy([right, incorrect], () => complete(isCorrect));
  right.addEventListener("click", () => answer(true));
  incorrect.addEventListener("click", () => answer(false));
  const controls = el("div", { className: "answer" },
    el("div", { className: "time" }, el("label", { htmlFor: id }, "Seconds"), input, watch.button),
    el("div", { className: "actions" }, right, incorrect),
    wrong);
  listenToKeys(controls, { c: right, i: incorrect, s: watch.button });
  return controls;
}
