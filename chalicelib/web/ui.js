// Building blocks of every page: elements, formats, predictions, notices, form errors, and what a page does on start.
import { ApiError, connection, request } from "./api.js";
import { formatter, LOCALE, zone } from "./days.js";
import { outbox, startOutbox, waiting } from "./outbox.js";
import { draft, isAdmin, requireSession, root, signOut } from "./session.js";

export { draft };

/** Create an element. `data` sets data attributes, other options set properties. Children are nodes or plain text. */
export function el(tag, { data = {}, attributes = {}, ...properties } = {}, ...children) {
  const node = document.createElement(tag);
  Object.assign(node, properties);
  Object.assign(node.dataset, data);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Let the browser handle input and paint before the next piece of work. */
export const yieldToBrowser = () => new Promise((resolve) => { setTimeout(resolve); });

// ---- formats -------------------------------------------------------------------------------------------------

// Formatters are created on first use: creating the first one loads language data and would delay the start of a page.
const lazy = (create) => { let created = null; return () => (created ??= create()); };
const integers = lazy(() => new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 }));
const relativeTimes = lazy(() => new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" }));
const pluralRules = lazy(() => new Intl.PluralRules(LOCALE));

export const count = (number) => integers().format(number);
export const percent = (share) => (share === null ? "–" : `${integers().format(share * 100)}\u00a0%`);
export const percentRange = (low, high) => `${count(low * 100)} to ${percent(high)}`;

/** Return a noun in the form that follows a number: `task` or `tasks`. */
export const plural = (number, noun) => (pluralRules().select(number) === "one" ? noun : `${noun}s`);

/** Return the verb that follows a number: `is` or `are`. */
export const isOrAre = (number) => (pluralRules().select(number) === "one" ? "is" : "are");

/** Format a number with its noun: `1 task`, `2 tasks`. */
export const counted = (number, noun) => `${count(number)} ${plural(number, noun)}`;

/** Format seconds with non-breaking spaces: `48 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(seconds) {
  if (seconds === null) return "–";
  const all = Math.round(seconds);
  const minutes = all < 3600 ? Math.floor(all / 60) : Math.round(all / 60);
  const parts = all < 3600 ? [[minutes, "min"], [all % 60, "s"]] : [[Math.floor(minutes / 60), "h"], [minutes % 60, "min"]];
  const shown = parts.filter(([number]) => number > 0).map(([number, unit]) => `${number}\u00a0${unit}`);
  return shown.length === 0 ? "0\u00a0s" : shown.join("\u00a0");
}

/** Return a Date in words such as `5 minutes ago`, an older one as day and time. */
export function relativeTime(at) {
  const minutes = Math.round((at.getTime() - Date.now()) / 60_000);
  if (Math.abs(minutes) < 1) return "just now";
  if (Math.abs(minutes) < 60) return relativeTimes().format(minutes, "minute");
  if (Math.abs(minutes) < 24 * 60) return relativeTimes().format(Math.round(minutes / 60), "hour");
  if (Math.abs(minutes) < 7 * 24 * 60) return relativeTimes().format(Math.round(minutes / 1440), "day");
  return exactTime(at);
}

/** Format a Date, or milliseconds since 1970, as day and time in the student's zone. */
export const exactTime = (at) => formatter({ dateStyle: "medium", timeStyle: "short", timeZone: zone() }).format(at);

/** Return a <time> element such as `5 minutes ago`; its title is the exact time in the student's zone. */
export function timeElement(iso) {
  const at = new Date(iso);
  return el("time", { dateTime: iso, title: exactTime(at) }, relativeTime(at));
}

function refreshTimes() {
  for (const node of document.querySelectorAll("time")) {
    const text = relativeTime(new Date(node.dateTime));
    if (node.textContent !== text) node.textContent = text;
  }
}

// ---- predictions ---------------------------------------------------------------------------------------------

const SOURCES = {
  embedding: { name: "Personal model", title: "Learnt from your own answers" },
  lnirt: { name: "Population model", title: "Estimated from the answers of all students" },
  default: { name: "Default", title: "A starting guess: there is no data yet" },
};

/** Return a badge that names the source of a prediction. */
export function sourceBadge(source) {
  const { name, title } = SOURCES[source] ?? { name: source, title: "" };
  return el("span", { className: "badge", data: { source }, title }, name);
}

/** Return whether a task was predicted. An imported answer was not: its prediction is a placeholder of the import. */
export function wasPredicted({ completed, completed_at: at, created_at: created, prediction_source: source }) {
  return !completed || source !== "default" || (at !== null && at !== created);
}

/** Return the parts of a line that shows a prediction: a bar, the chance, the time with its interval, the source. */
export function forecast(prediction) {
  const { predicted_correct: chance, predicted_time_seconds: seconds, predicted_time_low: low, predicted_time_high: high } = prediction;
  const interval = (low ?? null) === null || (high ?? null) === null ? null
    : el("span", { className: "sub", title: "8 out of 10 times are expected to be in this range" }, `(${duration(low)} to ${duration(high)})`);
  return [
    el("meter", { min: 0, max: 1, value: chance, ariaLabel: "Chance of a correct answer" }),
    el("span", {}, "Predicted: ", el("strong", {}, percent(chance)), " chance, about ", el("strong", {}, duration(seconds))),
    interval,
    sourceBadge(prediction.prediction_source),
  ].filter((part) => part !== null);
}

// ---- names and excerpts --------------------------------------------------------------------------------------

const graphemes = lazy(() => new Intl.Segmenter(LOCALE, { granularity: "grapheme" }));

/** Return a text that is cut before the character at `length`, as a reader counts characters: an emoji is one. */
export function excerpt(text, length) {
  if (text.length <= length) return text;
  return `${text.slice(0, graphemes().segment(text).containing(length).index).trimEnd()}…`;
}

export const DIFFICULTY = { easy: "Easy", medium: "Medium", hard: "Hard", expert: "Expert" };

export const difficultyBadge = (difficulty) => el("span", { className: "badge", data: { difficulty } }, DIFFICULTY[difficulty] ?? difficulty);

// ---- notices, busy buttons, form errors ----------------------------------------------------------------------

/** Show a message in `place`. With `retry` it has a button that removes the message and calls `retry`. */
export function notice(text, { kind = "error", retry = null, place = byId("notices"), seconds = 0 } = {}) {
  const line = el("div", { className: `notice ${kind}` }, el("span", {}, text));
  if (retry !== null) {
    line.append(el("button", { type: "button", className: "quiet", onclick: () => { line.remove(); retry(); } }, "Try again"));
  }
  line.append(el("button", { type: "button", className: "quiet close", onclick: () => line.remove(), ariaLabel: "Close this message" }, "×"));
  place.replaceChildren(line);
  if (seconds > 0) setTimeout(() => line.remove(), seconds * 1000);
}

/** Show an error as a notice. An error that is not an ApiError is a bug: it is thrown again for the console. */
export function report(error, options) {
  if (error instanceof ApiError) {
    const fields = error.fieldErrors.map(({ field, message }) => `${field}: ${message}`).join("; ");
    notice(fields === "" ? error.message : `${error.message} ${fields}`, options);
    return;
  }
  notice("Something went wrong on this page. Reload the page and try again.", options);
  throw error;
}

/**
 * Run an action with its buttons marked as busy, unless they are busy already.
 * Buttons get aria-disabled instead of disabled, because a disabled button would lose the keyboard focus.
 */
export async function whileBusy(buttons, action) {
  if (buttons.some((button) => button.ariaDisabled === "true")) return;
  for (const button of buttons) {
    button.ariaDisabled = "true";
    button.ariaBusy = "true";
  }
  try {
    await action();
  } finally {
    for (const button of buttons) {
      button.ariaDisabled = null;
      button.ariaBusy = null;
    }
  }
}

/** Remove all errors of a form. */
export function clearErrors(form) {
  for (const line of form.querySelectorAll(".error")) line.textContent = "";
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

/** Show each error next to its field and all others below the form. The first invalid field gets the focus. */
export function showErrors(form, message, fieldErrors = []) {
  const general = fieldErrors.length === 0 ? [message] : [];
  let first = null;
  for (const error of fieldErrors) {
    const field = form.querySelector(`[data-field="${CSS.escape(error.field)}"]`);
    if (field === null || field.hidden) {
      general.push(error.field === "" ? error.message : `${error.field}: ${error.message}`);
      continue;
    }
    field.querySelector(".error").textContent = error.message;
    const input = field.querySelector("input, textarea, select");
    input.setAttribute("aria-invalid", "true");
    first ??= input;
  }
  form.querySelector(".form-error").textContent = general.join(" ");
  for (const line of byId("notices").querySelectorAll(".good, .info")) line.remove(); // a success of before would contradict the error
  first?.focus();
}

// ---- passwords -----------------------------------------------------------------------------------------------

export const MIN_PASSWORD_LENGTH = 8;

/** Start the button that shows the password of the field that it controls. Returns a function that hides it. */
export function startReveal(button) {
  const input = byId(button.getAttribute("aria-controls"));
  const show = (visible) => {
    input.type = visible ? "text" : "password";
    button.textContent = visible ? "Hide" : "Show";
  };
  button.addEventListener("click", () => show(input.type === "password"));
  return () => show(false);
}

// ---- pages ---------------------------------------------------------------------------------------------------

const REFRESH_TIMES_MS = 60_000;
const SHELL_DELAY_MS = 3000; // what the page itself loads comes first

/** Show the state of the connection, and how many answers wait for it. */
function startConnection() {
  let state = "";
  let stuck = false;
  const show = () => {
    const waits = (stuck || state !== "") && waiting() > 0 ? `${counted(waiting(), "answer")} will be sent later.` : "";
    byId("connection").textContent = [state, waits].filter((part) => part !== "").join(" ");
  };
  connection.addEventListener("waiting", ({ detail }) => { state = detail; show(); });
  outbox.addEventListener("stuck", () => { stuck = true; show(); });
  outbox.addEventListener("change", () => { stuck &&= waiting() > 0; show(); });
}

/** Start what every page has: the state of the connection, and relative times that stay correct. */
export function startAnyPage() {
  startConnection();
  setInterval(refreshTimes, REFRESH_TIMES_MS);
}

/** Show whose account the header leads to. */
export function showName({ full_name: name, email }) {
  byId("who").textContent = name || email || "Account";
}

/** Let the service worker keep the shell, once the page has loaded. Browsers have workers on secure origins only. */
function keepShell() {
  if (navigator.serviceWorker === undefined) return;
  setTimeout(() => {
    navigator.serviceWorker.register(new URL("sw.js", root)).catch((error) => { console.info(`pages are not kept for offline use: ${error.message}`); });
  }, SHELL_DELAY_MS);
}

/** Start a page that needs a session. Returns false if nobody is signed in and the page is being left. */
export function startPage() {
  if (!requireSession()) return false;
  startAnyPage();
  startOutbox();
  keepShell();
  byId("sign-out").addEventListener("click", () => signOut());
  for (const link of document.querySelectorAll("[data-for=admin]")) link.hidden = !isAdmin();
  request("GET", "auth/me", { quiet: true }).then(
    ({ data }) => showName(data),
    (error) => { if (!(error instanceof ApiError)) throw error; }, // the page works without the name
  );
  return true;
}
