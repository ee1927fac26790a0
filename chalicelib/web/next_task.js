// What to practise next: an own open task, or else a recommended topic whose exercise is still to be written.
import { request } from "./api.js";
import { percent } from "./ui.js";

const TARGET = 0.75; // the chance of success that recommendations aim at
const MAX_OPEN = 100; // the API's limit of a page
const MAX_DUE = 50;
const REQUESTED = 20; // several recommendations may be of one topic

const nameOf = ({ subject, topic }) => `${subject}\n${topic}`.toLowerCase();
const isDue = ({ due_at: at }) => Date.parse(at) <= Date.now();

/** Return open tasks in the order of practice: those of topics that are due, then those whose chance is nearest the target. */
export function inOrder(open, dueTopics) {
  const due = new Set(dueTopics.filter(isDue).map(nameOf));
  const rank = (task) => [due.has(nameOf(task)) ? 0 : 1, Math.abs(task.predicted_correct - TARGET)];
  return open
    .map((task) => [rank(task), task])
    .sort(([[due1, distance1], one], [[due2, distance2], other]) => due1 - due2 || distance1 - distance2 || (one.created_at < other.created_at ? -1 : 1))
    .map(([, task]) => task);
}

/** Return the best recommendation of each topic, because different topics make a better choice. */
export function bestOfEachTopic(recommendations) {
  const best = new Map();
  for (const each of recommendations) if (!best.has(nameOf(each))) best.set(nameOf(each), each);
  return [...best.values()];
}

/** Load the recommendations, one of each topic, the best first. */
export async function loadRecommendations() {
  return bestOfEachTopic((await request("GET", `recommendations?limit=${REQUESTED}`, { quiet: true })).data);
}

const dueReason = ({ predicted_correct: chance }) => `This topic is due: your chance of success has fallen to ${percent(chance)}.`;

/** Load the topics that are due now, each with its reason. */
async function loadDue() {
  const { data } = await request("GET", `recommendations/due?limit=${MAX_DUE}`, { quiet: true });
  return data.filter(isDue).map((topic) => ({ ...topic, reason: dueReason(topic) }));
}

/**
 * Load {open, recommended, due}: the student's open tasks in the order of practice, and the recommendations, before
 * them the topics that are due. These take the server some time, so a caller that knows them gives them as `known`.
 */
export async function loadChoices(known = null) {
  const [{ data }, recommended, due] = await Promise.all([request("GET", `practice-tasks?completed=false&limit=${MAX_OPEN}`), loadRecommendations(), known ?? loadDue()]);
  return { open: inOrder(data, due), recommended: bestOfEachTopic([...due, ...recommended]), due };
}
