// The student's figures, as the overview and the analytics page show them.
import { count, duration, el, percent } from "./ui.js";

function figure(name, value, note) {
  return el("div", { className: "figure" }, el("span", { className: "label" }, name), el("strong", {}, value), el("span", { className: "sub" }, note));
}

/** The figures of an analytics summary. */
export function figures(summary) {
  const { completed, tasks, today, last_7_days: week } = summary;
  return [
    figure("Today", count(today.completed), today.completed === 0 ? "tasks done" : `done, ${percent(today.accuracy)} correct`),
    figure("Last 7 days", count(week.completed), week.completed === 0 ? "tasks done" : `done, ${percent(week.accuracy)} correct`),
    figure("In all", count(completed), `done, ${count(tasks - completed)} open`),
    figure("Correct", percent(summary.accuracy), completed === 0 ? "nothing done yet" : `predicted ${percent(summary.predicted_accuracy)}`),
    figure("Time per task", duration(summary.median_time_seconds), `median, ${duration(summary.total_time_seconds)} in all`),
  ];
}
