// Figures: a label, a number and a note. The overview, the analytics and the models page show them.
import { ApiError, request } from "./api.js";
import { offsetMinutes, zone } from "./days.js";
import { count, duration, el, percent } from "./ui.js";

export function figure(name, value, note) {
  return el("div", { className: "figure" }, el("span", { className: "label" }, name), el("strong", {}, value), el("span", { className: "sub" }, note));
}

/** Return a figure for the completed tasks of a period. */
export function periodFigure(name, { completed, accuracy }) {
  return figure(name, count(completed), completed === 0 ? "tasks done" : `done, ${percent(accuracy)} correct`);
}

/** Load the analytics summary, with days of the student's time zone. */
export async function loadSummary() {
  const load = (name, value) => request("GET", `analytics/summary?${new URLSearchParams({ [name]: value })}`);
  try {
    return await load("tz", zone());
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 422) throw error;
    return load("utc_offset_minutes", offsetMinutes()); // the server does not know the zone's name
  }
}

/** Return the figures of an analytics summary. */
export function summaryFigures(summary) {
  const { completed, tasks, today, last_7_days: week, predicted_accuracy: predicted } = summary;
  const expected = predicted === null ? "not predicted" : `predicted ${percent(predicted)}`; // imported answers were not
  return [
    periodFigure("Today", today),
    periodFigure("Last 7 days", week),
    figure("Total", count(completed), `done, ${count(tasks - completed)} open`),
    figure("Correct", percent(summary.accuracy), completed === 0 ? "no answers yet" : expected),
    figure("Time per task", duration(summary.median_time_seconds), `median; ${duration(summary.total_time_seconds)} in total`),
  ];
}
