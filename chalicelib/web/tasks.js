// The page of tasks: the form, the training panel, and the list with its filter and pages.
import { request } from "./api.js";
import { taskCard } from "./task_card.js";
import { refreshPreview, startForm, suggest } from "./task_form.js";
import { startTrainingPanel } from "./training.js";
import { byId, report, startPage, whileBusy } from "./ui.js";

const PAGE_SIZE = 20;
const EMPTY = {
  "": "No tasks yet. Create the first one above: you see at once how likely you are to solve it.",
  false: "Nothing is open. Create a task above.",
  true: "Nothing is done yet. Finish a task by pressing Correct or Incorrect.",
};

const list = byId("tasks");
const more = byId("more");
let completed = "";
let next = null;
let loading = 0; // number of the newest load: a slower one of another filter must not fill this list

function showEmpty() {
  byId("no-tasks").hidden = list.childElementCount > 0 || list.ariaBusy === "true";
  byId("no-tasks").textContent = EMPTY[completed];
}

function changed(task) {
  refreshPreview();
  if (task !== null) suggest([task]);
  showEmpty();
}

async function load(path, { append }) {
  const number = (loading += 1);
  list.ariaBusy = "true";
  try {
    const { data, next: following } = await request("GET", path);
    if (number !== loading) return;
    if (!append) list.replaceChildren();
    const shown = new Set([...list.children].map((card) => card.dataset.id));
    list.append(...data.filter((task) => !shown.has(task.id)).map((task) => taskCard(task, changed)));
    next = following;
    more.hidden = next === null;
    suggest(data);
    byId("list-notices").replaceChildren();
  } catch (error) {
    if (number === loading) report(error, { place: byId("list-notices"), again: () => load(path, { append }) });
  } finally {
    if (number === loading) {
      list.ariaBusy = null;
      showEmpty();
    }
  }
}

function loadFirst() {
  const query = new URLSearchParams({ limit: String(PAGE_SIZE) });
  if (completed !== "") query.set("completed", completed);
  return load(`practice-tasks?${query}`, { append: false });
}

function created(task) {
  suggest([task]);
  if (completed === "true") {
    completed = "";
    markFilter();
    loadFirst();
    return;
  }
  const card = taskCard(task, changed);
  list.prepend(card);
  showEmpty();
  card.querySelector(".watch").focus(); // the next thing to do
}

function markFilter() {
  for (const button of byId("filters").children) button.ariaPressed = String(button.dataset.completed === completed);
}

if (startPage()) {
  startTrainingPanel();
  startForm(created);
  byId("filters").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    completed = button.dataset.completed;
    markFilter();
    loadFirst();
  });
  more.addEventListener("click", () => whileBusy([more], () => load(next, { append: true })));
  loadFirst();
}
