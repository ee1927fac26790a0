// The training panel: the counter, the state of the training, what the last one changed.
// It polls while the page is looked at, and the less often the longer nothing happens.
import { ApiError, request } from "./api.js";
import { byId, count, draft, el, timeElement } from "./ui.js";

// Milliseconds to the next poll: from `first` on, longer by `factor` as long as nothing changes, up to `most`.
const PACE = {
  active: { first: 1000, factor: 1.1, most: 4000 },
  idle: { first: 8000, factor: 1.5, most: 60_000 },
  failing: { first: 2000, factor: 2, most: 60_000 },
};
const SOON_MS = 300;
const MOST_PIPS = 20;

const seen = draft("training"); // the last training that was noticed, so that one which ends between two pages is told

let timer = 0;
let latest = null;
let newest = 0; // number of the newest thing that was shown: an answer asked for before it is out of date
let pace = { kind: "idle", wait: PACE.idle.first };
let onTrained = () => {};

function showCounter(counter, threshold) {
  const text = `${counter}/${threshold}`;
  if (byId("counter").textContent !== text) byId("counter").textContent = text;
  const pips = byId("pips");
  const number = Math.min(threshold, MOST_PIPS);
  if (pips.childElementCount !== number) pips.replaceChildren(...Array.from({ length: number }, () => el("span")));
  const lit = threshold > MOST_PIPS ? Math.round((counter / threshold) * MOST_PIPS) : counter;
  [...pips.children].forEach((pip, index) => pip.classList.toggle("on", index < lit));
}

const PHASES = { features: "reading the answers", lnirt: "fitting the population model", correctness: "learning correctness", time: "learning times" };

function describe({ training, progress, model_version: version, counter, threshold, last_error: failure }) {
  if (training === "queued") return ["Training is queued", "it starts in a moment; you can go on working"];
  if (training !== "running" && failure !== null) return ["Waiting", "the next finished task can start another training"];
  if (training !== "running" && counter >= threshold) return ["Waiting", "too few answers in all for a first training"];
  if (training !== "running" && version === null) return ["No model yet", `every ${threshold} new answers start a training`];
  if (training !== "running") return ["Up to date", `the next training starts at ${threshold} new answers`];
  const phase = PHASES[progress?.phase] ?? "";
  const epoch = progress?.epoch > 0 && progress?.epochs > 0 ? `epoch ${progress.epoch}/${progress.epochs}` : "";
  return ["Training", [epoch, phase].filter(Boolean).join(", ") || "starting"];
}

function showState(status) {
  const [state, detail] = describe(status);
  byId("training-state").textContent = state;
  byId("training-detail").textContent = detail;
  byId("training-dot").dataset.state = status.training === "idle" && status.model_version === null ? "unknown" : status.training;
  const bar = byId("training-progress");
  bar.hidden = status.training === "idle";
  if (status.training === "running" && status.progress?.epochs > 0) {
    bar.max = status.progress.epochs;
    bar.value = status.progress.epoch ?? 0;
  } else bar.removeAttribute("value"); // an indeterminate bar: something goes on, nobody knows how far it is
}

function showFacts(status) {
  byId("model-version").textContent = status.model_version ?? "none yet";
  byId("last-trained").replaceChildren(status.last_trained_at === null ? "never" : timeElement(status.last_trained_at));
  byId("samples-total").textContent = count(status.n_samples_total);
  byId("training-error").hidden = status.last_error === null;
  byId("training-error").textContent = status.last_error === null ? "" : `The last training failed: ${status.last_error}`;
}

/** What a training changed, in a sentence. */
function newsOf(before, now) {
  const more = now.n_samples_last_training - before.samples;
  const learnt = `${count(now.n_samples_last_training)} answers${more > 0 ? `, ${count(more)} more than before` : ""}`;
  if (before.version === now.model_version) return `Training is done with ${learnt}. The new model was not better, so ${now.model_version ?? "none"} stays.`;
  return `Training is done: model ${now.model_version} answers from now on. It has learnt from ${learnt}.`;
}

function tellNews(now) {
  const before = seen.read();
  seen.write({ at: now.last_trained_at, version: now.model_version, samples: now.n_samples_last_training });
  if (before === null || before.at === now.last_trained_at || now.last_trained_at === null) return;
  byId("training-news").textContent = newsOf(before, now);
  onTrained();
}

function show(status) {
  latest = status;
  showCounter(status.counter, status.threshold);
  showState(status);
  showFacts(status);
  tellNews(status);
}

/** The counter and the state from a completion's answer, at once; the next poll brings the rest. */
export function noteCompletion({ counter, threshold, queued }) {
  newest += 1;
  showCounter(counter, threshold);
  if (latest !== null) {
    latest = { ...latest, counter, threshold, n_samples_total: latest.n_samples_total + 1 };
    if (queued && latest.training === "idle") latest.training = "queued";
    showState(latest);
    showFacts(latest);
  }
  pace = { kind: "", wait: 0 };
  schedule(queued || latest?.training !== "idle" ? SOON_MS : PACE.idle.first);
}

/** Ask again soon: something changed that the panel has not been told. */
export function refreshSoon() {
  pace = { kind: "", wait: 0 };
  schedule(0);
}

function schedule(milliseconds) {
  clearTimeout(timer);
  timer = document.hidden ? 0 : setTimeout(poll, milliseconds); // a hidden page asks nothing until it is seen again
}

/** The pause before the next poll. */
function nextPause(kind, changed) {
  const { first, factor, most } = PACE[kind];
  pace = { kind, wait: changed || pace.kind !== kind ? first : Math.min(pace.wait * factor, most) };
  return pace.wait;
}

async function poll() {
  const number = (newest += 1);
  let pause;
  try {
    const { data } = await request("GET", "model/status", { safe: false, quiet: true });
    if (number !== newest) return;
    const changed = JSON.stringify(data) !== JSON.stringify(latest);
    show(data);
    pause = nextPause(data.training === "idle" ? "idle" : "active", changed);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (number !== newest) return;
    byId("training-dot").dataset.state = "unknown";
    byId("training-state").textContent = "State unknown";
    byId("training-detail").textContent = error.message;
    pause = Math.max(nextPause("failing", false), (error.retryAfter ?? 0) * 1000);
  }
  schedule(pause);
}

/** Start the panel. `trained()` is called when a training was finished since the reader last looked. */
export function startTrainingPanel({ trained = () => {} } = {}) {
  onTrained = trained;
  document.addEventListener("visibilitychange", refreshSoon);
  window.addEventListener("online", refreshSoon);
  refreshSoon();
}
