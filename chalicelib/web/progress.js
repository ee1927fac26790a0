// The student's progress: today, this week by day, and how it stands to the predictions.
import { request } from "./api.js";
import { count, duration, el, percent } from "./ui.js";

const DAYS = 7;
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const longDay = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

function figure(name, value, note) {
  return el("div", { className: "figure" }, el("span", { className: "label" }, name), el("strong", {}, value), el("span", { className: "sub" }, note));
}

/** The last seven days of the reader's calendar, oldest first, as `YYYY-MM-DD` and a date. */
function lastDays() {
  const today = new Date();
  return Array.from({ length: DAYS }, (_, index) => {
    const date = new Date(today.getFullYear(), today.getMonth(), today.getDate() - (DAYS - 1 - index));
    const parts = [date.getFullYear(), date.getMonth() + 1, date.getDate()];
    return { date, iso: parts.map((part) => String(part).padStart(2, "0")).join("-") };
  });
}

function week(rows) {
  const done = new Map(rows.map((row) => [row.day, row]));
  const days = lastDays().map((day) => ({ ...day, row: done.get(day.iso) ?? { completed: 0, accuracy: null } }));
  const most = Math.max(1, ...days.map(({ row }) => row.completed));
  return el("ol", { className: "week", ariaLabel: "Tasks done in the last 7 days" }, ...days.map(({ date, row }, index) => {
    const bar = el("span", { data: { done: String(row.completed) } });
    bar.style.height = `${(row.completed / most) * 100}%`;
    const said = `${longDay.format(date)}: ${count(row.completed)} done${row.completed === 0 ? "" : `, ${percent(row.accuracy)} correct`}`;
    return el("li", { className: index === DAYS - 1 ? "today" : "", title: said },
      el("span", { className: "hidden" }, said),
      el("span", { ariaHidden: "true" }, count(row.completed)),
      el("div", { className: "column", ariaHidden: "true" }, bar),
      el("span", { ariaHidden: "true" }, weekday.format(date)));
  }));
}

/** Ask for the summary and show it. */
export async function progress() {
  const { data } = await request("GET", `analytics/summary?utc_offset_minutes=${-new Date().getTimezoneOffset()}`);
  const { completed, tasks, today, last_7_days: last } = data;
  return [
    el("div", { className: "figures three" },
      figure("Today", count(today.completed), today.completed === 0 ? "tasks done" : `done, ${percent(today.accuracy)} correct`),
      figure("Last 7 days", count(last.completed), last.completed === 0 ? "tasks done" : `done, ${percent(last.accuracy)} correct`),
      figure("In all", count(completed), completed === 0 ? `done, ${count(tasks)} open` : `done, ${percent(data.accuracy)} correct`)),
    week(data.days),
    ...(completed === 0 ? [] : [el("p", { className: "after sub" }, `A task takes you ${duration(data.median_time_seconds)} as a rule.`)]),
  ];
}
