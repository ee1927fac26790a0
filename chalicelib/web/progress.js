// The student's progress: today, the last seven days one by one, and the total.
import { goalAndCalendar } from "./calendar.js";
import { dateOf, formatter, today, UTC } from "./days.js";
import { figure, loadSummary, periodFigure } from "./figures.js";
import { count, duration, el, percent } from "./ui.js";

const DAYS = 7;
const weekday = (date) => formatter({ weekday: "short", ...UTC }).format(date);
const longDay = (date) => formatter({ weekday: "long", day: "numeric", month: "long", ...UTC }).format(date);

/** Return the last seven days, oldest first, each as {date, iso}; `iso` is `YYYY-MM-DD`. */
function lastDays() {
  const last = today();
  return Array.from({ length: DAYS }, (_, index) => {
    const date = dateOf(last - (DAYS - 1 - index));
    return { date, iso: date.toISOString().slice(0, 10) };
  });
}

/** Return one bar for each of the last seven days. */
function week(rows) {
  const byDay = new Map(rows.map((row) => [row.day, row]));
  const days = lastDays().map((day) => ({ ...day, row: byDay.get(day.iso) ?? { completed: 0, accuracy: null } }));
  const highest = Math.max(1, ...days.map(({ row }) => row.completed));
  return el("ol", { className: "week", ariaLabel: "Tasks done in the last 7 days" }, ...days.map(({ date, row }, index) => {
    const bar = el("span", { data: { done: String(row.completed) } });
    bar.style.height = `${(row.completed / highest) * 100}%`;
    const text = `${longDay(date)}: ${count(row.completed)} done${row.completed === 0 ? "" : `, ${percent(row.accuracy)} correct`}`;
    return el("li", { className: index === DAYS - 1 ? "today" : "", title: text },
      el("span", { className: "hidden" }, text),
      el("span", { ariaHidden: "true" }, count(row.completed)),
      el("div", { className: "column", ariaHidden: "true" }, bar),
      el("span", { ariaHidden: "true" }, weekday(date)));
  }));
}

/** Load the analytics summary and return the content of the section. */
export async function progress() {
  const { data } = await loadSummary();
  const { completed, tasks, median_time_seconds: median } = data;
  return [
    el("div", { className: "figures three" },
      periodFigure("Today", data.today),
      periodFigure("Last 7 days", data.last_7_days),
      completed === 0 ? figure("Total", "0", `done, ${count(tasks)} open`) : periodFigure("Total", data)),
    week(data.days),
    ...goalAndCalendar(data),
    ...(median === null ? [] : [el("p", { className: "after sub" }, `You typically take ${duration(median)} per task.`)]),
  ];
}
