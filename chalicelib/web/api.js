// Requests to the API: all go through this module, which retries them and turns failures into ApiError.
import { endSession, refreshToken, root, signIn, token, tokenExpired } from "./session.js";

const JSON_TYPE = "application/json";
const TIMEOUT_MS = 20_000;
const SLOW_MS = 3000;
const RETRY_DELAYS_MS = [400, 1500];
const MAX_RETRY_AFTER_S = 10;

/**
 * A request that failed. `status` is 0 if the server did not respond. `fieldErrors` is a list of {field, message}.
 * `retryAfter` is the pause in seconds that the server asks for, or null.
 */
export class ApiError extends Error {
  constructor(status, message, { fieldErrors = [], retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.fieldErrors = fieldErrors;
    this.retryAfter = retryAfter;
  }

  /** True if the server was unreachable or busy, so that the same request may succeed later. */
  get temporary() {
    return [0, 429, 502, 503, 504].includes(this.status);
  }
}

// ---- state of the connection ---------------------------------------------------------------------------------

const slow = new Set(); // one key for each slow request
let retrying = 0; // number of requests that wait for their next attempt

/** Dispatches `waiting` with a message for the user ("" if all is well) when the state of the connection changes. */
export const connection = new EventTarget();

function announceConnection() {
  let text = "";
  if (!navigator.onLine) text = "You are offline.";
  else if (retrying > 0) text = "The server is not responding. Trying again…";
  else if (slow.size > 0) text = "The server is slow to respond. Still waiting…";
  connection.dispatchEvent(new CustomEvent("waiting", { detail: text }));
}

window.addEventListener("online", announceConnection);
window.addEventListener("offline", announceConnection);

// ---- one attempt ---------------------------------------------------------------------------------------------

function pauseInWords(seconds) {
  if (!(seconds > 0)) return "in a moment";
  return seconds <= 120 ? `in ${seconds} s` : `in ${Math.ceil(seconds / 60)} min`;
}

function errorMessage(response, data, retryAfter) {
  const detail = typeof data?.detail === "string" ? data.detail : data?.message;
  if (response.status === 429) return `${data?.detail ?? "Too many requests"}. Try again ${pauseInWords(retryAfter)}.`;
  if (response.status >= 500) return "The server could not complete the request. Try again in a moment.";
  return typeof detail === "string" ? detail : `The server rejected the request (status ${response.status}).`;
}

/** Return the field errors of a 422 response. */
function fieldErrorsOf(data) {
  if (!Array.isArray(data?.detail)) return [];
  return data.detail.map((each) => ({ field: String(each.loc?.at(-1) ?? ""), message: String(each.msg ?? "") }));
}

async function attempt(method, url, headers, body) {
  let response;
  let text;
  try {
    response = await fetch(url, { method, headers, body, signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
    text = await response.text();
  } catch (error) {
    throw new ApiError(0, error.name === "TimeoutError"
      ? "The server took too long to respond. Try again in a moment."
      : "The server cannot be reached. Check your connection and try again.");
  }
  let data = null;
  try {
    data = text === "" ? null : JSON.parse(text);
  } catch {
    // Not a response of the API: a proxy in between may have sent an HTML page.
    if (response.ok && headers.Accept === JSON_TYPE) throw new ApiError(502, "The server sent an unreadable response. Try again in a moment.");
  }
  if (response.ok) return { data: headers.Accept === JSON_TYPE ? data : text, next: nextPage(response) };
  const fieldErrors = response.status === 422 ? fieldErrorsOf(data) : [];
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const retryAfter = seconds >= 0 ? seconds : null;
  const message = fieldErrors.length > 0 ? "Some fields are not valid." : errorMessage(response, data, retryAfter);
  throw new ApiError(response.status, message, { fieldErrors, retryAfter });
}

/** Return the path of the next page from the Link header, relative to the root; null on the last page. */
function nextPage(response) {
  const match = /<([^>]*)>\s*;[^,]*rel="?next"?/.exec(response.headers.get("Link") ?? "");
  if (match === null) return null;
  const next = new URL(match[1], response.url);
  return `${next.pathname.slice(root.pathname.length)}${next.search}`;
}

function requestHeaders(accessToken, body, accept = JSON_TYPE) {
  return {
    Accept: accept,
    ...(accessToken === null ? {} : { Authorization: `Bearer ${accessToken}` }),
    ...(body === undefined ? {} : { "Content-Type": JSON_TYPE }),
  };
}

// ---- the access token ----------------------------------------------------------------------------------------

const REFRESH_LOCK = `studysmart:${root.pathname}:refresh`;

/** Run `work` while no other tab runs it. Browsers have locks on secure origins only; elsewhere tabs may overlap. */
const oneTabAtATime = (work) => (navigator.locks === undefined ? work() : navigator.locks.request(REFRESH_LOCK, work));

/** Exchange the refresh token for new tokens. Throws ApiError: with status 401 the session has ended. */
async function refresh() {
  const used = refreshToken();
  if (used === null) throw new ApiError(401, "");
  const content = { refresh_token: used };
  const { data } = await attempt("POST", new URL("auth/refresh", root), requestHeaders(null, content), JSON.stringify(content));
  if (refreshToken() !== used) return new Promise(() => {}); // signed out in another tab: this page is being left
  return signIn(data);
}

/**
 * Return an access token that has not expired. A new one is requested if it has, or if it is `refused`, which is a
 * token that the server has not accepted. Throws ApiError: with status 401 the session has ended.
 */
export async function validToken(refused = null) {
  const usable = () => token() !== null && token() !== refused && !tokenExpired();
  // After waiting for another tab, its new token is used.
  if (!usable()) await oneTabAtATime(() => (usable() ? null : refresh()));
  return token();
}

// ---- requests ------------------------------------------------------------------------------------------------

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

/** Return the milliseconds before the next attempt, or null to give up. */
function retryDelay(error, attempts) {
  if (!error.temporary || attempts >= RETRY_DELAYS_MS.length || error.retryAfter > MAX_RETRY_AFTER_S) return null;
  return Math.max(RETRY_DELAYS_MS[attempts], (error.retryAfter ?? 0) * 1000);
}

/** Run `send`, and tell the user if it takes long. */
async function announceIfSlow(send) {
  const key = {};
  const timer = setTimeout(() => { slow.add(key); announceConnection(); }, SLOW_MS);
  try {
    return await send();
  } finally {
    clearTimeout(timer);
    if (slow.delete(key)) announceConnection();
  }
}

async function waitForRetry(milliseconds) {
  retrying += 1;
  announceConnection();
  await pause(milliseconds);
  retrying -= 1;
  announceConnection();
}

async function withRetries(send) {
  for (let attempts = 0; ; attempts += 1) {
    try {
      return await send();
    } catch (error) {
      const delay = error instanceof ApiError ? retryDelay(error, attempts) : null;
      if (delay === null) throw error;
      await waitForRetry(delay);
    }
  }
}

/** Send with an access token, and once more with a new one if the server refuses it. A refused request has no effect. */
async function withValidToken(sendWith) {
  const accessToken = await validToken();
  try {
    return await sendWith(accessToken);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
    return sendWith(await validToken(accessToken));
  }
}

/** Return the address of a path of the API. An admin's page may name another cohort: then its requests name it too. */
function addressOf(path) {
  const url = new URL(path, root);
  const cohort = new URLSearchParams(location.search).get("cohort");
  if (cohort) url.searchParams.set("cohort", cohort);
  return url;
}

/**
 * Send a request and return {data, next}. Throws ApiError. With an `accept` other than JSON, `data` is the text.
 *
 * A request with `retry` is sent again if the server does not respond or is busy. It must have the same effect when it
 * is repeated, as reading, completing and deleting have. With `quiet` the user is not told that it is slow.
 * An expired access token is renewed first. If the session has ended, the browser goes to the sign-in page and the
 * promise never resolves.
 */
export async function request(method, path, { body, accept, retry = method !== "POST", session = true, quiet = false } = {}) {
  const content = body === undefined ? undefined : JSON.stringify(body);
  const sendWith = (accessToken) => attempt(method, addressOf(path), requestHeaders(accessToken, body, accept), content);
  const sendOnce = session ? () => withValidToken(sendWith) : () => sendWith(null);
  const send = retry ? () => withRetries(sendOnce) : sendOnce;
  try {
    return await (quiet ? send() : announceIfSlow(send));
  } catch (error) {
    if (!session || !(error instanceof ApiError) || error.status !== 401) throw error;
    endSession();
    return new Promise(() => {});
  }
}

/**
 * Return a function that sends a request while the page is being closed: the browser completes it afterwards.
 * It uses the token of now, because the user may have signed out when it is sent.
 */
export function keepaliveRequest(method, path) {
  let headers = requestHeaders(token());
  validToken().then((accessToken) => { headers = requestHeaders(accessToken); }, (error) => {
    if (!(error instanceof ApiError)) throw error; // without a valid token, the next request of the page ends the session
  });
  return () => {
    fetch(new URL(path, root), { method, headers, keepalive: true }).catch((error) => {
      console.info(`${method} ${path} was not sent: ${error.message}`);
    });
  };
}
