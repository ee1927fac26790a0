// The only door to the API: addresses, the session, and what can go wrong with a request.

// Modules are served from <prefix>/static/<version>/, so the root holds whatever stage prefix there is.
export const root = new URL("../../", import.meta.url);

const TOKEN_KEY = `studysmart:${root.pathname}:token`;
const ENDS_KEY = `studysmart:${root.pathname}:ends`;
const DRAFTS = "studysmart:draft:";
const TIMEOUT_MS = 20_000;
const RETRY_DELAYS_MS = [400, 1500];

/** A request that did not succeed. `status` is 0 when the server did not answer at all. */
export class ApiError extends Error {
  constructor(status, message, faults = []) {
    super(message);
    this.status = status;
    this.faults = faults;
  }
}

// ---- session -------------------------------------------------------------------------------------------------

/** The claims of a JWT, or {} when the token is not one; only the server can tell whether they are true. */
function claimsOf(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof DOMException) return {};
    throw error;
  }
}

/** The access token, or null when there is none or its time is over. */
export function token() {
  if (Number(localStorage.getItem(ENDS_KEY) ?? Infinity) <= Date.now()) forget();
  return localStorage.getItem(TOKEN_KEY);
}

/** Who is signed in, as a key for what is kept in the browser; "" for nobody. */
export function userKey() {
  const value = token();
  return value === null ? "" : String(claimsOf(value).sub ?? "unknown");
}

function forget() {
  localStorage.removeItem(TOKEN_KEY);
  localStorage.removeItem(ENDS_KEY);
}

/** Keep a new token for its lifetime, measured by this clock: it may differ from the server's. */
export function signIn(accessToken) {
  const { iat, exp } = claimsOf(accessToken);
  localStorage.removeItem(ENDS_KEY);
  if (typeof iat === "number" && typeof exp === "number") localStorage.setItem(ENDS_KEY, String(Date.now() + (exp - iat) * 1000));
  localStorage.setItem(TOKEN_KEY, accessToken);
}

/** The key under which something that was typed is kept in this tab, for this user only. */
export const draftKey = (name) => `${DRAFTS}${userKey()}:${name}`;

function forgetDrafts() {
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(DRAFTS)) sessionStorage.removeItem(name);
}

export function pageUrl(path) {
  return new URL(path, root).href;
}

/** Sign out: forget the token and what was typed. */
export function signOut() {
  forget();
  forgetDrafts();
  location.assign(pageUrl("login"));
}

/** The token is of no use any more: go to the sign-in page, which leads back to this page and what was typed. */
export function endSession() {
  forget();
  const login = new URL("login", root);
  if (location.pathname !== login.pathname) {
    login.searchParams.set("ended", "1");
    login.searchParams.set("next", location.pathname.slice(root.pathname.length));
  }
  location.assign(login.href);
}

/** Leave for the sign-in page when nobody is signed in. Signing out in one tab signs out all of them. */
export function requireSession() {
  if (token() === null) {
    endSession();
    return false;
  }
  window.addEventListener("storage", (event) => {
    if (event.key === TOKEN_KEY && event.newValue === null) endSession();
  });
  return true;
}

// ---- requests ------------------------------------------------------------------------------------------------

function messageOf(response, data) {
  const detail = typeof data?.detail === "string" ? data.detail : data?.message;
  if (response.status === 429) {
    const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
    return `Too many requests at once. Try again ${seconds > 0 ? `in ${seconds} s` : "in a moment"}.`;
  }
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
    const slow = error.name === "TimeoutError";
    throw new ApiError(0, slow
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
  throw new ApiError(response.status, faults.length > 0 ? "Some entries need another look." : messageOf(response, data), faults);
}

/** The query of the next page from a Link header, as a path relative to the root; null on the last page. */
function nextLink(header) {
  const match = /<([^>]*)>\s*;[^,]*rel="?next"?/.exec(header ?? "");
  if (match === null) return null;
  return `practice-tasks${new URL(match[1], new URL("practice-tasks", root)).search}`;
}

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

/**
 * Send one request and return {data, next}; throws ApiError.
 *
 * Requests that change nothing when repeated (`safe`: reading, completing, deleting) are tried again when the
 * server does not answer or is unavailable. An ended session leaves for the sign-in page and never resolves, so
 * that callers need not tell it from other errors.
 */
export async function request(method, path, { body, safe = method !== "POST", session = true } = {}) {
  const headers = { Accept: "application/json" };
  if (session) {
    const value = token();
    if (value === null) {
      endSession();
      return new Promise(() => {});
    }
    headers.Authorization = `Bearer ${value}`;
  }
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const content = body === undefined ? undefined : JSON.stringify(body);
  for (let tries = 0; ; tries += 1) {
    try {
      return await attempt(method, new URL(path, root), headers, content);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (session && error.status === 401) {
        endSession();
        return new Promise(() => {});
      }
      const passing = error.status === 0 || error.status === 502 || error.status === 503 || error.status === 504;
      if (!safe || !passing || tries >= RETRY_DELAYS_MS.length) throw error;
      await pause(RETRY_DELAYS_MS[tries]);
    }
  }
}
