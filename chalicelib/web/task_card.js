// The card of a task: its text, its prediction, and either the controls to complete it or its result.
import { richText } from "./rich_text.js";
import { answerControls } from "./task_answer.js";
import { deleteWithUndo } from "./task_delete.js";
import { difficultyBadge, duration, el, excerpt, forecast, percent, sourceBadge, timeElement, wasPredicted } from "./ui.js";

const LONG_TEXT = 400;
const SHOWN_OF_LONG_TEXT = 200;
const NAME_LENGTH = 60; // of the exercise, in the name of a button
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

/** Return the result and the prediction. A new result also gets bars that compare the times. */
function result(task, isNew) {
  const { is_correct: correct, actual_time_seconds: actual, predicted_time_seconds: predicted } = task;
  const timed = actual > 0; // 0 means that the time was not measured
  const predicts = wasPredicted(task);
  const verdict = el("p", { className: "verdict", data: { correct: String(correct) }, tabIndex: -1 },
    el("strong", {}, `${correct ? "Correct" : "Incorrect"}${timed ? ` in ${duration(actual)}` : ""}`),
    timed && predicts ? `, ${comparison(actual, predicted)}` : "", timed ? "" : ", time not recorded");
  const prediction = predicts
    ? el("p", { className: "sub" }, `Predicted: ${percent(task.predicted_correct)} chance, ${duration(predicted)} `, sourceBadge(task.prediction_source))
    : el("p", { className: "sub" }, "Imported, so there was no prediction");
  if (!isNew || !timed || !predicts) return el("div", { className: "result" }, verdict, prediction);
  const longest = Math.max(actual, predicted);
  return el("div", { className: "result fresh" }, verdict, prediction,
    bar("predicted", "Predicted", predicted / longest, duration(predicted)),
    bar("actual", "Actual", actual / longest, duration(actual)));
}

/**
 * Return the card of a task; `isNew` marks a result that was just given. `onChange(task)` gets the changed task, or
 * null once it is deleted.
 */
export function taskCard(task, onChange, isNew = false) {
  const place = el("div", { className: "notices", attributes: { "aria-live": "polite" } });
  const card = el("div", { className: "card task", role: "listitem", id: `task-${task.id}`, data: { id: task.id, completed: String(task.completed) } });

  function replace(changed) {
    if (changed === null) card.remove();
    else {
      const next = taskCard(changed, onChange, true);
      card.replaceWith(next);
      next.querySelector(".verdict").focus(); // the button that had the focus is gone
    }
    onChange(changed);
  }

  const name = `${task.topic}: ${excerpt(task.task_content, NAME_LENGTH)}`;
  const remove = el("button", { type: "button", className: "quiet remove", ariaLabel: `Delete the task ${name}` }, "Delete");
  remove.addEventListener("click", () => deleteWithUndo(task, card, { restore: () => taskCard(task, onChange, isNew), onDeleted: () => onChange(null) }));
  if (task.completed) {
    const shown = result(task, isNew);
    const change = el("button", { type: "button", className: "quiet", ariaLabel: `Change the result of ${name}` }, "Change");
    change.addEventListener("click", () => {
      const cancel = () => {
        controls.replaceWith(shown);
        change.hidden = false;
        change.focus();
        place.replaceChildren();
      };
      const controls = answerControls(task, place, replace, cancel);
      change.hidden = true;
      shown.replaceWith(controls);
      controls.querySelector("input").select();
    });
    card.append(head(task, change, remove), content(task), shown);
  } else {
    card.append(head(task, remove), content(task), el("div", { className: "forecast" }, ...forecast(task)), answerControls(task, place, replace));
  }
  card.append(place);
  return card;
}
