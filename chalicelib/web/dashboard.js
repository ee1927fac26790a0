// The overview: the student's figures, the training, the last tasks.
import { request } from "./api.js";
import { figures } from "./figures.js";
import { startTrainingPanel } from "./training.js";
import { DIFFICULTY, byId, duration, el, percent, report, startPage, timeElement } from "./ui.js";

const LAST_TASKS = 6;

function row(task) {
  const state = task.completed
    ? el("span", { className: "outcome", data: { correct: String(task.is_correct) } }, `${task.is_correct ? "Correct" : "Incorrect"} in ${duration(task.actual_time_seconds)}`)
    : el("span", { className: "outcome" }, "Open");
  return el("li", {},
    el("span", { className: "name" }, el("strong", { dir: "auto" }, task.topic), el("span", { className: "sub", dir: "auto" }, task.subject), el("span", { className: "badge" }, DIFFICULTY[task.difficulty] ?? task.difficulty)),
    el("span", { className: "sub" }, `Predicted ${percent(task.predicted_correct)}, ${duration(task.predicted_time_seconds)}`),
    state,
    el("span", { className: "sub when" }, timeElement(task.completed_at ?? task.created_at)));
}

async function fill(place, load) {
  try {
    place.replaceChildren(...await load());
    place.ariaBusy = null;
  } catch (error) {
    place.replaceChildren(el("p", { className: "sub" }, "Could not be loaded."));
    place.ariaBusy = null;
    report(error, { again: () => fill(place, load) });
  }
}

async function lastTasks() {
  const { data } = await request("GET", `practice-tasks?limit=${LAST_TASKS}`);
  if (data.length === 0) return [el("p", { className: "empty" }, "No tasks yet. Create the first one: you see at once how likely you are to solve it.")];
  return [el("ul", { className: "rows" }, ...data.map(row))];
}

async function work() {
  const { data } = await request("GET", `analytics/summary?utc_offset_minutes=${-new Date().getTimezoneOffset()}`);
  return figures(data);
}

if (startPage()) {
  startTrainingPanel();
  fill(byId("work"), work);
  fill(byId("last-tasks"), lastTasks);
}
