// The only door to the API: requests, what can go wrong with them, and what is tried again.
import { endSession, root, token } from "./session.js";

const TIMEOUT_MS = 20_000;
const SLOW_MS = 3000;
const RETRY_DELAYS_MS = [400, 1500];
const LONGEST_WAIT_S = 10;

/**
 * A request that did not succeed. `status` is 0 when the server did not answer at all; `retryAfter` are the seconds
 * after which the server wants to be asked again, null where it does not say.
 */
export class ApiError extends Error {
  constructor(status, message, { faults = [], retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.faults = faults;
    this.retryAfter = retryAfter;
  }

  /** Whether the server was away or busy: the same request may succeed later. */
  get passing() {
    return [0, 429, 502, 503, 504].includes(this.status);
  }
}

// ---- what the reader is told while waiting -------------------------------------------------------------------

const slow = new Set();
let retrying = 0;

/** Tells `waiting` (a word for the reader, "" when all is well) whenever a request hangs or is tried again. */
export const connection = new EventTarget();

function tell() {
  let text = "";
  if (!navigator.onLine) text = "You are offline. What you typed is kept.";
  else if (retrying > 0) text = "No answer from the server, trying again…";
  else if (slow.size > 0) text = "The server is slow, still waiting…";
  connection.dispatchEvent(new CustomEvent("waiting", { detail: text }));
}

window.addEventListener("online", tell);
window.addEventListener("offline", tell);

// ---- one attempt ---------------------------------------------------------------------------------------------

function messageOf(response, data, retryAfter) {
  const detail = typeof data?.detail === "string" ? data.detail : data?.message;
  if (response.status === 429) return `Too many requests at once. Try again ${retryAfter > 0 ? `in ${retryAfter} s` : "in a moment"}.`;
  if (response.status >= 500) return "The server cannot do that right now. Try again in a moment.";
  return typeof detail === "string" ? detail : `The server refused that (${response.status}).`;
}

function faultsOf(data) {
  if (!Array.isArray(data?.detail)) return [];
  return data.detail.map((fault) => ({ field: String(fault.loc?.at(-1) ?? ""), message: String(fault.msg ?? "") }));
}

async function attempt(method, url, headers, body) {
  let response;
  let text;
  try {
    response = await fetch(url, { method, headers, body, signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
    text = await response.text();
  } catch (error) {
    throw new ApiError(0, error.name === "TimeoutError"
      ? "The server is taking too long to answer. Try again in a moment."
      : "The server cannot be reached. Check the connection and try again.");
  }
  let data = null;
  try {
    data = text === "" ? null : JSON.parse(text);
  } catch {
    // Something between here and the API answered, for example a gateway's page: an answer, but not ours.
    if (response.ok) throw new ApiError(502, "The server sent something unreadable. Try again in a moment.");
  }
  if (response.ok) return { data, next: nextLink(response.headers.get("Link")) };
  const faults = response.status === 422 ? faultsOf(data) : [];
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const retryAfter = seconds >= 0 ? seconds : null;
  const message = faults.length > 0 ? "Some entries need another look." : messageOf(response, data, retryAfter);
  throw new ApiError(response.status, message, { faults, retryAfter });
}

/** The query of the next page from a Link header, as a path relative to the root; null on the last page. */
function nextLink(header) {
  const match = /<([^>]*)>\s*;[^,]*rel="?next"?/.exec(header ?? "");
  if (match === null) return null;
  return `practice-tasks${new URL(match[1], new URL("practice-tasks", root)).search}`;
}

function headersWith(value, body) {
  return {
    Accept: "application/json",
    ...(value === null ? {} : { Authorization: `Bearer ${value}` }),
    ...(body === undefined ? {} : { "Content-Type": "application/json" }),
  };
}

// ---- requests ------------------------------------------------------------------------------------------------

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

/** How long to wait before the next try, in milliseconds; null when there is none. */
function waitBefore(error, tries) {
  if (!error.passing || tries >= RETRY_DELAYS_MS.length || error.retryAfter > LONGEST_WAIT_S) return null;
  return Math.max(RETRY_DELAYS_MS[tries], (error.retryAfter ?? 0) * 1000);
}

/** Say that it is slow when work takes long. */
async function noticed(work) {
  const key = {};
  const timer = setTimeout(() => { slow.add(key); tell(); }, SLOW_MS);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
    if (slow.delete(key)) tell();
  }
}

async function againAfter(milliseconds) {
  retrying += 1;
  tell();
  await pause(milliseconds);
  retrying -= 1;
  tell();
}

async function tried(send, safe) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await send();
    } catch (error) {
      const wait = safe && error instanceof ApiError ? waitBefore(error, tries) : null;
      if (wait === null) throw error;
      await againAfter(wait);
    }
  }
}

/**
 * Send one request and return {data, next}; throws ApiError.
 *
 * Requests that change nothing when repeated (`safe`: reading, completing, deleting) are tried again when the
 * server does not answer or is busy. With `quiet` the reader is not told that it takes long. An ended session leaves
 * for the sign-in page and never resolves, so that callers need not tell it from other errors.
 */
export async function request(method, path, { body, safe = method !== "POST", session = true, quiet = false } = {}) {
  const value = session ? token() : null;
  const content = body === undefined ? undefined : JSON.stringify(body);
  const send = () => attempt(method, new URL(path, root), headersWith(value, body), content);
  try {
    if (session && value === null) throw new ApiError(401, "");
    return await (quiet ? tried(send, safe) : noticed(() => tried(send, safe)));
  } catch (error) {
    if (!session || !(error instanceof ApiError) || error.status !== 401) throw error;
    endSession();
    return new Promise(() => {});
  }
}

/**
 * A function that sends a request while the page is being left: the browser carries it out, nobody hears the answer.
 * It is made with the present session, which may be over by then.
 */
export function onLeaving(method, path) {
  const headers = headersWith(token());
  return () => {
    fetch(new URL(path, root), { method, headers, keepalive: true }).catch((error) => {
      console.info(`${method} ${path} was not sent: ${error.message}`);
    });
  };
}
