// Topics that are due: their chance was at the target after the last practice, and has fallen below it since.
import { request } from "./api.js";
import { isToday } from "./days.js";
import { pageUrl } from "./session.js";
import { topicNames } from "./topic_names.js";
import { counted, DIFFICULTY, el, isOrAre, percent, timeElement } from "./ui.js";

const SHOWN = 5;
const MINUTE_MS = 60_000;

function line({ subject, topic, name, difficulty, predicted_correct: chance, due_at: at, last_practised_at: last }) {
  const address = pageUrl(`dashboard/practice#${new URLSearchParams({ subject, topic, difficulty })}`);
  return el("li", {},
    el("span", {}, el("a", { href: address, dir: "auto" }, name), " ", el("span", { className: "sub" }, `${DIFFICULTY[difficulty]}, now ${percent(chance)}`)),
    el("span", { className: "sub" }, "practised ", timeElement(last), ", due ", Math.abs(Date.parse(at) - Date.now()) < MINUTE_MS ? "now" : timeElement(at)));
}

/** Load the due topics and return the content of the section. */
export async function due() {
  const { data } = await request("GET", "recommendations/due?limit=50");
  const nameOf = topicNames(data);
  const now = data.filter(({ due_at: at }) => Date.parse(at) <= Date.now() || isToday(at));
  const [next] = data.filter((each) => !now.includes(each));
  if (now.length === 0) {
    return [el("p", { className: "sub" }, "Nothing is due today.", ...(next === undefined ? [] : [" ", el("bdi", {}, nameOf(next)), " is due ", timeElement(next.due_at), "."]))];
  }
  const more = now.length - SHOWN;
  return [
    el("ul", { className: "plain lines" }, ...now.slice(0, SHOWN).map((each) => line({ ...each, name: nameOf(each) }))),
    ...(more > 0 ? [el("p", { className: "sub" }, `${counted(more, "more topic")} ${isOrAre(more)} due.`)] : []),
  ];
}
