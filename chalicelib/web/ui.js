// Small pieces that every page uses: elements, formats, predictions, notices, busy buttons, errors by field.
import { ApiError, connection, request } from "./api.js";
import { draft, isAdmin, requireSession, signOut } from "./session.js";

export { draft };

/** An element. Properties are set as properties, `data` as data attributes; children are nodes or plain text. */
export function el(tag, { data = {}, attributes = {}, ...properties } = {}, ...children) {
  const node = document.createElement(tag);
  Object.assign(node, properties);
  Object.assign(node.dataset, data);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Let the browser answer the reader before the next piece of work. */
export const breathe = () => new Promise((resolve) => { setTimeout(resolve); });

// ---- formats -------------------------------------------------------------------------------------------------

// Made when first needed: the first of them loads the browser's language data, which a starting page need not wait for.
const once = (make) => { let made = null; return () => (made ??= make()); };
const whole = once(() => new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 }));
const moment = once(() => new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }));
const relative = once(() => new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }));

export const count = (number) => whole().format(number);
export const percent = (share) => (share === null ? "–" : `${whole().format(share * 100)}\u00a0%`);

/** Seconds for reading, not broken over lines: `48 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(seconds) {
  if (seconds === null) return "–";
  const all = Math.round(seconds);
  const minutes = all < 3600 ? Math.floor(all / 60) : Math.round(all / 60);
  const parts = all < 3600 ? [[minutes, "min"], [all % 60, "s"]] : [[Math.floor(minutes / 60), "h"], [minutes % 60, "min"]];
  const shown = parts.filter(([number]) => number > 0).map(([number, unit]) => `${number}\u00a0${unit}`);
  return shown.length === 0 ? "0\u00a0s" : shown.join("\u00a0");
}

function ago(at) {
  const minutes = Math.round((at.getTime() - Date.now()) / 60_000);
  if (Math.abs(minutes) < 1) return "just now";
  if (Math.abs(minutes) < 60) return relative().format(minutes, "minute");
  if (Math.abs(minutes) < 24 * 60) return relative().format(Math.round(minutes / 60), "hour");
  if (Math.abs(minutes) < 7 * 24 * 60) return relative().format(Math.round(minutes / 1440), "day");
  return moment().format(at);
}

/** A <time> in the reader's zone: `5 minutes ago`, with the exact moment as its title. */
export function timeElement(iso) {
  const at = new Date(iso);
  return el("time", { dateTime: iso, title: moment().format(at) }, ago(at));
}

function renewTimes() {
  for (const node of document.querySelectorAll("time")) {
    const text = ago(new Date(node.dateTime));
    if (node.textContent !== text) node.textContent = text;
  }
}

// ---- predictions ---------------------------------------------------------------------------------------------

const SOURCES = {
  embedding: "learnt from your answers",
  lnirt: "estimated from all students",
  default: "no data yet, a starting guess",
};
const SOURCE_NAMES = { embedding: "Personal model", lnirt: "Population model", default: "Default" };

/** A badge that names where a prediction came from. */
export function sourceBadge(source) {
  return el("span", { className: "badge", data: { source }, title: SOURCES[source] ?? "" }, SOURCE_NAMES[source] ?? source);
}

/** `48 s`, with its 80 % interval where the model gives one. */
export function expectedTime({ predicted_time_seconds: seconds, predicted_time_low: low, predicted_time_high: high }) {
  const known = low !== null && low !== undefined && high !== null && high !== undefined;
  return known ? `${duration(seconds)} (${duration(low)} to ${duration(high)})` : duration(seconds);
}

