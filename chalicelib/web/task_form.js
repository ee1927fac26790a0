// The form for a new task: kept while typing, with the prediction for the chosen topic and difficulty.
import { ApiError, request } from "./api.js";
import { byId, clearErrors, draft, el, expectedTime, percent, report, showErrors, sourceBadge, whileBusy } from "./ui.js";

const FIELDS = ["subject", "topic", "difficulty", "task_content"];
const NAMES = { subject: "the subject", topic: "the topic", task_content: "what is to be done" };
const PREVIEW_DELAY_MS = 350;

const form = byId("new-task");
const preview = byId("preview");
const kept = draft("new-task");
let previewTimer = 0;
let previewNumber = 0;

const values = () => Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));

function restore() {
  const before = kept.read();
  if (before === null) return;
  for (const name of FIELDS) if (typeof before[name] === "string") form.elements[name].value = before[name];
}

function showPreview(prediction) {
  const chance = prediction.predicted_correct;
  preview.replaceChildren(
    el("meter", { min: 0, max: 1, value: chance, ariaLabel: "Chance of a correct answer" }),
    el("span", {}, el("strong", {}, percent(chance)), " chance, about ", el("strong", {}, expectedTime(prediction))),
    sourceBadge(prediction.prediction_source));
  preview.hidden = false;
}

async function askPreview() {
  const { subject, topic, difficulty } = values();
  const number = (previewNumber += 1);
  if (topic.trim() === "") {
    preview.hidden = true;
    return;
  }
  const query = new URLSearchParams({ topic, difficulty });
  if (subject.trim() !== "") query.set("subject", subject);
  try {
    const { data } = await request("GET", `predictions?${query}`, { safe: false });
    if (number === previewNumber) showPreview(data);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (number === previewNumber) preview.hidden = true; // only a preview: creating the task says what is wrong
  }
}

/** Ask for the prediction again, after the student's state or the model changed. */
export function refreshPreview() {
  clearTimeout(previewTimer);
  previewTimer = setTimeout(askPreview, PREVIEW_DELAY_MS);
}

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
    form.elements.task_content.value = ""; // subject, topic and difficulty stay: the next task is mostly a similar one
    kept.write(values());
    onCreated(data);
  } catch (error) {
    if (error instanceof ApiError) showErrors(form, error.message, error.faults);
    else report(error);
  }
}

/** Offer one's own subjects and topics while typing. */
export function suggest(tasks) {
  for (const [list, names] of [["subjects", tasks.map((task) => task.subject)], ["topics", tasks.map((task) => task.topic)]]) {
    const known = new Set([...byId(list).children].map((option) => option.value));
    byId(list).append(...[...new Set(names)].filter((name) => !known.has(name)).map((name) => el("option", { value: name })));
  }
}

/** Start the form. `onCreated(task)` is called with each created task. */
export function startForm(onCreated) {
  restore();
  form.addEventListener("input", (event) => {
    kept.write(values());
    if (event.target.name !== "task_content") refreshPreview();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    whileBusy([byId("create")], () => create(onCreated));
  });
  askPreview();
}
