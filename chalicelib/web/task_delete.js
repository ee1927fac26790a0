// Deleting with undo: a task goes from the list at once, from the server a few seconds later or when the page is left.
import { ApiError, onLeaving, request } from "./api.js";
import { noteDeletions } from "./deletions.js";
import { refreshSoon } from "./training.js";
import { draft, el, report } from "./ui.js";

const UNDO_MS = 7000;

const pending = new Map(); // by task id: {timer, now, leave, line}

const path = (task) => `practice-tasks/${encodeURIComponent(task.id)}`;

async function remove(task, line, { again, gone }) {
  pending.delete(task.id);
  try {
    await request("DELETE", path(task));
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) {
      const card = again();
      line.replaceWith(card);
      report(error, { place: card.querySelector(".notices") });
      return;
    }
  }
  draft(`stopwatch:${task.id}`).clear();
  line.remove();
  gone();
  if (task.completed) refreshSoon();
}

/**
 * Put a line with an Undo button where the card is, and delete the task unless the button is pressed in time.
 * `again()` makes the card anew, `gone()` is called when the task is deleted.
 */
export function deleteWithUndo(task, card, { again, gone }) {
  const undo = el("button", { type: "button", className: "tinted" }, "Undo");
  const text = task.completed ? " Its result will no longer count in your predictions." : "";
  const line = el("div", { className: "card task undo", role: "listitem" }, el("span", { role: "status" }, "Deleted “", el("bdi", {}, task.topic), `”.${text}`), undo);
  const now = () => {
    clearTimeout(pending.get(task.id)?.timer);
    return remove(task, line, { again, gone });
  };
  undo.addEventListener("click", () => {
    clearTimeout(pending.get(task.id)?.timer);
    pending.delete(task.id);
    const back = again();
    line.replaceWith(back);
    back.querySelector(".remove").focus();
  });
  card.replaceWith(line);
  pending.set(task.id, { timer: setTimeout(now, UNDO_MS), now, line, leave: onLeaving("DELETE", path(task)) });
  undo.focus();
}

/** Carry out what waits for a possible undo, before the list is asked for again. */
export async function deleteNow() {
  await Promise.all([...pending.values()].map(({ now }) => now()));
}

window.addEventListener("pagehide", () => {
  if (pending.size > 0) noteDeletions([...pending.keys()]);
  for (const { timer, leave, line } of pending.values()) {
    clearTimeout(timer);
    leave();
    line.remove(); // the browser may show this very page again
  }
  pending.clear();
});