/** The parts of a line that says a prediction: a bar, the chance, the time with its interval, the source. */
export function forecast(prediction, lead = "Predicted") {
  const { predicted_correct: chance, predicted_time_seconds: seconds, predicted_time_low: low, predicted_time_high: high } = prediction;
  const interval = low === null || low === undefined || high === null || high === undefined ? null
    : el("span", { className: "sub", title: "8 of 10 times are expected in between" }, `(${duration(low)} to ${duration(high)})`);
  return [
    el("meter", { min: 0, max: 1, value: chance, ariaLabel: "Chance of a correct answer" }),
    el("span", {}, `${lead} `, el("strong", {}, percent(chance)), " chance, about ", el("strong", {}, duration(seconds))),
    interval,
    sourceBadge(prediction.prediction_source),
  ];
}

export const DIFFICULTY = { easy: "Easy", medium: "Medium", hard: "Hard", expert: "Expert" };

export const difficultyBadge = (difficulty) => el("span", { className: "badge", data: { difficulty } }, DIFFICULTY[difficulty] ?? difficulty);

// ---- notices, busy, errors -----------------------------------------------------------------------------------

/** Show a line above the content. `again` adds a button that removes the line and calls it. */
export function notice(text, { kind = "error", again = null, place = byId("notices"), seconds = 0 } = {}) {
  const line = el("div", { className: `notice ${kind}` }, el("span", {}, text));
  if (again !== null) {
    line.append(el("button", { type: "button", className: "quiet", onclick: () => { line.remove(); again(); } }, "Try again"));
  }
  line.append(el("button", { type: "button", className: "quiet close", onclick: () => line.remove(), ariaLabel: "Close this message" }, "×"));
  place.replaceChildren(line);
  if (seconds > 0) setTimeout(() => line.remove(), seconds * 1000);
  return line;
}

/** Say what went wrong. A fault of our own is said too, and thrown on so that the console has it. */
export function report(error, options) {
  if (error instanceof ApiError) {
    const faults = error.faults.map((fault) => `${fault.field}: ${fault.message}`).join("; ");
    notice(faults === "" ? error.message : `${error.message} ${faults}`, options);
    return;
  }
  notice("Something went wrong on this page. Reload it and try again.", options);
  throw error;
}

/**
 * Run an action once at a time with its buttons marked busy, and free them whatever happens.
 * Buttons are marked by aria-disabled, not disabled, so that the keyboard's focus stays where it was.
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

/** Put each fault beside its field, the rest below the form; focus moves to the first wrong field. */
export function showErrors(form, message, faults = []) {
  const elsewhere = [];
  let first = null;
  for (const fault of faults) {
    const field = form.querySelector(`[data-field="${CSS.escape(fault.field)}"]`);
    if (field === null || field.hidden) {
      elsewhere.push(fault.field === "" ? fault.message : `${fault.field}: ${fault.message}`);
      continue;
    }
    field.querySelector(".error").textContent = fault.message;
    const input = field.querySelector("input, textarea, select");
    input.setAttribute("aria-invalid", "true");
    first ??= input;
  }
  if (faults.length === 0) elsewhere.push(message);
  form.querySelector(".form-error").textContent = elsewhere.join(" ");
  first?.focus();
}

// ---- pages ---------------------------------------------------------------------------------------------------

const RENEW_TIMES_MS = 60_000;

/** What every page does: say when the server lets it wait, and keep `5 minutes ago` true. */
export function startAnyPage() {
  connection.addEventListener("waiting", ({ detail }) => { byId("connection").textContent = detail; });
  setInterval(renewTimes, RENEW_TIMES_MS);
}

/** Start a page behind the login: who is signed in, the sign-out button. False when it leaves for the login. */
export function startPage() {
  if (!requireSession()) return false;
  startAnyPage();
  byId("sign-out").addEventListener("click", signOut);
  for (const link of document.querySelectorAll("[data-for=admin]")) link.hidden = !isAdmin();
  request("GET", "auth/me", { quiet: true }).then(
    ({ data }) => { byId("who").textContent = data.full_name || data.email || ""; },
    (error) => { if (!(error instanceof ApiError)) throw error; }, // the name is an ornament: the page does without
  );
  return true;
}
