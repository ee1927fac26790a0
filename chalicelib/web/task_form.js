// The form for a new task. It is saved as a draft while typing, and shows the prediction for what is chosen.
import { ApiError, request } from "./api.js";
import { loadRecommendations } from "./next_task.js";
import { byId, clearErrors, draft, el, forecast, report, showErrors, whileBusy } from "./ui.js";

const FIELDS = ["subject", "topic", "difficulty", "task_content", "solution_content", "answer_content"];
const TEXTS = ["task_content", "solution_content", "answer_content"]; // each task has its own
const OPTIONAL = ["solution_content", "answer_content"];
const REQUIRED = { subject: "Enter a subject.", topic: "Enter a topic.", task_content: "Enter the exercise." };
const PREVIEW_DELAY_MS = 250;
const MAX_SUGGESTIONS = 300; // browsers slow down with long lists of suggestions

const form = byId("new-task");
const preview = byId("preview");
const saved = draft("new-task");
const hint = preview.textContent;
const suggested = { subjects: new Set(), topics: new Set() };
const subjectOf = new Map(); // by topic; "" for a topic that several subjects have
let previewTimer = 0;
let latestPreview = 0; // number of the latest request: an older response is ignored

const values = () => Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));

/** Return whether the user has changed a field since the page came. */
function isChanged(name) {
  if (name === "difficulty") return !form.querySelector("[name=difficulty]:checked").defaultChecked;
  return form.elements[name].value !== "";
}

/** Fill in the draft. What was typed before this script was loaded stays, and becomes part of the draft. */
function restoreDraft() {
  const before = saved.read() ?? {};
  const typed = FIELDS.filter(isChanged);
  for (const name of FIELDS) if (!typed.includes(name) && typeof before[name] === "string") form.elements[name].value = before[name];
  if (typed.length > 0) saved.write(values());
}

// ---- preview of the prediction -------------------------------------------------------------------------------

function showPreview(predicted, ...parts) {
  preview.replaceChildren(...parts);
  preview.classList.toggle("known", predicted);
  preview.ariaBusy = null;
}

async function loadPreview() {
  const { subject, topic, difficulty } = values();
  const number = (latestPreview += 1);
  if (topic.trim() === "") {
    showPreview(false, hint);
    return;
  }
  const query = new URLSearchParams({ topic, difficulty });
  if (subject.trim() !== "") query.set("subject", subject);
  preview.ariaBusy = "true";
  try {
    const { data } = await request("GET", `predictions?${query}`, { quiet: true });
    if (number !== latestPreview) return;
    const [strongest] = data.explanation;
    showPreview(true, ...forecast(data), ...(strongest ? [el("span", { className: "sub why" }, strongest.text)] : []));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (number === latestPreview) showPreview(false, "No prediction is available right now. You can still create the task.");
  }
}

/** Load the prediction again after a short pause, because the input, the student's answers or the model changed. */
export function refreshPreview() {
  clearTimeout(previewTimer);
  previewTimer = setTimeout(loadPreview, PREVIEW_DELAY_MS);
}

// ---- creating a task -----------------------------------------------------------------------------------------

async function create(onCreated) {
  const body = values();
  clearErrors(form);
  const errors = Object.keys(REQUIRED)
    .filter((field) => body[field].trim() === "")
    .map((field) => ({ field, message: REQUIRED[field] }));
  if (errors.length > 0) {
    showErrors(form, "", errors);
    return;
  }
  try {
    const given = Object.fromEntries(Object.entries(body).filter(([name, text]) => !OPTIONAL.includes(name) || text.trim() !== ""));
    const { data } = await request("POST", "practice-tasks", { body: given });
    // Subject, topic and difficulty stay, because the next task is often similar. Text typed meanwhile stays too.
    for (const name of TEXTS) if (form.elements[name].value === body[name]) form.elements[name].value = "";
    saved.write(values());
    onCreated(data);
  } catch (error) {
    if (error instanceof ApiError) showErrors(form, error.message, error.fieldErrors);
    else report(error);
  }
}

// ---- suggestions of subjects and topics ----------------------------------------------------------------------

function addSuggestions(list, names) {
  const fresh = new Set(names.filter((name) => name && !suggested[list].has(name)).slice(0, MAX_SUGGESTIONS - suggested[list].size));
  for (const name of fresh) suggested[list].add(name);
  byId(list).append(...[...fresh].map((value) => el("option", { value })));
}

/** Suggest the subjects and topics of these tasks. */
export function suggest(tasks) {
  for (const { subject, topic } of tasks) subjectOf.set(topic, (subjectOf.get(topic) ?? subject) === subject ? subject : "");
  addSuggestions("subjects", tasks.map((task) => task.subject));
  addSuggestions("topics", tasks.map((task) => task.topic));
}

/** Suggest also the topics of tasks that are not in the list yet. */
async function suggestAllTopics() {
  try {
    const { data } = await request("GET", `analytics/topics?limit=${MAX_SUGGESTIONS}`, { quiet: true });
    addSuggestions("topics", data.map((row) => row.topic));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    console.info(`older topics are not suggested: ${error.message}`);
  }
}

/** Fill in the subject of a known topic. */
function completeSubject() {
  const subject = subjectOf.get(form.elements.topic.value);
  if (subject !== undefined && form.elements.subject.value === "") form.elements.subject.value = subject;
}

/** Open or close the form on a narrow screen, where the list of tasks comes first. A wide one always shows it. */
function unfold(open) {
  form.closest(".folds")?.classList.toggle("open", open);
  const button = byId("unfold");
  if (button === null) return;
  button.ariaExpanded = String(open);
  button.textContent = open ? "Close the form" : "Open the form";
}

function startFolding() {
  byId("unfold")?.addEventListener("click", () => {
    const open = byId("unfold").ariaExpanded !== "true";
    unfold(open);
    if (open) form.elements.subject.focus();
  });
  if (OPTIONAL.some((name) => form.elements[name].value !== "")) form.querySelector("details").open = true;
  if (location.hash === "#new" || form.elements.task_content.value !== "") unfold(true);
}

/** Fill in what the next task is about, and let the student write its exercise. A text that was typed before stays. */
export function beginTask({ subject, topic, difficulty }) {
  if (form.elements.task_content.value.trim() === "") {
    form.elements.subject.value = subject;
    form.elements.topic.value = topic;
    form.elements.difficulty.value = difficulty;
    saved.write(values());
    loadPreview();
  }
  unfold(true);
  form.elements.task_content.focus();
}

/** Begin a task of the topic that is recommended most, or of `last` without recommendations. */
export async function beginRecommended(last) {
  try {
    const [best = last] = await loadRecommendations();
    beginTask(best);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    beginTask(last);
  }
}

/** Start the form. `onCreated(task)` is called with each new task. */
export function startForm(onCreated) {
  restoreDraft();
  startFolding();
  form.elements.topic.addEventListener("focus", suggestAllTopics, { once: true });
  form.addEventListener("input", (event) => {
    if (event.target.name === "topic") completeSubject();
    saved.write(values());
    if (!TEXTS.includes(event.target.name)) refreshPreview();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    whileBusy([byId("create")], () => create(onCreated));
  });
  loadPreview();
}
