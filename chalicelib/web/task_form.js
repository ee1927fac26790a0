// The form for a new task: kept while typing, with the prediction for the chosen topic and difficulty.
import { ApiError, request } from "./api.js";
import { byId, clearErrors, draft, el, forecast, report, showErrors, whileBusy } from "./ui.js";

const FIELDS = ["subject", "topic", "difficulty", "task_content"];
const NAMES = { subject: "the subject", topic: "the topic", task_content: "what is to be done" };
const PREVIEW_DELAY_MS = 250;
const MOST_OPTIONS = 300; // browsers get slow with endless lists of suggestions

const form = byId("new-task");
const preview = byId("preview");
const kept = draft("new-task");
const hint = preview.textContent;
const offered = { subjects: new Set(), topics: new Set() };
const subjectOf = new Map(); // by topic
let previewTimer = 0;
let previewNumber = 0;

const values = () => Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));

function restore() {
  const before = kept.read();
  if (before === null) return;
  for (const name of FIELDS) if (typeof before[name] === "string") form.elements[name].value = before[name];
}

// ---- the live prediction -------------------------------------------------------------------------------------

function showInPreview(known, ...parts) {
  preview.replaceChildren(...parts.filter((part) => part !== null));
  preview.classList.toggle("known", known);
  preview.ariaBusy = null;
}

async function askPreview() {
  const { subject, topic, difficulty } = values();
  const number = (previewNumber += 1);
  if (topic.trim() === "") {
    showInPreview(false, hint);
    return;
  }
  const query = new URLSearchParams({ topic, difficulty });
  if (subject.trim() !== "") query.set("subject", subject);
  preview.ariaBusy = "true";
  try {
    const { data } = await request("GET", `predictions?${query}`, { quiet: true });
    if (number !== previewNumber) return;
    const strongest = data.explanation[0];
    showInPreview(true, ...forecast(data), strongest ? el("span", { className: "sub why" }, strongest.text) : null);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (number === previewNumber) showInPreview(false, "No prediction just now; the task can be created all the same.");
  }
}

/** Ask for the prediction again, after the student's state or the model changed. */
export function refreshPreview() {
  clearTimeout(previewTimer);
  previewTimer = setTimeout(askPreview, PREVIEW_DELAY_MS);
}

// ---- creating ------------------------------------------------------------------------------------------------

async function create(onCreated) {
  const body = values();
  clearErrors(form);
  const faults = Object.keys(NAMES)
    .filter((name) => body[name].trim() === "")
    .map((name) => ({ field: name, message: `Enter ${NAMES[name]}.` }));
  if (faults.length > 0) {
    showErrors(form, "", faults);
    return;
  }
  try {
    const { data } = await request("POST", "practice-tasks", { body });
    // Subject, topic and difficulty stay: the next task is mostly a similar one. So does what was typed meanwhile.
    if (form.elements.task_content.value === body.task_content) form.elements.task_content.value = "";
    kept.write(values());
    onCreated(data);
  } catch (error) {
    if (error instanceof ApiError) showErrors(form, error.message, error.faults);
    else report(error);
  }
}

// ---- one's own subjects and topics, offered while typing -----------------------------------------------------

function offer(list, names) {
  const fresh = names.filter((name) => name && !offered[list].has(name)).slice(0, MOST_OPTIONS - offered[list].size);
  for (const name of fresh) offered[list].add(name);
  if (fresh.length > 0) byId(list).append(...[...new Set(fresh)].map((value) => el("option", { value })));
}

/** Offer what these tasks are about. */
export function suggest(tasks) {
  for (const { subject, topic } of tasks) if (!subjectOf.has(topic)) subjectOf.set(topic, subject);
  offer("subjects", tasks.map((task) => task.subject));
  offer("topics", tasks.map((task) => task.topic));
}

async function suggestAll() {
  try {
    const { data } = await request("GET", `analytics/topics?limit=${MOST_OPTIONS}`, { quiet: true });
    offer("topics", data.map((row) => row.topic));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    console.info(`older topics are not offered: ${error.message}`);
  }
}

/** A topic that is known belongs to a subject that is known. */
function completeSubject() {
  const subject = subjectOf.get(form.elements.topic.value);
  if (subject !== undefined && form.elements.subject.value === "") form.elements.subject.value = subject;
}

/** Start the form. `onCreated(task)` is called with each created task. */
export function startForm(onCreated) {
  restore();
  form.elements.topic.addEventListener("focus", suggestAll, { once: true });
  form.addEventListener("input", (event) => {
    if (event.target.name === "topic") completeSubject();
    kept.write(values());
    if (event.target.name !== "task_content") refreshPreview();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    whileBusy([byId("create")], () => create(onCreated));
  });
  askPreview();
}
