// Deletion with undo. A deleted task leaves the list at once; the request follows after some seconds or when the page
// is left. See decision 19.
import { ApiError, keepaliveRequest, request } from "./api.js";
import { recordDeletions } from "./deletions.js";
import { refreshSoon } from "./training.js";
import { draft, el, report } from "./ui.js";

const UNDO_MS = 7000;

const pending = new Map(); // by task id: {timer, deleteNow, deleteOnLeave, line}

const path = (task) => `practice-tasks/${encodeURIComponent(task.id)}`;

/** Delete a task on the server. If that fails, its card comes back; a task that is already gone counts as deleted. */
async function remove(task, line, { restore, onDeleted }) {
  pending.delete(task.id);
  try {
    await request("DELETE", path(task));
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) {
      const card = restore();
      line.replaceWith(card);
      report(error, { place: card.querySelector(".notices") });
      return;
    }
  }
  draft(`stopwatch:${task.id}`).clear();
  line.remove();
  onDeleted();
  if (task.completed) refreshSoon();
}

/**
 * Replace the card by a line with an Undo button, and delete the task unless the button is pressed in time.
 * `restore()` returns a new card. `onDeleted()` is called once the server has deleted the task.
 */
export function deleteWithUndo(task, card, { restore, onDeleted }) {
  const undo = el("button", { type: "button", className: "tinted" }, "Undo");
  const effect = task.completed ? " Its result will no longer count towards your predictions." : "";
  const line = el("div", { className: "card task undo", role: "listitem" }, el("span", { role: "status" }, "Deleted “", el("bdi", {}, task.topic), `”.${effect}`), undo);
  const deleteNow = () => {
    clearTimeout(pending.get(task.id)?.timer);
    return remove(task, line, { restore, onDeleted });
  };
  undo.addEventListener("click", () => {
    clearTimeout(pending.get(task.id)?.timer);
    pending.delete(task.id);
    const restored = restore();
    line.replaceWith(restored);
    restored.querySelector(".remove").focus();
  });
  card.replaceWith(line);
  pending.set(task.id, { timer: setTimeout(deleteNow, UNDO_MS), deleteNow, line, deleteOnLeave: keepaliveRequest("DELETE", path(task)) });
  undo.focus();
}

/** Delete all tasks that can still be undone, before the list is loaded again. */
export async function flushDeletions() {
  await Promise.all([...pending.values()].map(({ deleteNow }) => deleteNow()));
}

window.addEventListener("pagehide", () => {
  if (pending.size > 0) recordDeletions([...pending.keys()]);
  for (const { timer, deleteOnLeave, line } of pending.values()) {
    clearTimeout(timer);
    deleteOnLeave();
    line.remove(); // the browser may show this page again from its back/forward cache
  }
  pending.clear();
});
