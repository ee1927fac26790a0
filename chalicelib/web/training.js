// The training panel: the counter of new answers, and when the predictions were last updated. Students read it in their
// words; the models page shows each step of a training to admins.
import { ApiError, request } from "./api.js";
import { adminWords } from "./training_admin.js";
import { studentWords } from "./training_student.js";
import { byId, draft, el } from "./ui.js";

// Milliseconds between polls: `first`, then multiplied by `factor` while nothing changes, up to `max`. Only the models
// page follows a training from second to second: thousands of students may have the other pages open.
const SLOW = {
  active: { first: 15_000, factor: 1, max: 15_000 },
  idle: { first: 15_000, factor: 1.5, max: 60_000 },
  failing: { first: 15_000, factor: 2, max: 120_000 },
};
const FAST = { ...SLOW, active: { first: 1000, factor: 1.1, max: 4000 } };
const JITTER = 0.25; // pauses are longer by up to this share, so that pages opened together do not poll together
const MAX_PIPS = 20;

// The last training that was shown. It is a draft, so that a training that ends between two pages is announced too.
const lastTraining = draft("training");

let words = studentWords;
let pauses = SLOW;
let started = false;
let timer = 0;
let lastPoll = -Infinity; // when the latest poll was sent, by performance.now()
let status = null; // the latest status from the server
let latestUpdate = 0; // number of the latest update: a response to an older request is ignored
let polling = { kind: "", pause: 0 };
let onTrained = () => {};

function showCounter(counter, threshold) {
  const text = `${counter}/${threshold}`;
  if (byId("counter").textContent !== text) byId("counter").textContent = text;
  const pips = byId("pips");
  const number = Math.min(threshold, MAX_PIPS);
  if (pips.childElementCount !== number) pips.replaceChildren(...Array.from({ length: number }, () => el("span")));
  const lit = threshold > MAX_PIPS ? Math.round((counter / threshold) * MAX_PIPS) : counter;
  [...pips.children].forEach((pip, index) => pip.classList.toggle("on", index < lit));
}

function show() {
  showCounter(status.counter, status.threshold);
  const [title, detail] = words.state(status);
  byId("training-state").replaceChildren(...title);
  byId("training-detail").textContent = detail;
  byId("training-dot").dataset.state = status.training === "idle" && status.model_version === null ? "unknown" : status.training;
  words.more(status);
}

function announceTraining() {
  const before = lastTraining.read();
  const { last_trained_at: at, model_version: version, n_samples_last_training: samples } = status;
  lastTraining.write({ at, version, samples });
  if (before === null || before.at === at || at === null) return;
  byId("training-news").textContent = words.news(before, status);
  onTrained();
}

/** Return the latest status from the server, or null. */
export const latestStatus = () => status;

/** Show the counter that came with a completed task. The next poll loads the rest of the status. */
export function showCompletion({ counter, threshold, queued }) {
  if (!started) return;
  latestUpdate += 1;
  showCounter(counter, threshold);
  if (status !== null) {
    status = { ...status, counter, threshold, n_samples_total: status.n_samples_total + 1 };
    if (queued && status.training === "idle") status.training = "queued";
    show();
  }
  refreshSoon();
}

const jittered = (milliseconds) => milliseconds * (1.01 + JITTER * Math.random());

/** Poll as soon as the pause allows, because something has changed that the panel does not know. */
export function refreshSoon() {
  polling = { kind: "", pause: 0 };
  schedule(lastPoll + jittered(pauses.active.first) - performance.now());
}

function schedule(milliseconds) {
  if (!started) return; // this page has no panel
  clearTimeout(timer);
  timer = document.hidden ? 0 : setTimeout(poll, Math.max(0, milliseconds)); // a hidden page starts again when it becomes visible
}

/** Return the milliseconds before the next poll. */
function nextPause(kind, changed) {
  const { first, factor, max } = pauses[kind];
  polling = { kind, pause: changed || polling.kind !== kind ? first : Math.min(polling.pause * factor, max) };
  return jittered(polling.pause);
}

async function poll() {
  const number = (latestUpdate += 1);
  lastPoll = performance.now();
  let pause;
  try {
    const { data } = await request("GET", "model/status", { retry: false, quiet: true });
    if (number !== latestUpdate) return;
    const changed = JSON.stringify(data) !== JSON.stringify(status);
    status = data;
    show();
    announceTraining();
    pause = nextPause(data.training === "idle" ? "idle" : "active", changed);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (number !== latestUpdate) return;
    byId("training-dot").dataset.state = "unknown";
    byId("training-state").textContent = "Status unknown";
    byId("training-detail").textContent = error.message;
    byId("training-news").textContent = ""; // it would stand next to the error
    pause = Math.max(nextPause("failing", false), (error.retryAfter ?? 0) * 1000);
  }
  schedule(pause);
}

/**
 * Start the panel. `onTrained()` is called when a training has ended since the user last saw the panel. With `admin` it
 * follows a training closely and shows its details.
 */
export function startTrainingPanel({ admin = false, onTrained: call = onTrained } = {}) {
  started = true;
  onTrained = call;
  if (admin) [words, pauses] = [adminWords, FAST];
  document.addEventListener("visibilitychange", refreshSoon);
  window.addEventListener("online", refreshSoon);
  schedule(0);
}
