// Answers that wait to be sent. They are stored in this browser, so that nothing is lost offline or when a page is
// closed. A repeated answer changes nothing on the server, so each counts once.
import { ApiError, request } from "./api.js";
import { preference, root } from "./session.js";

const RETRY_MS = { first: 3000, factor: 2, max: 60_000 };
const LATE_MS = 5000; // an answer that is sent later says when it was given
const LOCK = `studysmart:${root.pathname}:outbox`;

/**
 * Dispatches `sent` with {id, task}, `refused` with {id, error}, `change` when the number of answers changes, and `stuck`
 * when they cannot be sent now.
 */
export const outbox = new EventTarget();

const stored = preference("outbox");
let timer = 0;
let pause = 0;

let unstored = null; // the answers, if the browser's storage is full or disabled: then a closed page loses them

const entries = () => unstored ?? stored.read() ?? [];
const tell = (name, detail) => outbox.dispatchEvent(new CustomEvent(name, { detail }));

/** Return the number of answers that wait. */
export const waiting = () => entries().length;

/** Return the ids of their tasks. */
export const waitingIds = () => entries().map(({ id }) => id);

/** Browsers have locks on secure origins only; elsewhere two tabs may send the same answer, which counts once. */
const oneTabAtATime = (work) => (navigator.locks === undefined ? work() : navigator.locks.request(LOCK, work));

function write(list) {
  stored.write(list);
  unstored = JSON.stringify(stored.read()) === JSON.stringify(list) ? null : list;
  tell("change");
}

const remove = (entry) => write(entries().filter(({ id, at }) => id !== entry.id || at !== entry.at));

/** Send an answer. Throws ApiError if it has to wait. */
async function send(entry) {
  const { id, at, body } = entry;
  const late = Date.now() - at > LATE_MS ? { completed_at: new Date(at).toISOString() } : {};
  const patch = (content) => request("PATCH", `practice-tasks/${encodeURIComponent(id)}`, { body: content, retry: false, quiet: true });
  try {
    let answer;
    try {
      answer = await patch({ ...body, ...late });
    } catch (error) {
      // The clock of this device may be wrong: then the answer counts from now.
      if (!(error instanceof ApiError) || !error.fieldErrors.some(({ field }) => field === "completed_at")) throw error;
      answer = await patch(body);
    }
    remove(entry);
    tell("sent", { id, task: answer.data });
  } catch (error) {
    if (!(error instanceof ApiError) || error.temporary || error.status >= 500) throw error;
    remove(entry);
    tell("refused", { id, error });
  }
}

/** Send what waits, in its order. An answer on which the server fails does not keep back those on other tasks. */
async function sendAll() {
  const failed = new Map(); // errors by the id of the task
  const tried = new Set();
  for (;;) {
    const entry = entries().find(({ id, at }) => !failed.has(id) && !tried.has(`${id} ${at}`));
    if (entry === undefined) break;
    tried.add(`${entry.id} ${entry.at}`);
    try {
      await send(entry);
    } catch (error) {
      if (!(error instanceof ApiError) || error.temporary) throw error;
      failed.set(entry.id, error);
    }
  }
  const [error] = failed.values();
  if (error !== undefined) throw error;
}

/** Send all answers that wait. What cannot be sent now is sent later. */
export async function flush() {
  clearTimeout(timer);
  try {
    await oneTabAtATime(sendAll);
    pause = 0;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    pause = Math.min(Math.max(pause * RETRY_MS.factor, RETRY_MS.first, (error.retryAfter ?? 0) * 1000), RETRY_MS.max);
    timer = setTimeout(flush, pause);
    tell("stuck");
  }
}

/** Store an answer and send it as soon as the server can be reached. */
export function post(id, body) {
  write([...entries(), { id, body, at: Date.now() }]);
  return flush();
}

/** Send what an earlier page has left, now and when the device comes online. */
export function startOutbox() {
  window.addEventListener("online", flush);
  if (waiting() > 0) flush();
}
