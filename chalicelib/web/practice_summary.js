// The summary of a session: right, time against predicted, what improved, and what is due next.
import { ApiError, request } from "./api.js";
import { figure } from "./figures.js";
import { loadRecommendations } from "./next_task.js";
import { flush } from "./outbox.js";
import { pageUrl } from "./session.js";
import { topicNames } from "./topic_names.js";
import { count, DIFFICULTY, duration, el, percent } from "./ui.js";

const MAX_TOPICS = 6;
const SHOWN_NEXT = 3;
const NOTABLE = 0.005; // a smaller change reads as the same percentage

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Return the answers that the summary needs from the server, or null if it cannot be reached. */
async function ask(path) {
  try {
    return (await request("GET", path, { quiet: true })).data;
  } catch (error) {
    if (error instanceof ApiError) return null;
    throw error;
  }
}

function figures(answers) {
  const right = answers.filter(({ correct }) => correct).length;
  const timed = answers.filter(({ seconds }) => seconds > 0);
  const [took, expected] = [sum(timed.map(({ seconds }) => seconds)), sum(timed.map((answer) => answer.expected))];
  return el("div", { className: "figures" },
    figure("Right", `${count(right)} of ${count(answers.length)}`, `${count(sum(answers.map(({ chance }) => chance)))} predicted`),
    figure("Time", timed.length === 0 ? "–" : duration(took), timed.length === 0 ? "not recorded" : `${duration(expected)} predicted`));
}

/** Return one line for each topic with an answer: its chance before the session and now. */
async function changes(answers, before) {
  const answered = new Set(answers.map(({ subject, topic, difficulty }) => JSON.stringify([subject, topic, difficulty])));
  const keys = Object.keys(before).filter((key) => answered.has(key)).slice(0, MAX_TOPICS);
  const lines = await Promise.all(keys.map(async (key) => {
    const [subject, topic, difficulty] = JSON.parse(key);
    const now = await ask(`predictions?${new URLSearchParams({ subject, topic, difficulty })}`);
    return now === null ? null : { subject, topic, difficulty, from: before[key], to: now.predicted_correct };
  }));
  return lines.filter((line) => line !== null).sort((one, other) => (other.to - other.from) - (one.to - one.from));
}

function changeLine({ name, difficulty, from, to }) {
  const same = Math.abs(to - from) < NOTABLE;
  const text = same ? `${percent(to)}, as before` : `${percent(from)} → ${percent(to)}`;
  return el("li", {}, el("span", {}, el("bdi", {}, name), ` (${DIFFICULTY[difficulty]})`), el("span", { className: "change", data: same ? {} : { up: String(to > from) } }, text));
}

function nextLine({ subject, topic, name, difficulty, reason }) {
  const address = `dashboard/practice#${new URLSearchParams({ subject, topic, difficulty })}`;
  return el("li", {}, el("a", { href: pageUrl(address), dir: "auto" }, name), el("span", { className: "sub" }, reason));
}

function list(title, lines, empty) {
  return [el("h3", {}, title), lines.length === 0 ? el("p", { className: "sub" }, empty) : el("ul", { className: "plain lines" }, ...lines)];
}

/** Return the content of the summary. Answers that wait are sent first, so that the predictions include them. */
export async function summaryOf({ answers, before }) {
  if (answers.length === 0) return [el("p", { className: "sub" }, "You have not answered a task in this session.")];
  await flush();
  const [changed, next] = await Promise.all([changes(answers, before), loadRecommendations().catch((error) => { if (error instanceof ApiError) return []; throw error; })]);
  const nameOf = topicNames([...changed, ...next]);
  const named = (rows) => rows.map((each) => ({ ...each, name: nameOf(each) }));
  return [
    figures(answers),
    ...list("Your chances", named(changed).map(changeLine), "They cannot be loaded now."),
    ...list("What comes next", named(next.slice(0, SHOWN_NEXT)).map(nextLine), "There is no recommendation yet."),
  ];
}
