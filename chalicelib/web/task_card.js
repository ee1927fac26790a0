// One task of the list: its content and prediction, the stopwatch and the two answers, or the result.
import { ApiError, request } from "./api.js";
import { secondsIn, stopwatch } from "./stopwatch.js";
import { noteCompletion, refreshSoon } from "./training.js";
import { DIFFICULTY, byId, duration, el, expectedTime, notice, percent, report, sourceBadge, timeElement, whileBusy } from "./ui.js";

const LONG_TEXT = 400;

function head(task) {
  return el("div", { className: "task-head" },
    el("h3", { dir: "auto" }, task.topic),
    el("span", { className: "sub", dir: "auto" }, task.subject),
    el("span", { className: "badge", data: { difficulty: task.difficulty } }, DIFFICULTY[task.difficulty] ?? task.difficulty),
    el("span", { className: "sub when" }, timeElement(task.completed_at ?? task.created_at)));
}

/** The student's own text, as text: `dir=auto` sets right-to-left scripts the right way round. */
function content(task) {
  if (task.task_content.length <= LONG_TEXT) return el("p", { className: "content", dir: "auto" }, task.task_content);
  return el("details", { className: "content" },
    el("summary", { dir: "auto" }, `${task.task_content.slice(0, 200).trimEnd()}…`),
    el("p", { dir: "auto" }, task.task_content));
}

function prediction(task) {
  return el("p", { className: "prediction" },
    el("span", { className: "label" }, "Predicted"),
    el("strong", {}, percent(task.predicted_correct)),
    el("span", {}, "to be correct, in"),
    el("strong", {}, expectedTime(task)),
    sourceBadge(task.prediction_source));
}

/** How the actual time stands to the predicted one, in words; within a tenth it is as predicted. */
function comparison(task) {
  if (task.actual_time_seconds === null) return "no time was taken";
  const ratio = task.actual_time_seconds / task.predicted_time_seconds;
  const against = `predicted ${duration(task.predicted_time_seconds)}`;
  if (ratio > 1.1) return `slower than ${against}`;
  return ratio < 0.9 ? `faster than ${against}` : `as ${against}`;
}

function bar(kind, label, share, text) {
  return el("div", { className: "compare" },
    el("span", { className: "label" }, label),
    el("meter", { className: kind, min: 0, max: 1, value: share, ariaLabel: `${label}: ${text}` }),
    el("span", {}, text));
}

function result(task) {
  const verdict = task.is_correct ? "Correct" : "Incorrect";
  const parts = [el("p", { className: "verdict", data: { correct: String(task.is_correct) } },
    el("strong", {}, verdict),
    el("span", {}, ` in ${duration(task.actual_time_seconds)}: ${comparison(task)}, chance ${percent(task.predicted_correct)}`))];
  if (task.actual_time_seconds !== null) {
    const longest = Math.max(task.actual_time_seconds, task.predicted_time_seconds, 1);
    parts.push(bar("predicted", "Predicted", task.predicted_time_seconds / longest, duration(task.predicted_time_seconds)),
      bar("actual", "Actual", task.actual_time_seconds / longest, duration(task.actual_time_seconds)));
  }
  return el("div", { className: "result" }, ...parts);
}

/** Ask before deleting; resolves to whether to do it. */
function confirmDelete(task) {
  const dialog = byId("confirm-delete");
  byId("confirm-text").textContent = task.completed
    ? `“${task.topic}”: its result is forgotten too, and no longer counts in your predictions.`
    : `“${task.topic}” has not been done yet.`;
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "delete"), { once: true });
  });
}

function answerControls(task, place, replace) {
  const id = `seconds-${task.id}`;
  const input = el("input", { id, type: "text", inputMode: "numeric", className: "seconds", autocomplete: "off", maxLength: 5, attributes: { "aria-describedby": `${id}-error` } });
  const wrong = el("p", { className: "error", id: `${id}-error`, role: "alert" });
  const watch = stopwatch(input, task.id);
  const right = el("button", { type: "button", className: "good" }, "Correct");
  const incorrect = el("button", { type: "button", className: "bad" }, "Incorrect");

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
      const body = { completed: true, is_correct: isCorrect, actual_time_seconds: seconds };
      const { data } = await request("PATCH", `practice-tasks/${encodeURIComponent(task.id)}`, { body });
      const { training, ...completed } = data;
      watch.forget();
      replace(completed);
      // A completion that was sent twice, because its first answer got lost, does not tell the counter again.
      if (training) noteCompletion(training);
      else refreshSoon();
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) {
        watch.forget();
        replace(null);
        notice("That task is no longer there: it was deleted meanwhile.", { kind: "info" });
      } else report(error, { place, again: () => answer(isCorrect) });
    }
  }

  const answer = (isCorrect) => whileBusy([right, incorrect], () => complete(isCorrect));
  right.addEventListener("click", () => answer(true));
  incorrect.addEventListener("click", () => answer(false));
  return el("div", { className: "answer" },
    el("div", { className: "time" }, el("label", { htmlFor: id }, "Seconds"), input, watch.button),
    el("div", { className: "actions" }, right, incorrect),
    wrong);
}

/** The card of a task. `onChange(task)` is called with the changed task, or null once it is gone. */
export function taskCard(task, onChange) {
  const place = el("div", { className: "notices", attributes: { "aria-live": "polite" } });
  const card = el("li", { className: "card task", data: { id: task.id, completed: String(task.completed) } });

  function replace(changed) {
    if (changed === null) card.remove();
    else {
      const next = taskCard(changed, onChange);
      card.replaceWith(next);
      next.querySelector(".verdict")?.focus();
    }
    onChange(changed, task);
  }

  const remove = el("button", { type: "button", className: "quiet remove", ariaLabel: `Delete the task ${task.topic}` }, "Delete");
  remove.addEventListener("click", async () => {
    if (!(await confirmDelete(task))) return;
    await whileBusy([remove], async () => {
      try {
        await request("DELETE", `practice-tasks/${encodeURIComponent(task.id)}`);
        replace(null);
        if (task.completed) refreshSoon();
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) replace(null);
        else report(error, { place });
      }
    });
  });

  card.append(head(task), content(task), task.completed ? result(task) : prediction(task));
  if (task.completed) card.querySelector(".verdict").tabIndex = -1; // takes the focus when the buttons are gone
  else card.append(answerControls(task, place, replace));
  card.append(place, remove);
  return card;
}
