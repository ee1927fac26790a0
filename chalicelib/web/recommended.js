// What to practise next: a few topics, each with a button that creates a task. After a training, changed chances are
// shown with their previous value.
import { request } from "./api.js";
import { pageUrl } from "./session.js";
import { difficultyBadge, duration, el, percent, report, sourceBadge, whileBusy } from "./ui.js";

const SHOWN = 3;
const REQUESTED = 20; // several may be of one topic

const previousChances = new Map(); // by topic and difficulty, as last shown

const keyOf = ({ topic, difficulty }) => `${difficulty} ${topic}`;

/** Return the best recommendation of each topic, because different topics make a better choice. */
function bestOfEachTopic(recommendations) {
  const best = new Map();
  for (const each of recommendations) if (!best.has(each.topic)) best.set(each.topic, each);
  return [...best.values()].slice(0, SHOWN);
}

/** Return how the chance has changed since it was last shown, or null. */
function change(recommendation) {
  const previous = previousChances.get(keyOf(recommendation));
  if (previous === undefined || percent(previous) === percent(recommendation.predicted_correct)) return null;
  const up = recommendation.predicted_correct > previous;
  return el("span", { className: "change", data: { up: String(up) } }, `${up ? "up" : "down"} from ${percent(previous)}`);
}

/** Create a task and go to it. */
async function start(recommendation, button) {
  const { subject, topic, difficulty } = recommendation;
  await whileBusy([button], async () => {
    try {
      const { data } = await request("POST", "practice-tasks", { body: { subject, topic, difficulty, task_content: `Practise ${topic}.` } });
      location.assign(pageUrl(`dashboard/tasks#task-${data.id}`));
      // The button stays busy until this page is left, so a second click creates no second task.
      await new Promise((resolve) => { window.addEventListener("pageshow", resolve, { once: true }); });
    } catch (error) {
      report(error, { retry: () => start(recommendation, button) });
    }
  });
}

function item(recommendation, index) {
  const { topic, subject, difficulty, predicted_correct: chance, predicted_time_seconds: seconds } = recommendation;
  const button = el("button", { type: "button", className: index === 0 ? "primary" : "tinted" }, "Start", el("span", { className: "hidden" }, ` ${topic}`));
  button.addEventListener("click", () => start(recommendation, button));
  return el("li", {},
    el("div", {}, el("h3", { dir: "auto" }, topic), el("span", { className: "sub", dir: "auto" }, subject), " ", difficultyBadge(difficulty)),
    el("div", { className: "chance" }, el("strong", {}, percent(chance)), " ", el("span", { className: "sub" }, `chance, about ${duration(seconds)}`), change(recommendation)),
    el("meter", { min: 0, max: 1, value: chance, ariaLabel: "Chance of a correct answer" }),
    el("p", { className: "sub reason" }, recommendation.reason, " ", sourceBadge(recommendation.prediction_source)),
    button);
}

function noRecommendations() {
  const link = el("a", { className: "button primary", href: pageUrl("dashboard/tasks#new") }, "Create a task");
  return el("div", { className: "empty" }, el("strong", {}, "Nothing to recommend yet"), "Create your first task, and recommendations will appear here.", el("div", {}, link));
}

/** Load the recommendations and return the content of the section. */
export async function recommended() {
  const { data } = await request("GET", `recommendations?limit=${REQUESTED}`);
  const chosen = bestOfEachTopic(data);
  if (chosen.length === 0) return [noRecommendations()];
  const list = el("ul", { className: "next" }, ...chosen.map(item));
  for (const each of data) previousChances.set(keyOf(each), each.predicted_correct);
  return [list];
}
