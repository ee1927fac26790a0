// Whether what this page shows is up to date: other tabs and devices change tasks too.
import { ApiError } from "./api.js";
import { root } from "./session.js";

const MIN_PAUSE_MS = 3000; // a window that is clicked again and again does not ask each time

const channel = new BroadcastChannel(`studysmart:${root.pathname}:tasks`);
let refresh = null;
let refreshed = 0; // when, by performance.now()
let pending = Promise.resolve();

/** Return a promise that resolves once the page is up to date, as far as the server can be reached. */
export const latestState = () => pending;

/** Tell the other tabs of this browser that a task has changed. */
export const announceChange = () => channel.postMessage("changed");

function check(pause) {
  if (document.hidden || performance.now() - refreshed < pause) return;
  refreshed = performance.now();
  pending = refresh().catch((error) => { if (!(error instanceof ApiError)) throw error; }); // shown as before
}

/** Call `work()`, which returns a promise, when the window gets the focus and when another tab has changed a task. */
export function keepUpToDate(work) {
  refresh = work;
  refreshed = performance.now();
  let missed = false; // a change that was announced while the page was hidden
  const regain = () => {
    check(missed ? 0 : MIN_PAUSE_MS);
    missed = false;
  };
  channel.addEventListener("message", () => { if (document.hidden) missed = true; else check(0); });
  window.addEventListener("focus", regain);
  document.addEventListener("visibilitychange", regain);
}
