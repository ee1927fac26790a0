// The list of tasks: filter, search, and further pages while scrolling. Cards are added in small groups: the browser can
// handle input between two groups, and skips the layout of groups that are out of view.
import { ApiError, request } from "./api.js";
import { withoutDeleted } from "./deletions.js";
import { keepUpToDate } from "./freshness.js";
import { inOrder } from "./next_task.js";
import { taskCard } from "./task_card.js";
import { flushDeletions } from "./task_delete.js";
import { beginRecommended } from "./task_form.js";
import { byId, el, notice, report, whileBusy, yieldToBrowser } from "./ui.js";

const PAGE_SIZE = 25;
const MAX_PAGE_SIZE = 100; // of the API
const GROUP_SIZE = 5;
const SEARCH_DELAY_MS = 250;
const PREFETCH_MARGIN = "800px"; // the next page is loaded when the end of the list is this close to the window

const EMPTY = {
  "": ["No tasks yet", "Create your first task to see how likely you are to solve it."],
  false: ["No open tasks", "Create a task, or start one that the overview recommends."],
  true: ["No finished tasks", "To finish a task, press Correct or Incorrect."],
};

const list = byId("tasks");
const more = byId("more");
const search = byId("search");
const tasksById = new Map(); // the tasks that cards were made of
let completed = ""; // the filter: "" for all, "false" for open, "true" for done
let nextPage = null;
let latestLoad = 0; // number of the latest load: an older one, with another filter, must not fill the list
let searchTimer = 0;
let onTasks = () => {};
let onChange = () => {};

function showIfEmpty() {
  const unknown = list.ariaBusy === "true" || byId("list-notices").querySelector(".error") !== null;
  byId("no-tasks").hidden = list.querySelector(".task") !== null || unknown;
  const term = search.value.trim();
  const [title, text] = term === "" ? EMPTY[completed] : [`No tasks match “${term}”`, "Search for part of a subject, a topic or an exercise."];
  byId("no-tasks").replaceChildren(el("strong", {}, title), text);
}

function changed(task) {
  onChange(task);
  showIfEmpty();
}

/** Go to the open task that comes next, or let the form begin one of a recommended topic. */
async function goOn(card) {
  const open = [...list.querySelectorAll('.task[data-completed="false"]')].map((each) => tasksById.get(each.dataset.id)).filter(Boolean);
  const [next] = inOrder(open, []);
  if (next !== undefined) highlight(`task-${next.id}`);
  else await beginRecommended(tasksById.get(card.dataset.id));
}

const cardOf = (task) => {
  tasksById.set(String(task.id), task);
  return taskCard(task, { onChange: changed, onNext: goOn });
};

/** Append cards in groups, unless a newer load has started. */
async function appendCards(tasks, number) {
  for (let start = 0; start < tasks.length; start += GROUP_SIZE) {
    if (number !== latestLoad) return;
    const missing = tasks.slice(start, start + GROUP_SIZE).filter((task) => byId(`task-${task.id}`) === null);
    list.append(el("div", { className: "piece", role: "none" }, ...missing.map(cardOf)));
    await yieldToBrowser();
  }
}

/** Load a page of the list. With `append` it is added to the cards that are there. */
async function load(path, { append }) {
  const number = (latestLoad += 1);
  list.ariaBusy = "true";
  try {
    const { data, next } = await request("GET", path);
    if (number !== latestLoad) return;
    if (!append) list.replaceChildren();
    byId("list-notices").replaceChildren();
    await appendCards(withoutDeleted(data), number);
    if (number !== latestLoad) return;
    nextPage = next;
    more.hidden = next === null;
    onTasks(data);
  } catch (error) {
    if (number === latestLoad) report(error, { place: byId("list-notices"), retry: () => load(path, { append }) });
  } finally {
    if (number === latestLoad) {
      list.ariaBusy = null;
      showIfEmpty();
      observeEnd();
    }
  }
}

const loadMore = () => whileBusy([more], () => load(nextPage, { append: true }));

async function loadFirstPage() {
  nextPage = null;
  more.hidden = true;
  await flushDeletions();
  const query = new URLSearchParams({ limit: String(PAGE_SIZE) });
  if (completed !== "") query.set("completed", completed);
  if (search.value.trim() !== "") query.set("q", search.value.trim());
  await load(`practice-tasks?${query}`, { append: false });
}

// ---- further pages -------------------------------------------------------------------------------------------

