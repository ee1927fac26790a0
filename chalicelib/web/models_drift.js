// Fallback rate and calibration error over windows of the newest answers of all students.
import { axis, chart, colours, empty, numberCell, series, table, tableBehind } from "./charts.js";
import { count, el, percent } from "./ui.js";

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const LEAST_TOP = 0.2; // the axis reaches at least so high, so that noise does not look like a mountain

const error = (share) => (share === null ? "–" : `${(share * 100).toFixed(1)}\u00a0%`);

function windowText(each) {
  return `${moment.format(new Date(each.last_completed_at))}: fallbacks ${percent(each.fallback_rate)}, calibration error ${error(each.expected_calibration_error)}, by chance ${error(each.calibration_error_by_chance)}`;
}

function driftChart(windows) {
  const oldestFirst = [...windows].reverse();
  const values = (name) => oldestFirst.map((each) => each[name]);
  const top = Math.max(LEAST_TOP, ...["fallback_rate", "expected_calibration_error", "calibration_error_by_chance"].flatMap(values));
  const points = { show: true, size: 7, width: 2 };
  return chart({
    label: `Fallback rate and calibration error over ${count(windows.length)} windows of answers; the table has the figures.`,
    keys: [["line warn", "fallbacks"], ["line", "calibration error"], ["dashed", "error expected by chance alone"]],
    hint: "Oldest answers on the left. Point at a window to read its figures.",
    describe: (plot) => (plot.cursor.idx === null || plot.cursor.idx === undefined ? null : windowText(oldestFirst[plot.cursor.idx])),
    options: {
      scales: { x: { time: false, range: () => [-0.5, oldestFirst.length - 0.5] }, y: { range: [0, Math.min(1, top * 1.1)] } },
      axes: [axis({ format: (index) => (Number.isInteger(index) && oldestFirst[index] ? count(oldestFirst.length - index) : ""), incrs: [1, 2, 5, 10], grid: { show: false }, label: "Window, 1 is the newest", labelSize: 18, labelFont: "12px system-ui, sans-serif", size: 30 }), axis({ format: percent, size: 52 })],
      series: [{}, series("warn", { width: 2, points }), series("accent", { width: 2, points, spanGaps: true }), { stroke: () => colours().soft, width: 1.5, dash: [5, 5], points: { show: false }, spanGaps: true }],
    },
    data: [oldestFirst.map((_, index) => index), values("fallback_rate"), values("expected_calibration_error"), values("calibration_error_by_chance")],
  });
}

function driftTable(windows) {
  const names = ["Until", "Answers", "Personal model", "Population model", "Default", "Fallbacks", "Predicted", "Correct", "Calibration error", "By chance", "Time ratio"];
  return table("Fallbacks and calibration by window", names, windows.map((each) => el("tr", {},
    el("th", { scope: "row" }, moment.format(new Date(each.last_completed_at))),
    ...[each.n, each.sources.embedding, each.sources.lnirt, each.sources.default].map((number) => numberCell(count(number))),
    numberCell(percent(each.fallback_rate)),
    numberCell(percent(each.predicted_accuracy)),
    numberCell(percent(each.accuracy)),
    numberCell(error(each.expected_calibration_error)),
    numberCell(error(each.calibration_error_by_chance)),
    numberCell(each.time_ratio === null ? "–" : each.time_ratio.toFixed(2)))));
}

function figure(name, value, note) {
  return el("div", { className: "figure" }, el("span", { className: "label" }, name), el("strong", {}, value), el("span", { className: "sub" }, note));
}

/** The content for a report on drift. */
export function drift({ n, sources, fallback_rate: rate, windows }) {
  if (n === 0) return [empty("No student has finished a predicted task yet.")];
  const [newest] = windows;
  return [
    el("div", { className: "figures" },
      figure("Fallback rate", percent(rate), `of the last ${count(n)} answers`),
      figure("By the population model", count(sources.lnirt), "topic or student unknown"),
      figure("By default", count(sources.default), "nothing known, or no model"),
      figure("Calibration error", error(newest.expected_calibration_error), `newest window, ${error(newest.calibration_error_by_chance)} by chance`)),
    driftChart(windows),
    tableBehind("the windows", () => driftTable(windows))];
}
