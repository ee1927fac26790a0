// The practice page: a session of tasks, one after the other, without loading a page in between.
import { ApiError, request } from "./api.js";
import { goalText, isOver, newSession, progressOf, record, stepText } from "./practice_session.js";
import { summaryOf } from "./practice_summary.js";
import { inOrder, loadChoices } from "./next_task.js";
import { outbox, post, waitingIds } from "./outbox.js";
import { preference } from "./session.js";
import { taskCard } from "./task_card.js";
import { beginTask, refreshPreview, startForm, suggest } from "./task_form.js";
import { byId, counted, draft, el, notice, report, startPage, whileBusy } from "./ui.js";

const MAX_WAIT_MS = 1000;
const REFRESH_MS = 1000; // of the time that is left

const saved = draft("practice"); // the session, with the open tasks that were loaded: it survives a reload, also offline
const kept = preference("choices"); // of the last time, for a start without a network
let session = null;
let open = []; // own open tasks, the next one first
let recommended = [];
let due = []; // the topics that were due when the session began
let current = null; // the task that is shown
let loaded = false; // whether it is known what is open
let choices = Promise.resolve();

const save = () => saved.write(session === null ? null : { ...session, open, current });

function show(view) {
  for (const id of ["start", "working", "summary"]) byId(id).hidden = id !== view;
}

// ---- what comes next -----------------------------------------------------------------------------------------

/** Return the topic that the address asks for, as {subject, topic, difficulty}, or null. It is not sent to the server. */
function askedTopic() {
  const asked = new URLSearchParams(location.hash.slice(1));
  return asked.has("topic") ? { subject: asked.get("subject") ?? "", topic: asked.get("topic"), difficulty: asked.get("difficulty") ?? "medium" } : null;
}

const isAbout = (topic) => (task) => task.topic === topic.topic && task.subject === topic.subject;

/** Load what can be practised, or return what was kept of the last time while there is no network. */
async function loadOrKept() {
  try {
    const found = await loadChoices(session === null ? null : due.filter((topic) => !session.answers.some(isAbout(topic))));
    kept.write(found);
    return found;
  } catch (error) {
    const before = kept.read();
    if (!(error instanceof ApiError) || !error.temporary || before === null) throw error;
    return before;
  }
}

async function load() {
  const found = await loadOrKept();
  // Answers that were given meanwhile may not have reached the server when it made its list.
  const done = new Set([...(session?.answers ?? []).map(({ id }) => id), ...waitingIds()]);
  ({ recommended, due = [] } = found);
  const asked = askedTopic();
  open = found.open.filter((task) => !done.has(task.id) && task.id !== current?.id);
  if (asked !== null) open = [...open.filter(isAbout(asked)), ...open.filter((task) => !isAbout(asked)(task))];
  suggest(found.open);
  loaded = true;
}

function showStep() {
  byId("step").textContent = stepText(session, current?.completed !== true);
  const { value, max } = progressOf(session);
  byId("session-progress").hidden = max === 0;
  byId("session-progress").max = max || 1;
  byId("session-progress").value = value;
}

/** Show a task, with its stopwatch running. */
function showTask(task) {
  current = task;
  byId("write").hidden = true;
  const card = taskCard(task, { onChange: changed, onNext: next, submit });
  byId("task-place").replaceChildren(el("h2", { className: "hidden", id: "task-title" }, "The task"), el("div", { role: "list", attributes: { "aria-labelledby": "task-title" } }, card));
  const watch = card.querySelector(".watch");
  if (watch?.dataset.running === "false") watch.click();
  (card.querySelector(".typed input") ?? watch ?? card.querySelector(".next-task"))?.focus();
  rememberChance(task);
  save();
}

/** Let the student write the next exercise: of the topic that was asked for, or of one that is recommended. */
function showForm() {
  current = null;
  byId("task-place").replaceChildren();
  byId("write").hidden = false;
  const asked = askedTopic();
  const latest = session.answers.slice(-2);
  const best = recommended.find((each) => !latest.some(isAbout(each))) ?? recommended[0];
  const known = asked === null ? null : recommended.find(isAbout(asked));
  const about = session.answers.length === 0 ? (known && { ...known, ...asked }) ?? asked ?? best : best ?? asked;
  byId("write-why").textContent = about?.reason ?? "You have no open task. Write down an exercise, from a book for example, and then solve it.";
  if ((about ?? null) === null) byId("subject").focus();
  else beginTask(about);
  save();
}

