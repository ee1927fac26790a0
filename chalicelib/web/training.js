// The training panel: the counter of new answers, the state of the training, and what the last training changed.
// It polls the server while the page is visible, less and less often while nothing changes.
import { ApiError, request } from "./api.js";
import { byId, count, counted, draft, el, timeElement } from "./ui.js";

// Milliseconds between polls: `first`, then multiplied by `factor` while nothing changes, up to `max`.
const POLLING = {
  active: { first: 1000, factor: 1.1, max: 4000 },
  idle: { first: 8000, factor: 1.5, max: 60_000 },
  failing: { first: 2000, factor: 2, max: 60_000 },
};
const SOON_MS = 300;
const MAX_PIPS = 20;

// The last training that was shown. It is a draft, so that a training that ends between two pages is announced too.
const lastTraining = draft("training");

let timer = 0;
let status = null; // the latest status from the server
let latestUpdate = 0; // number of the latest update: a response to an older request is ignored
let polling = { kind: "idle", pause: POLLING.idle.first };
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

const PHASES = {
  features: "Reading answers",
  lnirt: "Fitting the population model",
  correctness: "Learning to predict correctness",
  time: "Learning to predict times",
};

/** Describe the state of the training by a title and a detail. */
function describeState({ training, progress, model_version: version, counter, threshold, last_error: failure }) {
  if (training === "queued") return ["Training is queued", "It will start shortly. You can keep working."];
  if (training === "running") {
    const epoch = progress?.epoch > 0 && progress?.epochs > 0 ? `epoch ${progress.epoch}/${progress.epochs}` : "";
    return ["Training", [PHASES[progress?.phase] ?? "Starting", epoch].filter(Boolean).join(", ")];
  }
  if (failure !== null) return ["Waiting", "Finishing another task can start a new training."];
  if (counter >= threshold) return ["Waiting", "There are not enough answers yet for a first training."];
  const needed = counted(threshold, "new answer");
  return version === null ? ["No model yet", `A training starts after every ${needed}.`] : ["Up to date", `The next training needs ${needed}.`];
}

function showState() {
  const [title, detail] = describeState(status);
  byId("training-state").textContent = title;
  byId("training-detail").textContent = detail;
  byId("training-dot").dataset.state = status.training === "idle" && status.model_version === null ? "unknown" : status.training;
  const bar = byId("training-progress");
  bar.hidden = status.training === "idle";
  if (status.training === "running" && status.progress?.epochs > 0) {
    bar.max = status.progress.epochs;
    bar.value = status.progress.epoch ?? 0;
  } else bar.removeAttribute("value"); // an indeterminate bar, because the progress is not known
}

function showFacts() {
  byId("model-version").textContent = status.model_version ?? "none yet";
  byId("last-trained").replaceChildren(status.last_trained_at === null ? "never" : timeElement(status.last_trained_at));
  byId("samples-total").textContent = count(status.n_samples_total);
  byId("training-error").hidden = status.last_error === null;
  byId("training-error").textContent = status.last_error === null ? "" : `The last training failed: ${status.last_error}`;
}

/** Return a message about a training that has ended. */
function describeTraining(before) {
  const { model_version: version, n_samples_last_training: samples } = status;
  const added = samples - before.samples;
  const answers = `${counted(samples, "answer")}${added > 0 ? `, ${count(added)} more than before` : ""}`;
  if (before.version !== version) return `Training finished: model ${version} now makes the predictions. It learnt from ${answers}.`;
  return `Training finished on ${answers}. The new model was not promoted${version === null ? "" : `; ${version} stays in use`}.`;
}

function announceTraining() {
  const before = lastTraining.read();
  const { last_trained_at: at, model_version: version, n_samples_last_training: samples } = status;
  lastTraining.write({ at, version, samples });
  if (before === null || before.at === at || at === null) return;
  byId("training-news").textContent = describeTraining(before);
  onTrained();
}

/** Show the counter that came with a completed task. The next poll loads the rest of the status. */
export function showCompletion({ counter, threshold, queued }) {
  latestUpdate += 1;
  showCounter(counter, threshold);
  if (status !== null) {
    status = { ...status, counter, threshold, n_samples_total: status.n_samples_total + 1 };
    if (queued && status.training === "idle") status.training = "queued";
    showState();
    showFacts();
  }
  polling = { kind: "", pause: 0 };
  schedule(queued || status?.training !== "idle" ? SOON_MS : POLLING.idle.first);
}

/** Poll at once, because something has changed that the panel does not know. */
export function refreshSoon() {
  polling = { kind: "", pause: 0 };
  schedule(0);
}

function schedule(milliseconds) {
  clearTimeout(timer);
  timer = document.hidden ? 0 : setTimeout(poll, milliseconds); // a hidden page starts again when it becomes visible
}

/** Return the milliseconds before the next poll. */
function nextPause(kind, changed) {
  const { first, factor, max } = POLLING[kind];
  polling = { kind, pause: changed || polling.kind !== kind ? first : Math.min(polling.pause * factor, max) };
  return polling.pause;
}

async function poll() {
  const number = (latestUpdate += 1);
  let pause;
  try {
    const { data } = await request("GET", "model/status", { retry: false, quiet: true });
    if (number !== latestUpdate) return;
    const changed = JSON.stringify(data) !== JSON.stringify(status);
    status = data;
    showCounter(status.counter, status.threshold);
    showState();
    showFacts();
    announceTraining();
    pause = nextPause(data.training === "idle" ? "idle" : "active", changed);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (number !== latestUpdate) return;
    byId("training-dot").dataset.state = "unknown";
    byId("training-state").textContent = "Status unknown";
    byId("training-detail").textContent = error.message;
    pause = Math.max(nextPause("failing", false), (error.retryAfter ?? 0) * 1000);
  }
  schedule(pause);
}

/** Start the panel. `onTrained()` is called when a training has ended since the user last saw the panel. */
export function startTrainingPanel(options = {}) {
  onTrained = options.onTrained ?? onTrained;
  document.addEventListener("visibilitychange", refreshSoon);
  window.addEventListener("online", refreshSoon);
  refreshSoon();
}
