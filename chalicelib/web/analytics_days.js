// Accuracy, number of tasks and time for each of the last 30 days.
import { axis, bars, chart, colours, emptyMessage, foldedTable, numberCell, series, table } from "./charts.js";
import { dateOf, dayNumber, formatter, today, UTC } from "./days.js";
import { count, duration, el, percent } from "./ui.js";

const N_DAYS = 30;
const longDay = (date) => formatter({ day: "numeric", month: "short", weekday: "short", ...UTC }).format(date);
const shortDay = (date) => formatter({ day: "numeric", month: "short", ...UTC }).format(date);

function dayAxis() {
  return axis({ format: (value) => shortDay(dateOf(value)), space: 64, size: 28, incrs: [1, 2, 5, 7, 10, 14], grid: { show: false } });
}

/** Return a function that describes the day under the pointer. */
function describer(numbers, byDay) {
  return (plot) => {
    const number = numbers[plot.cursor.idx];
    if (number === undefined) return null;
    const row = byDay.get(number);
    const day = longDay(dateOf(number));
    if (row === undefined) return `${day}: no tasks done`;
    return `${day}: ${count(row.completed)} done, ${percent(row.accuracy)} correct, median ${duration(row.median_time_seconds)}`;
  };
}

function charts(rows) {
  const byDay = new Map(rows.map((row) => [dayNumber(row.day), row]));
  const last = Math.max(today(), ...byDay.keys());
  const numbers = Array.from({ length: N_DAYS }, (_, index) => last - N_DAYS + 1 + index);
  const values = (name) => numbers.map((number) => byDay.get(number)?.[name] ?? null);
  const busiest = Math.max(...rows.map((row) => row.completed));
  const slowest = Math.max(1, ...rows.map((row) => row.median_time_seconds ?? 0));
  const xScale = { time: false, range: () => [numbers[0] - 0.6, last + 0.6] };
  const describe = describer(numbers, byDay);
  const hint = "Point at a day to see its figures.";
  const line = { width: 2, spanGaps: true, points: { show: true, size: 7, width: 2 } };
  const accuracy = chart({
    label: `Share of correct answers and number of tasks on each of the last ${N_DAYS} days. The table has the figures.`,
    keys: [["line", "correct answers"], ["quiet", `tasks done (maximum ${count(busiest)})`]],
    describe,
    hint,
    options: {
      scales: { x: xScale, y: { range: [0, 1] }, done: { range: [0, busiest * 2.5] } },
      axes: [dayAxis(), axis({ format: percent, size: 52 })],
      series: [{}, { scale: "done", fill: () => colours().line, stroke: () => colours().line, width: 0, paths: bars(), points: { show: false } }, series("accent", line)],
    },
    data: [numbers, values("completed"), values("accuracy")],
  });
  const times = chart({
    label: `Median time per task on each of the last ${N_DAYS} days. The table has the figures.`,
    keys: [["line good", "median time per task"]],
    describe,
    hint,
    options: {
      scales: { x: xScale, y: { range: [0, slowest * 1.1] } },
      axes: [dayAxis(), axis({ format: duration, size: 70 })],
      series: [{}, series("good", line)],
    },
    data: [numbers, values("median_time_seconds")],
  });
  return [el("div", {}, el("h3", {}, "Accuracy"), accuracy), el("div", {}, el("h3", {}, "Time"), times)];
}

/** Return the content of the section for the days of a summary, newest first. */
export function days(rows) {
  if (rows.length === 0) return [emptyMessage("No tasks done in the last 30 days. Finish a task to see it here.")];
  const dayTable = () => table("Completed tasks by day", ["Day", "Done", "Correct", "Median time"], rows.map((row) => el("tr", {},
    el("th", { scope: "row" }, longDay(dateOf(dayNumber(row.day)))),
    numberCell(count(row.completed)),
    numberCell(percent(row.accuracy)),
    numberCell(duration(row.median_time_seconds)))));
  return [el("div", { className: "charts" }, ...charts(rows)), foldedTable("last 30 days", dayTable)];
}