async function next() {
  if (isOver(session)) {
    await finish();
    return;
  }
  // Usually they were loaded while the student worked. A slow server does not hold up the form.
  if (open.length === 0) await Promise.race([choices, new Promise((resolve) => { setTimeout(resolve, MAX_WAIT_MS); })]);
  const asked = askedTopic();
  const begins = session.answers.length === 0 && asked !== null;
  const task = begins && !open.some(isAbout(asked)) ? undefined : open.shift();
  if (task === undefined) showForm();
  else showTask(task);
  showStep();
}

/** Load again what is open and recommended, while the student works. A failure leaves what is there. */
function refresh() {
  choices = load().catch((error) => { if (!(error instanceof ApiError)) throw error; });
}

// ---- answers -------------------------------------------------------------------------------------------------

/** Keep the chance of a topic before its first answer of the session, so that the summary can say what improved. */
async function rememberChance({ subject, topic, difficulty }) {
  const key = JSON.stringify([subject, topic, difficulty]);
  if (session.before[key] !== undefined) return;
  try {
    const { data } = await request("GET", `predictions?${new URLSearchParams({ subject, topic, difficulty })}`, { quiet: true });
    if (session === null) return;
    session.before[key] ??= data.predicted_correct;
    save();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
}

/** Store an answer in this browser and return the completed task at once; the outbox sends it. */
async function submit(task, body) {
  const completed = { ...task, ...body, completed_at: new Date().toISOString() };
  post(task.id, { ...body, study_session_id: session.id });
  return completed;
}

function changed(task, { isNew = false } = {}) {
  if (task === null) {
    next();
    return;
  }
  session = record(session, task);
  current = task;
  showStep();
  byId("task-place").querySelector(".next-task")?.replaceChildren(isOver(session) ? "See the summary" : "Next task", el("kbd", { ariaHidden: "true" }, "N"));
  save();
  if (isNew && open.length < 3) refresh();
}

outbox.addEventListener("refused", ({ detail: { error } }) => {
  notice(error.status === 404 ? "One of the tasks had been deleted, so its answer does not count." : error.message, { kind: "info" });
});

// ---- begin and end -------------------------------------------------------------------------------------------

function showStart() {
  show("start");
  const asked = askedTopic();
  byId("about").hidden = asked === null;
  if (asked !== null) byId("about").replaceChildren("It begins with ", el("bdi", {}, asked.topic), ".");
  const before = loaded ? "You have no open tasks." : "Your open tasks could not be loaded.";
  byId("ahead").textContent = open.length === 0
    ? `${before} In the session you write down one exercise after the other and solve it.`
    : `It begins with your ${counted(open.length, "open task")}. After that, you write down exercises of recommended topics.`;
}

async function begin(goal) {
  session = newSession(goal);
  show("working");
  await next();
}

async function finish() {
  const ended = session;
  show("summary");
  byId("summary-title").focus();
  byId("summary-title").textContent = `Session finished: ${goalText(ended)}`;
  session = null;
  current = null;
  save();
  byId("summary-content").replaceChildren(...await summaryOf(ended));
}

function startControls() {
  byId("start-form").addEventListener("submit", (event) => {
    event.preventDefault();
    begin(new FormData(event.target).get("goal"));
  });
  byId("end").addEventListener("click", () => whileBusy([byId("end")], finish));
  byId("again").addEventListener("click", async () => {
    history.replaceState(null, "", location.pathname);
    refresh();
    await choices;
    showStart();
    byId("begin").focus();
  });
  window.addEventListener("hashchange", async () => {
    if (session !== null) return;
    refresh();
    await choices;
    showStart();
  });
  setInterval(() => { if (session !== null && !document.hidden) showStep(); }, REFRESH_MS);
}

/** Go on with a session that was interrupted by a reload. */
async function resume({ open: kept, current: shown, ...before }) {
  session = before;
  open = inOrder(kept, []);
  show("working");
  showStep();
  refresh();
  if (shown === null || shown.completed) await next();
  else showTask(shown);
}

async function start() {
  startControls();
  startForm((task) => { showTask(task); showStep(); });
  const before = saved.read();
  if (before !== null) {
    await resume(before);
    return;
  }
  try {
    await load();
  } catch (error) {
    report(error, { retry: () => load().then(showStart) });
  }
  showStart();
  refreshPreview();
}

if (startPage()) start();
