// The training panel: the counter, the state of the training, the model. Polls while the page is looked at.
import { ApiError, request } from "./api.js";
import { byId, count, el, notice, timeElement } from "./ui.js";

const EVERY_MS = { active: 1000, idle: 10_000, failing: 15_000 };

let timer = 0;
let latest = null;
let newest = 0; // number of the newest thing that was shown: an answer asked for before it is out of date

function showCounter(counter, threshold) {
  const text = `${counter}/${threshold}`;
  if (byId("counter").textContent !== text) byId("counter").textContent = text;
  const pips = byId("pips");
  if (pips.childElementCount !== Math.min(threshold, 20)) {
    pips.replaceChildren(...Array.from({ length: Math.min(threshold, 20) }, () => el("span")));
  }
  const lit = threshold > 20 ? Math.round((counter / threshold) * 20) : counter;
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

function announceChange(before, now) {
  if (before === null || before.training === "idle" || now.training !== "idle") return;
  if (before.model_version !== now.model_version) {
    notice(`Training is done: model ${now.model_version} answers from now on.`, { kind: "good", seconds: 12 });
  }
}

function show(status) {
  announceChange(latest, status);
  latest = status;
  showCounter(status.counter, status.threshold);
  showState(status);
  showFacts(status);
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
  schedule(queued || latest?.training !== "idle" ? 300 : EVERY_MS.idle);
}

/** Ask again soon: something changed that the panel has not been told. */
export function refreshSoon() {
  schedule(0);
}

function schedule(milliseconds) {
  clearTimeout(timer);
  timer = document.hidden ? 0 : setTimeout(poll, milliseconds); // a hidden page asks nothing until it is seen again
}

async function poll() {
  const number = (newest += 1);
  let pauseFor = EVERY_MS.failing;
  try {
    const { data } = await request("GET", "model/status", { safe: false });
    if (number === newest) show(data);
    pauseFor = latest === null || latest.training === "idle" ? EVERY_MS.idle : EVERY_MS.active;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    byId("training-dot").dataset.state = "unknown";
    byId("training-state").textContent = "State unknown";
    byId("training-detail").textContent = error.message;
  }
  if (number === newest) schedule(pauseFor);
}

/** Start the panel. */
export function startTrainingPanel() {
  document.addEventListener("visibilitychange", () => schedule(0));
  schedule(0);
}
