// Fallback rate and calibration error of the most recent answers of all students, over windows and by group.
import { axis, chart, colours, emptyMessage, foldedTable, numberCell, series, table } from "./charts.js";
import { figure } from "./figures.js";
import { count, counted, el, exactTime, percent } from "./ui.js";

const MIN_AXIS_TOP = 0.2; // the axis reaches at least this high, so that small differences look small

const errorPercent = (share) => (share === null ? "–" : `${(share * 100).toFixed(1)}\u00a0%`);

function describeWindow(each) {
  return `${exactTime(new Date(each.last_completed_at))}: fallbacks ${percent(each.fallback_rate)}, calibration error ${errorPercent(each.expected_calibration_error)}, expected by chance ${errorPercent(each.calibration_error_by_chance)}`;
}

function driftChart(windows) {
  const oldestFirst = [...windows].reverse();
  const values = (name) => oldestFirst.map((each) => each[name]);
  const top = Math.max(MIN_AXIS_TOP, ...["fallback_rate", "expected_calibration_error", "calibration_error_by_chance"].flatMap(values));
  const points = { show: true, size: 7, width: 2 };
  const windowNumber = (index) => (Number.isInteger(index) && oldestFirst[index] ? count(oldestFirst.length - index) : "");
  return chart({
    label: `Fallback rate and calibration error over ${counted(windows.length, "window")} of answers. The table has the figures.`,
    keys: [["line warn", "fallbacks"], ["line", "calibration error"], ["dashed", "error expected by chance alone"]],
    hint: "Oldest answers on the left. Point at a window to see its figures.",
    describe: (plot) => (oldestFirst[plot.cursor.idx] === undefined ? null : describeWindow(oldestFirst[plot.cursor.idx])),
    options: {
      scales: { x: { time: false, range: () => [-0.5, oldestFirst.length - 0.5] }, y: { range: [0, Math.min(1, top * 1.1)] } },
      axes: [axis({ format: windowNumber, incrs: [1, 2, 5, 10], grid: { show: false }, label: "Window (1 is the newest)", size: 30 }), axis({ format: percent, size: 52 })],
      series: [{}, series("warn", { width: 2, points }), series("accent", { width: 2, points, spanGaps: true }), { stroke: () => colours().soft, width: 1.5, dash: [5, 5], points: { show: false }, spanGaps: true }],
    },
    data: [oldestFirst.map((_, index) => index), values("fallback_rate"), values("expected_calibration_error"), values("calibration_error_by_chance")],
  });
}

function driftTable(windows) {
  const names = ["Until", "Answers", "Personal model", "Population model", "Default", "Fallbacks", "Predicted", "Correct", "Calibration error", "Expected by chance", "Time ratio"];
  return table("Fallbacks and calibration by window", names, windows.map((each) => el("tr", {},
    el("th", { scope: "row" }, exactTime(new Date(each.last_completed_at))),
    ...[each.n, each.sources.embedding, each.sources.lnirt, each.sources.default].map((number) => numberCell(count(number))),
    numberCell(percent(each.fallback_rate)),
    numberCell(percent(each.predicted_accuracy)),
    numberCell(percent(each.accuracy)),
    numberCell(errorPercent(each.expected_calibration_error)),
    numberCell(errorPercent(each.calibration_error_by_chance)),
    numberCell(each.time_ratio === null ? "–" : each.time_ratio.toFixed(2)))));
}

const DIVISIONS = { source: "Source", version: "Version", place: "Place", pause: "Pause", activity: "Activity", topic: "Topic" };
const SOURCES = { embedding: "Personal model", lnirt: "Population model", default: "Default" };
const signed = (share) => `${share < 0 ? "\u2212" : "+"}${errorPercent(Math.abs(share))}`;

function groupTable(n, groups) {
  const names = ["Division", "Group", "Answers", "Predicted", "Correct", "Difference", "Expected by chance", "Log-loss"];
  return table(`Calibration by group, of ${counted(n, "recent answer")}`, names, groups.map((group) => el("tr", {},
    el("td", {}, DIVISIONS[group.division]),
    el("th", { scope: "row" }, group.division === "source" ? SOURCES[group.name] : group.name),
    numberCell(count(group.n)),
    numberCell(percent(group.predicted_accuracy)),
    numberCell(percent(group.accuracy)),
    numberCell(signed(group.difference)),
    numberCell(errorPercent(group.difference_by_chance)),
    numberCell(group.log_loss.toFixed(3)))));
}

/** Return the folded table of groups of answers. It shows where the model is too confident, such as after a pause. */
export function groups({ n, groups: found }) {
  return n === 0 ? [] : [foldedTable("calibration by group", () => groupTable(n, found), { lazy: true })];
}

/** Return the content of the section for a drift report. */
export function drift({ n, sources, fallback_rate: rate, windows }) {
  if (n === 0) return [emptyMessage("No student has finished a predicted task yet.")];
  const [newest] = windows;
  return [
    el("div", { className: "figures" },
      figure("Fallback rate", percent(rate), `of ${counted(n, "recent answer")}`),
      figure("By the population model", count(sources.lnirt), "topic or student not known"),
      figure("By default", count(sources.default), "no data or no model"),
      figure("Calibration error", errorPercent(newest.expected_calibration_error), `newest window; ${errorPercent(newest.calibration_error_by_chance)} expected by chance`)),
    driftChart(windows),
    foldedTable("fallbacks and calibration by window", () => driftTable(windows))];
}
