// What to practise next: a few topics, each with a link that starts a session with it. After a training, changed chances are
// shown with their previous value.
import { request } from "./api.js";
import { bestOfEachTopic } from "./next_task.js";
import { pageUrl } from "./session.js";
import { difficultyBadge, duration, el, percent, sourceBadge } from "./ui.js";

const SHOWN = 3;
const REQUESTED = 20; // several may be of one topic

const previousChances = new Map(); // by subject, topic and difficulty, as last shown

const keyOf = ({ subject, topic, difficulty }) => JSON.stringify([subject, topic, difficulty]);

/** Return how the chance has changed since it was last shown, or null. */
function change(recommendation) {
  const previous = previousChances.get(keyOf(recommendation));
  if (previous === undefined || percent(previous) === percent(recommendation.predicted_correct)) return null;
  const up = recommendation.predicted_correct > previous;
  return el("span", { className: "change", data: { up: String(up) } }, `${up ? "up" : "down"} from ${percent(previous)}`);
}

function item(recommendation, index) {
  const { topic, subject, difficulty, predicted_correct: chance, predicted_time_seconds: seconds } = recommendation;
  // The address is read by the page itself. What follows a # is not sent to the server, so no topic is in its log.
  const address = pageUrl(`dashboard/practice#${new URLSearchParams({ subject, topic, difficulty })}`);
  const button = el("a", { href: address, className: index === 0 ? "button primary" : "button tinted" }, "Start", el("span", { className: "hidden" }, ` ${topic}`));
  return el("li", {},
    el("div", {}, el("h3", { dir: "auto" }, topic), el("span", { className: "sub", dir: "auto" }, subject), " ", difficultyBadge(difficulty)),
    el("div", { className: "chance" }, el("strong", {}, percent(chance)), " ", el("span", { className: "sub" }, `chance, about ${duration(seconds)}`), change(recommendation)),
    el("meter", { min: 0, max: 1, value: chance, ariaLabel: "Chance of a correct answer" }),
    el("p", { className: "sub reason" }, recommendation.reason.replaceAll(" %", "\u00a0%"), " ", sourceBadge(recommendation.prediction_source)),
    button);
}

function noRecommendations() {
  const link = el("a", { className: "button primary", href: pageUrl("dashboard/practice") }, "Begin with a first task");
  return el("div", { className: "empty" }, el("strong", {}, "Nothing to recommend yet"), "Finish your first task, and recommendations will appear here.", el("div", {}, link));
}

/** Load the recommendations and return the content of the section. */
export async function recommended() {
  const { data } = await request("GET", `recommendations?limit=${REQUESTED}`);
  const chosen = bestOfEachTopic(data).slice(0, SHOWN);
  if (chosen.length === 0) return [noRecommendations()];
  const list = el("ul", { className: "next" }, ...chosen.map(item));
  for (const each of data) previousChances.set(keyOf(each), each.predicted_correct);
  return [list];
}
