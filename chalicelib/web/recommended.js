// What to practise next: a few topics, one click makes the task. After a training it says what the new model changed.
import { request } from "./api.js";
import { pageUrl } from "./session.js";
import { difficultyBadge, duration, el, percent, report, sourceBadge, whileBusy } from "./ui.js";

const SHOWN = 3;
const CONSIDERED = 20;

const before = new Map(); // the chance by topic and difficulty, as it was last shown

const keyOf = ({ topic, difficulty }) => `${difficulty} ${topic}`;

/** The best of each topic: three difficulties of one topic are no choice. */
function choose(recommendations) {
  const chosen = new Map();
  for (const each of recommendations) if (!chosen.has(each.topic)) chosen.set(each.topic, each);
  return [...chosen.values()].slice(0, SHOWN);
}

function change(recommendation) {
  const was = before.get(keyOf(recommendation));
  if (was === undefined || percent(was) === percent(recommendation.predicted_correct)) return null;
  const up = recommendation.predicted_correct > was;
  return el("span", { className: "change", data: { up: String(up) } }, `${up ? "up" : "down"} from ${percent(was)}`);
}

async function start(recommendation, button) {
  const { subject, topic, difficulty } = recommendation;
  await whileBusy([button], async () => {
    try {
      const { data } = await request("POST", "practice-tasks", { body: { subject, topic, difficulty, task_content: `Practise ${topic}.` } });
      location.assign(pageUrl(`dashboard/tasks#task-${data.id}`));
      await new Promise((resolve) => { window.addEventListener("pageshow", resolve, { once: true }); }); // one task per click
    } catch (error) {
      report(error, { again: () => start(recommendation, button) });
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

function nothing() {
  const link = el("a", { className: "button primary", href: pageUrl("dashboard/tasks") }, "Create a task");
  return el("div", { className: "empty" }, el("strong", {}, "Nothing to recommend yet"), "Create your first task; from then on you find here what to practise next.", el("div", {}, link));
}

/** Ask for the recommendations and show them. */
export async function recommended() {
  const { data } = await request("GET", `recommendations?limit=${CONSIDERED}`);
  const chosen = choose(data);
  if (chosen.length === 0) return [nothing()];
  const shown = el("ul", { className: "next" }, ...chosen.map(item));
  for (const each of data) before.set(keyOf(each), each.predicted_correct);
  return [shown];
}
