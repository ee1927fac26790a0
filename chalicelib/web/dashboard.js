// The overview: what to practise next, the student's progress, the training panel, recent tasks.
import { request } from "./api.js";
import { withoutDeleted } from "./deletions.js";
import { due } from "./due.js";
import { startExport } from "./export.js";
import { progress } from "./progress.js";
import { recommended } from "./recommended.js";
import { pageUrl } from "./session.js";
import { startTrainingPanel } from "./training.js";
import { byId, difficultyBadge, duration, el, excerpt, percent, report, startPage, timeElement, wasPredicted, yieldToBrowser } from "./ui.js";

const RECENT_TASKS = 6;

function outcome(task) {
  const name = `Open ${task.topic}: ${excerpt(task.task_content, 60)}`; // several tasks may have the same topic
  if (!task.completed) return el("span", { className: "outcome" }, el("a", { href: pageUrl(`dashboard/tasks#task-${task.id}`), ariaLabel: name }, "Open"));
  const time = task.actual_time_seconds > 0 ? ` in ${duration(task.actual_time_seconds)}` : "";
  return el("span", { className: "outcome", data: { correct: String(task.is_correct) } }, `${task.is_correct ? "Correct" : "Incorrect"}${time}`);
}

function row(task) {
  return el("li", {},
    el("span", { className: "name" }, el("strong", { dir: "auto" }, task.topic), el("span", { className: "sub", dir: "auto" }, task.subject), difficultyBadge(task.difficulty)),
    el("span", { className: "sub" }, wasPredicted(task) ? `Predicted: ${percent(task.predicted_correct)}, ${duration(task.predicted_time_seconds)}` : "Imported"),
    outcome(task),
    el("span", { className: "sub when" }, timeElement(task.completed_at ?? task.created_at)));
}

async function recentTasks() {
  const { data } = await request("GET", `practice-tasks?limit=${RECENT_TASKS}`);
  const tasks = withoutDeleted(data);
  if (tasks.length === 0) return [el("p", { className: "empty" }, el("strong", {}, "No tasks yet"), "Tasks that you create appear here.")];
  return [el("ul", { className: "rows" }, ...tasks.map(row))];
}

/** Show what `load` returns in a section. A failure is shown there too, with a button to try again. */
async function fill(section, load) {
  section.ariaBusy = "true";
  try {
    const content = await load();
    await yieldToBrowser(); // several sections may arrive together
    section.replaceChildren(...content);
  } catch (error) {
    report(error, { place: section, retry: () => fill(section, load) });
  } finally {
    section.ariaBusy = null;
  }
}

function fillRecommendations() {
  fill(byId("next"), recommended);
  fill(byId("due"), due);
}

if (startPage()) {
  startExport(byId("export"));
  startTrainingPanel({ onTrained: fillRecommendations });
  await yieldToBrowser(); // so that the page is painted before its sections are loaded
  fillRecommendations();
  fill(byId("work"), progress);
  fill(byId("last-tasks"), recentTasks);
}
