// The calendar of past days, and the goal of a day, which can be switched off. Both belong to "Your progress".
import { dateOf, dayNumber, formatter, today, UTC } from "./days.js";
import { preference } from "./session.js";
import { count, counted, el, percent } from "./ui.js";

const WEEKS = 4;
const GOALS = [0, 5, 10, 20, 30]; // tasks a day; 0 is no goal
const DEFAULT_GOAL = 10;
const MONDAY = 4; // day 4 of the count from 1 January 1970, a Thursday, was a Monday

const longDay = (date) => formatter({ weekday: "long", day: "numeric", month: "long", ...UTC }).format(date);
const initial = (date) => formatter({ weekday: "narrow", ...UTC }).format(date);
const stored = preference("goal");

const goal = () => (GOALS.includes(stored.read()) ? stored.read() : DEFAULT_GOAL);

/** Return how dark a day is, 0 to 3. */
function shade(done) {
  if (done === 0) return 0;
  const full = goal() || DEFAULT_GOAL;
  return done >= full ? 3 : done >= full / 2 ? 2 : 1;
}

function dayCell(number, row, last) {
  const done = row?.completed ?? 0;
  const reached = goal() > 0 && done >= goal();
  const text = `${longDay(dateOf(number))}: ${count(done)} done${done === 0 ? "" : `, ${percent(row.accuracy)} correct`}${reached ? ", goal reached" : ""}`;
  return el("li", { className: number === last ? "today" : "", data: { shade: String(shade(done)) }, title: text }, el("span", { className: "hidden" }, text), reached ? el("span", { ariaHidden: "true" }, "✓") : null);
}

/** Return the weeks that end with this one, one row each, Monday first. `rows` are the days of an analytics summary. */
function calendar(rows) {
  const byDay = new Map(rows.map((row) => [dayNumber(row.day), row]));
  const last = today();
  const first = last - ((last - MONDAY) % 7) - 7 * (WEEKS - 1);
  const numbers = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const heads = numbers.slice(0, 7).map((number) => el("span", {}, initial(dateOf(number))));
  return el("div", { className: "calendar" },
    el("div", { className: "heads", ariaHidden: "true" }, ...heads),
    el("ol", { ariaLabel: `The last ${WEEKS} weeks` }, ...numbers.map((number) => dayCell(number, byDay.get(number), last))));
}

function goalLine(done) {
  if (goal() === 0) return el("p", { className: "goal sub" }, "No goal is set.");
  const text = done >= goal() ? `Today's goal of ${counted(goal(), "task")} is reached.` : `${count(done)} of ${counted(goal(), "task")} today`;
  return el("p", { className: "goal" }, el("span", {}, text), el("progress", { max: goal(), value: Math.min(done, goal()), ariaLabel: "Today's goal" }));
}

function goalChoice(onChange) {
  const select = el("select", { id: "goal" }, ...GOALS.map((number) => el("option", { value: String(number), selected: number === goal() }, number === 0 ? "Off" : counted(number, "task"))));
  select.addEventListener("change", () => {
    stored.write(Number(select.value));
    onChange();
  });
  return el("div", { className: "choice" }, el("label", { htmlFor: "goal" }, "Goal for a day"), select);
}

/** Return the goal, its choice and the calendar, for an analytics summary. */
export function goalAndCalendar({ days, today: { completed: done } }) {
  const shown = el("div", {});
  const fill = () => shown.replaceChildren(goalLine(done), calendar(days));
  fill();
  return [shown, goalChoice(fill)];
}
