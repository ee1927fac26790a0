// The list of tasks: which are shown, page after page, and how a new one gets in. It is put in by pieces: the browser can
// answer the reader in between, and leaves out whole pieces that are not in sight when it lays out and paints.
import { request } from "./api.js";
import { withoutDeleted } from "./deletions.js";
import { taskCard } from "./task_card.js";
import { deleteNow } from "./task_delete.js";
import { breathe, byId, el, report, whileBusy } from "./ui.js";

const PAGE_SIZE = 25;
const PIECE = 5;
const SEARCH_DELAY_MS = 250;
const AHEAD = "800px"; // how far below the window the next page is asked for

const EMPTY = {
  "": ["No tasks yet", "Create the first one above: you see at once how likely you are to solve it."],
  false: ["Nothing is open", "Create a task above, or take one that the overview recommends."],
  true: ["Nothing is done yet", "Finish a task by pressing Correct or Incorrect."],
};

const list = byId("tasks");
const more = byId("more");
const search = byId("search");
let completed = "";
let next = null;
let loading = 0; // number of the newest load: a slower one of another filter must not fill this list
let searchTimer = 0;
let onTasks = () => {};
let onChange = () => {};

function showEmpty() {
  byId("no-tasks").hidden = list.querySelector(".task") !== null || list.ariaBusy === "true";
  const [title, text] = search.value.trim() === "" ? EMPTY[completed] : [`Nothing matches “${search.value.trim()}”`, "Search for a part of a subject, a topic or the text of a task."];
  byId("no-tasks").replaceChildren(el("strong", {}, title), text);
}

function changed(task) {
  onChange(task);
  showEmpty();
}

async function put(tasks, number) {
  for (let start = 0; start < tasks.length; start += PIECE) {
    if (number !== loading) return;
    const unknown = tasks.slice(start, start + PIECE).filter((task) => byId(`task-${task.id}`) === null);
    list.append(el("div", { className: "piece", role: "none" }, ...unknown.map((task) => taskCard(task, changed))));
    await breathe();
  }
}

async function load(path, { append }) {
  const number = (loading += 1);
  list.ariaBusy = "true";
  try {
    const { data, next: following } = await request("GET", path);
    if (number !== loading) return;
    if (!append) list.replaceChildren();
    byId("list-notices").replaceChildren();
    await put(withoutDeleted(data), number);
    if (number !== loading) return;
    next = following;
    more.hidden = next === null;
    onTasks(data);
  } catch (error) {
    if (number === loading) report(error, { place: byId("list-notices"), again: () => load(path, { append }) });
  } finally {
    if (number === loading) {
      list.ariaBusy = null;
      showEmpty();
      watchEnd();
    }
  }
}

const loadMore = () => whileBusy([more], () => load(next, { append: true }));

async function loadFirst() {
  next = null;
  more.hidden = true;
  await deleteNow();
  const query = new URLSearchParams({ limit: String(PAGE_SIZE) });
  if (completed !== "") query.set("completed", completed);
  if (search.value.trim() !== "") query.set("q", search.value.trim());
  await load(`practice-tasks?${query}`, { append: false });
}

// ---- the next page, by scrolling or by the button ------------------------------------------------------------

const end = new IntersectionObserver(([entry]) => {
  if (entry.isIntersecting && next !== null && list.ariaBusy !== "true") loadMore();
}, { rootMargin: `0px 0px ${AHEAD}` });

/** Observed anew after each page: an observer speaks when something changes, and a short page may change nothing. */
function watchEnd() {
  end.disconnect();
  if (next !== null && byId("list-notices").childElementCount === 0) end.observe(more);
}

// ---- filter and search ---------------------------------------------------------------------------------------

function markFilter() {
  for (const button of byId("filters").children) button.ariaPressed = String(button.dataset.completed === completed);
}

function startFilter() {
  byId("filters").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    completed = button.dataset.completed;
    markFilter();
    loadFirst();
  });
  search.addEventListener("input", () => {
    clearTimeout(searchTimer);
    searchTimer = setTimeout(loadFirst, SEARCH_DELAY_MS);
  });
}

function mark(card) {
  card.classList.add("marked");
  card.scrollIntoView({ block: "center" });
  card.querySelector(".watch")?.focus({ preventScroll: true }); // the next thing to do
}

/** Show a task that was just created, first in the list, and lead to it. */
export async function showCreated(task) {
  onTasks([task]);
  if (completed === "true" || search.value.trim() !== "") {
    completed = "";
    search.value = "";
    markFilter();
    await loadFirst();
  } else {
    list.prepend(taskCard(task, changed));
    showEmpty();
  }
  const card = byId(`task-${task.id}`);
  if (card !== null) mark(card);
}

/** Start the list. `tasks(list)` hears of every task that is shown, `change(task)` of changes (null: one is gone). */
export async function startList({ tasks, change }) {
  onTasks = tasks;
  onChange = change;
  startFilter();
  more.addEventListener("click", loadMore);
  await loadFirst();
  const wanted = location.hash.startsWith("#task-") ? byId(location.hash.slice(1)) : null;
  if (wanted !== null) mark(wanted);
}
