// One task of the list: its content, its prediction, and the controls to answer it or its result beside the prediction.
import { answerControls } from "./task_answer.js";
import { deleteWithUndo } from "./task_delete.js";
import { difficultyBadge, duration, el, forecast, percent, sourceBadge, timeElement } from "./ui.js";

const LONG_TEXT = 400;
const SHOWN_OF_LONG_TEXT = 200;
const AS_PREDICTED = 1.1; // a time within a tenth of the predicted one

function head(task, ...tools) {
  return el("div", { className: "task-head" },
    el("h3", { dir: "auto", id: `topic-${task.id}` }, task.topic),
    el("span", { className: "sub", dir: "auto" }, task.subject),
    difficultyBadge(task.difficulty),
    el("span", { className: "sub when" }, timeElement(task.completed_at ?? task.created_at)),
    el("div", { className: "task-tools" }, ...tools));
}

/** The student's own text, as text: `dir=auto` sets right-to-left scripts the right way round. */
function content(task) {
  if (task.task_content.length <= LONG_TEXT) return el("p", { className: "content", dir: "auto" }, task.task_content);
  return el("details", { className: "content" },
    el("summary", { dir: "auto" }, `${task.task_content.slice(0, SHOWN_OF_LONG_TEXT).trimEnd()}…`),
    el("p", { dir: "auto" }, task.task_content));
}

/** How the actual time stands to the predicted one, in words. */
function comparison({ actual_time_seconds: actual, predicted_time_seconds: predicted }) {
  if (actual === null || actual === 0) return "no time was taken";
  const ratio = actual / Math.max(predicted, 1);
  if (ratio > AS_PREDICTED) return "slower than predicted";
  return ratio < 1 / AS_PREDICTED ? "faster than predicted" : "as fast as predicted";
}

function bar(kind, label, share, text) {
  return el("div", { className: "compare" },
    el("span", { className: "label" }, label),
    el("meter", { className: kind, min: 0, max: 1, value: share, ariaLabel: `${label}: ${text}` }),
    el("span", { className: "number" }, text));
}

/** The result beside the prediction: in a line, and in bars right after it was given. */
function result(task, fresh) {
  const { is_correct: correct, actual_time_seconds: actual, predicted_time_seconds: predicted } = task;
  const verdict = el("p", { className: "verdict", data: { correct: String(correct) }, tabIndex: -1 },
    el("strong", {}, `${correct ? "Correct" : "Incorrect"}${actual === null ? "" : ` in ${duration(actual)}`}`),
    " ",
    el("span", {}, comparison(task)));
  const expected = el("p", { className: "sub" }, `Predicted ${percent(task.predicted_correct)} chance, ${duration(predicted)} `, sourceBadge(task.prediction_source));
  if (!fresh || actual === null) return el("div", { className: "result" }, verdict, expected);
  const longest = Math.max(actual, predicted, 1);
  return el("div", { className: "result fresh" }, verdict, expected,
    bar("predicted", "Predicted", predicted / longest, duration(predicted)),
    bar("actual", "Actual", actual / longest, duration(actual)));
}

/**
 * The card of a task; `fresh` for one that was just completed. `onChange(task)` is called with the changed task, or
 * null once it is gone.
 */
export function taskCard(task, onChange, fresh = false) {
  const place = el("div", { className: "notices", attributes: { "aria-live": "polite" } });
  const card = el("div", { className: "card task", role: "listitem", id: `task-${task.id}`, data: { id: task.id, completed: String(task.completed) } });

  function changed(now) {
    if (now === null) card.remove();
    else {
      const next = taskCard(now, onChange, true);
      card.replaceWith(next);
      next.querySelector(".verdict").focus(); // the buttons that had it are gone
    }
    onChange(now);
  }

  const remove = el("button", { type: "button", className: "quiet remove", ariaLabel: `Delete the task ${task.topic}` }, "Delete");
  remove.addEventListener("click", () => deleteWithUndo(task, card, { again: () => taskCard(task, onChange, fresh), gone: () => onChange(null) }));
  if (task.completed) {
    const shown = result(task, fresh);
    const change = el("button", { type: "button", className: "quiet", ariaLabel: `Change the result of ${task.topic}` }, "Change");
    change.addEventListener("click", () => {
      change.remove();
      const controls = answerControls(task, place, changed);
      shown.replaceWith(controls);
      controls.querySelector("input").select();
    });
    card.append(head(task, change, remove), content(task), shown);
  } else {
    card.append(head(task, remove), content(task), el("div", { className: "forecast" }, ...forecast(task).filter((part) => part !== null)), answerControls(task, place, changed));
  }
  card.append(place);
  return card;
}
