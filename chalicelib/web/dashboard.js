// The overview: what to practise next, the student's progress, the training, the last tasks.
import { request } from "./api.js";
import { withoutDeleted } from "./deletions.js";
import { progress } from "./progress.js";
import { recommended } from "./recommended.js";
import { pageUrl } from "./session.js";
import { startTrainingPanel } from "./training.js";
import { byId, difficultyBadge, duration, el, percent, report, startPage, timeElement } from "./ui.js";

const LAST_TASKS = 6;

function outcome(task) {
  if (!task.completed) return el("span", { className: "outcome" }, el("a", { href: pageUrl(`dashboard/tasks#task-${task.id}`) }, "Open"));
  return el("span", { className: "outcome", data: { correct: String(task.is_correct) } }, `${task.is_correct ? "Correct" : "Incorrect"} in ${duration(task.actual_time_seconds)}`);
}

function row(task) {
  return el("li", {},
    el("span", { className: "name" }, el("strong", { dir: "auto" }, task.topic), el("span", { className: "sub", dir: "auto" }, task.subject), difficultyBadge(task.difficulty)),
    el("span", { className: "sub" }, `Predicted ${percent(task.predicted_correct)}, ${duration(task.predicted_time_seconds)}`),
    outcome(task),
    el("span", { className: "sub when" }, timeElement(task.completed_at ?? task.created_at)));
}

async function lastTasks() {
  const { data } = await request("GET", `practice-tasks?limit=${LAST_TASKS}`);
  const tasks = withoutDeleted(data);
  if (tasks.length === 0) return [el("p", { className: "empty" }, el("strong", {}, "No tasks yet"), "The tasks that you create and finish appear here.")];
  return [el("ul", { className: "rows" }, ...tasks.map(row))];
}

/** Fill a place by a request; a failure is said inside the place, where it can be tried again. */
async function fill(place, load) {
  place.ariaBusy = "true";
  try {
    place.replaceChildren(...await load());
  } catch (error) {
    report(error, { place, again: () => fill(place, load) });
  } finally {
    place.ariaBusy = null;
  }
}

function fillAll() {
  fill(byId("next"), recommended);
  fill(byId("work"), progress);
  fill(byId("last-tasks"), lastTasks);
}

if (startPage()) {
  startTrainingPanel({ trained: () => fill(byId("next"), recommended) });
  fillAll();
}