const endObserver = new IntersectionObserver(([entry]) => {
  if (entry.isIntersecting && nextPage !== null && list.ariaBusy !== "true") loadMore();
}, { rootMargin: `0px 0px ${PREFETCH_MARGIN}` });

/** Observe the end of the list anew. An observer only reports changes, and a short page may cause none. */
function observeEnd() {
  endObserver.disconnect();
  if (nextPage !== null && byId("list-notices").childElementCount === 0) endObserver.observe(more);
}

// ---- filter and search ---------------------------------------------------------------------------------------

function showFilter() {
  for (const button of byId("filters").children) button.ariaPressed = String(button.dataset.completed === completed);
}

function startFilter() {
  byId("filters").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    completed = button.dataset.completed;
    showFilter();
    loadFirstPage();
  });
  search.addEventListener("input", () => {
    clearTimeout(searchTimer);
    searchTimer = setTimeout(loadFirstPage, SEARCH_DELAY_MS);
  });
}

// ---- changes in other tabs and on other devices --------------------------------------------------------------

const pathOf = (id) => `practice-tasks/${encodeURIComponent(id)}`;

/** Return a task, or null if it does not exist. */
async function find(id, options) {
  try {
    return (await request("GET", pathOf(id), options)).data;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

/** Show what has become of a task that was open when its card was made. */
async function showAnsweredElsewhere(card) {
  const task = await find(card.dataset.id, { quiet: true, retry: false });
  if (!card.isConnected || task?.completed === false) return;
  if (task === null) card.remove();
  else {
    const answered = cardOf(task);
    card.replaceWith(answered);
    notice(`Already answered as ${task.is_correct ? "Correct" : "Incorrect"}, in another tab or on another device.`, { kind: "info", place: answered.querySelector(".notices") });
  }
  changed(null);
}

/** Replace the cards of open tasks that were answered or deleted elsewhere. */
async function refreshOpenTasks() {
  const cards = [...list.querySelectorAll('.task[data-completed="false"]')];
  if (cards.length === 0) return;
  const { data, next } = await request("GET", `practice-tasks?completed=false&limit=${MAX_PAGE_SIZE}`, { quiet: true, retry: false }); // an answer waits for this
  const open = new Set(data.map((task) => String(task.id)));
  const since = next === null ? "" : data.at(-1).created_at; // older tasks are on a further page
  const gone = cards.filter((card) => !open.has(card.dataset.id) && card.querySelector("time").dateTime >= since);
  await Promise.all(gone.map(showAnsweredElsewhere));
}

// ---- one task ------------------------------------------------------------------------------------------------

/** Scroll to the card of a task and focus its stopwatch. Does nothing if the card is not in the list. */
function highlight(id) {
  const card = byId(id);
  if (card === null) return;
  card.classList.add("highlighted");
  card.scrollIntoView({ block: "center" });
  (card.querySelector(".typed input") ?? card.querySelector(".watch"))?.focus({ preventScroll: true });
}

/** Add a new task to the top of the list. A filter or search that would hide it is cleared. */
export async function showCreated(task) {
  onTasks([task]);
  if (completed === "true" || search.value.trim() !== "") {
    completed = "";
    search.value = "";
    showFilter();
    await loadFirstPage();
  } else {
    list.prepend(cardOf(task));
    showIfEmpty();
  }
  highlight(`task-${task.id}`);
}

/** Show the task that the address names, wherever it would be in the list. */
async function showNamed(id) {
  if (byId(`task-${id}`) === null) {
    const task = await find(id);
    if (task === null) {
      notice("That task does not exist. It may have been deleted.", { kind: "info", place: byId("list-notices") });
      return;
    }
    list.prepend(el("div", { className: "piece", role: "none" }, cardOf(task)));
    showIfEmpty();
  }
  highlight(`task-${id}`);
}

async function showAddressed() {
  if (!location.hash.startsWith("#task-")) return;
  try {
    await showNamed(location.hash.slice("#task-".length));
  } catch (error) {
    report(error, { place: byId("list-notices"), retry: showAddressed });
  }
}

/** Start the list. `tasks` gets the tasks of each page; `change` gets a changed task, or null if it is deleted. */
export async function startList({ tasks, change }) {
  onTasks = tasks;
  onChange = change;
  startFilter();
  more.addEventListener("click", loadMore);
  await loadFirstPage();
  keepUpToDate(refreshOpenTasks);
  window.addEventListener("hashchange", showAddressed);
  await showAddressed();
}
