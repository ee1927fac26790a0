// A session of practice: its goal, and what was answered in it.
import { count, counted } from "./ui.js";

const MINUTE_MS = 60_000;

/** Return a new session. `goal` is `tasks:10`, `minutes:15` or `open:0`. */
export function newSession(goal) {
  const [kind, number] = goal.split(":");
  // `before` holds the chance of each topic and difficulty before its first answer.
  return { id: newId(), kind, number: Number(number), startedAt: Date.now(), answers: [], before: {} };
}

/** Return a UUID. `randomUUID` exists on secure origins only. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

const minutesLeft = ({ startedAt, number }) => Math.max(0, Math.ceil((startedAt + number * MINUTE_MS - Date.now()) / MINUTE_MS));

/** Return whether the goal is reached. The task that is being worked on when the time is up still counts. */
export function isOver(session) {
  if (session.kind === "tasks") return session.answers.length >= session.number;
  return session.kind === "minutes" && session.startedAt + session.number * MINUTE_MS <= Date.now();
}

/** Return the session with a result, which replaces an earlier one of the same task. */
export function record(session, task) {
  const { id, subject, topic, difficulty, is_correct: correct, actual_time_seconds: seconds, predicted_correct: chance, predicted_time_seconds: expected } = task;
  const answer = { id, subject, topic, difficulty, correct, seconds, chance, expected };
  return { ...session, answers: [...session.answers.filter((each) => each.id !== id), answer] };
}

export function progressOf({ kind, number, answers, startedAt }) {
  if (kind === "tasks") return { value: answers.length, max: number };
  if (kind === "minutes") return { value: Math.min(number, (Date.now() - startedAt) / MINUTE_MS), max: number };
  return { value: 0, max: 0 };
}

/** Describe where the session is: `Task 3 of 10, 2 right`. `working` is false while a result is shown. */
export function stepText(session, working) {
  const { kind, number, answers } = session;
  const right = answers.length === 0 ? "" : `, ${count(answers.filter(({ correct }) => correct).length)} right`;
  if (kind === "tasks") return `${working ? `Task ${count(answers.length + 1)} of ${count(number)}` : `${count(answers.length)} of ${counted(number, "task")} done`}${right}`;
  const done = `${counted(answers.length, "task")} done${right}`;
  return kind === "minutes" ? `${counted(minutesLeft(session), "minute")} left, ${done}` : done;
}

export function goalText({ kind, number, answers }) {
  if (kind === "tasks" && answers.length >= number) return counted(number, "task");
  return kind === "minutes" ? `${counted(answers.length, "task")} in ${counted(number, "minute")}` : counted(answers.length, "task");
}
