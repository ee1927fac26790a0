// The card of a task: its text, its prediction, and either the controls to complete it or its result.
import { richText } from "./rich_text.js";
import { addShortcuts, answerControls } from "./task_answer.js";
import { deleteWithUndo } from "./task_delete.js";
import { difficultyBadge, duration, el, excerpt, forecast, percent, sourceBadge, timeElement, wasPredicted } from "./ui.js";

const LONG_TEXT = 400;
const SHOWN_OF_LONG_TEXT = 200;
const SIMILAR = 1.1; // a time within a tenth of the predicted one counts as predicted

function head(task, ...tools) {
  return el("div", { className: "task-head" },
    el("h3", { dir: "auto", id: `topic-${task.id}` }, task.topic),
    el("span", { className: "sub", dir: "auto" }, task.subject),
    difficultyBadge(task.difficulty),
    el("span", { className: "sub when" }, timeElement(task.completed_at ?? task.created_at)),
    el("div", { className: "task-tools" }, ...tools));
}

/** Return the exercise. A long one is folded, and laid out when it is opened. `dir=auto` finds the direction of its script. */
function content(task) {
  const id = `content-${task.id}`; // describes the buttons of the card, because tasks of one topic have the same names
  if (task.task_content.length <= LONG_TEXT) return el("div", { className: "content", id }, richText(task.task_content));
  const plain = el("p", { dir: "auto" }, task.task_content); // browsers search it, and open what they find
  const details = el("details", { className: "content" }, el("summary", { dir: "auto", id }, excerpt(task.task_content, SHOWN_OF_LONG_TEXT)), plain);
  details.addEventListener("toggle", () => plain.replaceWith(richText(task.task_content)), { once: true });
  return details;
}

/** Compare the actual time with the predicted one, in words. */
function comparison(actual, predicted) {
  const ratio = actual / Math.max(predicted, 1);
  if (ratio > SIMILAR) return "slower than predicted";
  return ratio < 1 / SIMILAR ? "faster than predicted" : "as fast as predicted";
}

function bar(kind, label, share, text) {
  return el("div", { className: "compare" },
    el("span", { className: "label" }, label),
    el("meter", { className: kind, min: 0, max: 1, value: share, ariaLabel: `${label}: ${text}` }),
    el("span", { className: "number" }, text));
}

function section(name, text) {
  return el("div", { className: "solution" }, el("h4", {}, name), richText(text));
}

/** Return the accepted answer and the solution. A new result shows them; otherwise they are folded. */
function solution(task, isNew, typed) {
  const { solution_content: text, answer_content: accepted } = task;
  const parts = () => [
    typed === null ? null : section("Your answer", typed),
    accepted ? section("Accepted answer", accepted) : null,
    text ? section("Solution", text) : null,
  ].filter((part) => part !== null);
  if (!text && !accepted) return null;
  if (isNew) return el("div", {}, ...parts());
  const details = el("details", { className: "more" }, el("summary", {}, "Solution and answer"));
  details.addEventListener("toggle", () => details.append(...parts()), { once: true });
  return details;
}

/** Return the result and the prediction. A new result also gets bars that compare the times. */
function result(task, isNew) {
  const { is_correct: correct, actual_time_seconds: actual, predicted_time_seconds: predicted } = task;
  const timed = actual > 0; // 0 means that the time was not measured
  const predicts = wasPredicted(task);
  const verdict = el("p", { className: "verdict", id: `verdict-${task.id}`, data: { correct: String(correct) }, tabIndex: -1 },
    el("strong", {}, `${correct ? "Correct" : "Incorrect"}${timed ? ` in ${duration(actual)}` : ""}`),
    timed && predicts ? `, ${comparison(actual, predicted)}` : "", timed ? "" : ", time not recorded",
    (task.solution_viewed_at ?? null) === null ? "" : ", solution viewed before the answer");
  const prediction = predicts
    ? el("p", { className: "sub" }, `Predicted: ${percent(task.predicted_correct)} chance, ${duration(predicted)} `, sourceBadge(task.prediction_source))
    : el("p", { className: "sub" }, "Imported, so there was no prediction");
  if (!isNew || !timed || !predicts) return el("div", { className: "result" }, verdict, prediction);
  const longest = Math.max(actual, predicted);
  return el("div", { className: "result fresh" }, verdict, prediction,
    bar("predicted", "Predicted", predicted / longest, duration(predicted)),
    bar("actual", "Actual", actual / longest, duration(actual)));
}

/** Return the button that leads on from a new result, and lets a key press it. */
function nextButton(card, task, onNext) {
  const button = el("button", { type: "button", className: "primary next-task", attributes: { "aria-keyshortcuts": "n", "aria-describedby": `verdict-${task.id}` } }, "Next task", el("kbd", { ariaHidden: "true" }, "N"));
  button.addEventListener("click", () => onNext(card));
  addShortcuts(card, { n: button });
  return button;
}

/**
 * Return the card of a task; `isNew` marks a result that was just given, and `typed` is the answer that was compared.
 *
 * `onChange(task)` gets the changed task, or null once it is deleted. `onNext(card)` leads on from a new result. `submit`
 * stores a result, see answerControls().
 */
export function taskCard(task, options, isNew = false, typed = null) {
  const { onChange, onNext = null } = options;
  const place = el("div", { className: "notices", attributes: { "aria-live": "polite" } });
  const card = el("div", { className: "card task", role: "listitem", id: `task-${task.id}`, data: { id: task.id, completed: String(task.completed) } });

  function replace(changed, typedAnswer = null) {
    if (changed === null) card.remove();
    else {
      const next = taskCard(changed, options, true, typedAnswer);
      card.replaceWith(next);
      (next.querySelector(".next-task") ?? next.querySelector(".verdict")).focus(); // the button that had the focus is gone
    }
    onChange(changed, { isNew: !task.completed, typed: typedAnswer });
  }

  const attributes = { "aria-describedby": `content-${task.id}` };
  const remove = el("button", { type: "button", className: "quiet remove", ariaLabel: `Delete the task ${task.topic}`, attributes }, "Delete");
  remove.addEventListener("click", () => deleteWithUndo(task, card, { restore: () => taskCard(task, options, isNew), onDeleted: () => onChange(null) }));
  if (task.completed) {
    const shown = result(task, isNew);
    const explained = solution(task, isNew, typed);
    const change = el("button", { type: "button", className: "quiet", ariaLabel: `Change the result of ${task.topic}`, attributes }, "Change");
    change.addEventListener("click", () => {
      const cancel = () => {
        controls.replaceWith(shown);
        change.hidden = false;
        change.focus();
        place.replaceChildren();
      };
      const controls = answerControls(task, place, replace, { submit: options.submit, onCancel: cancel });
      change.hidden = true;
      shown.replaceWith(controls);
      controls.querySelector("input").select();
    });
    card.append(head(task, change, remove), content(task), shown);
    if (explained !== null) card.append(explained);
    if (isNew && onNext !== null) card.append(nextButton(card, task, onNext));
  } else {
    card.append(head(task, remove), content(task), el("div", { className: "forecast" }, ...forecast(task)), answerControls(task, place, replace, { submit: options.submit }));
  }
  card.append(place);
  return card;
}
