// Accuracy, number and time of the tasks done on each of the last 30 days.
import { axis, bars, chart, colours, empty, numberCell, series, table, tableBehind } from "./charts.js";
import { count, duration, el, percent } from "./ui.js";

const N_DAYS = 30;
const DAY_MS = 86_400_000;
const UTC = { timeZone: "UTC" }; // a day comes as a date without a zone
const longDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", weekday: "short", ...UTC });
const shortDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", ...UTC });

const dayNumber = (iso) => Date.parse(`${iso}T00:00:00Z`) / DAY_MS;
const dateOf = (number) => new Date(number * DAY_MS);

/** Today as the reader's clock has it, as a number of days. */
function today() {
  const now = new Date();
  return Date.UTC(now.getFullYear(), now.getMonth(), now.getDate()) / DAY_MS;
}

function xAxis() {
  return axis({ format: (value) => shortDay.format(dateOf(value)), space: 64, size: 28, incrs: [1, 2, 5, 7, 10, 14], grid: { show: false } });
}

function describer(numbers, byDay) {
  return (plot) => {
    const index = plot.cursor.idx;
    if (index === null || index === undefined) return null;
    const row = byDay.get(numbers[index]);
    const day = longDay.format(dateOf(numbers[index]));
    if (row === undefined) return `${day}: nothing done`;
    return `${day}: ${count(row.completed)} done, ${percent(row.accuracy)} correct, median ${duration(row.median_time_seconds)}`;
  };
}

const xScale = (numbers) => ({ time: false, range: () => [numbers[0] - 0.6, numbers.at(-1) + 0.6] });

function charts(rows) {
  const byDay = new Map(rows.map((row) => [dayNumber(row.day), row]));
  const last = Math.max(today(), ...byDay.keys());
  const numbers = Array.from({ length: N_DAYS }, (_, index) => last - N_DAYS + 1 + index);
  const values = (name) => numbers.map((number) => byDay.get(number)?.[name] ?? null);
  const most = Math.max(...rows.map((row) => row.completed));
  const slowest = Math.max(1, ...rows.map((row) => row.median_time_seconds ?? 0));
  const describe = describer(numbers, byDay);
  const hint = "Point at a day to read its figures.";
  const accuracy = chart({
    label: `Share of correct answers and number of tasks on each of the last ${N_DAYS} days; the table has the figures.`,
    keys: [["line", "correct answers"], ["quiet", `tasks done, ${count(most)} at most`]],
    describe,
    hint,
    options: {
      scales: { x: xScale(numbers), y: { range: [0, 1] }, done: { range: [0, most * 2.5] } },
      axes: [xAxis(), axis({ format: percent, size: 52 })],
      series: [{}, { scale: "done", fill: () => colours().line, stroke: () => colours().line, width: 0, paths: bars(), points: { show: false } }, series("accent", { width: 2, spanGaps: true, points: { show: true, size: 7, width: 2 } })],
    },
    data: [numbers, values("completed"), values("accuracy")],
  });
  const times = chart({
    label: `Median time for a task on each of the last ${N_DAYS} days; the table has the figures.`,
    keys: [["line good", "median time for a task"]],
    describe,
    hint,
    options: {
      scales: { x: xScale(numbers), y: { range: [0, slowest * 1.1] } },
      axes: [xAxis(), axis({ format: duration, size: 70 })],
      series: [{}, series("good", { width: 2, spanGaps: true, points: { show: true, size: 7, width: 2 } })],
    },
    data: [numbers, values("median_time_seconds")],
  });
  return [el("div", {}, el("h3", {}, "Accuracy"), accuracy), el("div", {}, el("h3", {}, "Time"), times)];
}

/** The content for the days of a summary, newest first as they come. */
export function days(rows) {
  if (rows.length === 0) return [empty("Nothing was done in the last 30 days. Finish a task, and its day appears here.")];
  const behind = tableBehind("the last 30 days", () => table("Completed tasks by day", ["Day", "Done", "Correct", "Median time"], rows.map((row) => el("tr", {},
    el("th", { scope: "row" }, longDay.format(dateOf(dayNumber(row.day)))),
    numberCell(count(row.completed)),
    numberCell(percent(row.accuracy)),
    numberCell(duration(row.median_time_seconds))))));
  return [el("div", { className: "charts" }, ...charts(rows)), behind];
}
