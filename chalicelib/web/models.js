// The page for admins: what serves, the versions, trainings and drift; each change is confirmed first.
import { ApiError, request } from "./api.js";
import { drift } from "./models_drift.js";
import { history, serving, versionList } from "./models_versions.js";
import { refreshSoon, startTrainingPanel } from "./training.js";
import { breathe, byId, clearErrors, el, notice, report, showErrors, startPage, whileBusy } from "./ui.js";

const FEW_WINDOWS = 3;
const WINDOWS = 20; // at most so many windows are looked at
const MOST_ANSWERS = 20_000;
const MOST_COUNTED = 1_000_000;

const STEPS = {
  rollback: {
    title: "Let this version serve?",
    text: (version) => `${version} predicts from the next task on. A later training may replace it, unless it is pinned.`,
    go: "Let it serve",
    done: (version) => `${version} serves.`,
    body: (version) => ({ version }),
  },
  pin: {
    title: "Pin this version?",
    text: (version) => `${version} serves, and trainings do not replace it until you unpin it. They go on publishing versions.`,
    go: "Pin it",
    done: (version) => `${version} serves and is pinned.`,
    body: (version) => ({ version }),
  },
  unpin: {
    title: "Unpin the version?",
    text: (version) => `The next training that is not worse replaces ${version}.`,
    go: "Unpin it",
    done: () => "Trainings may replace the version again.",
    body: () => undefined,
  },
  train: {
    title: "Train now?",
    text: () => "All answers are learnt from anew, in the background. The new version serves if it is not worse than the present one.",
    go: "Train now",
    done: () => "A training is queued.",
    body: () => undefined,
  },
  counter: {
    title: "Set the counter?",
    text: (value) => `The counter of new answers becomes ${value}. At the threshold or above it, the next finished task starts a training.`,
    go: "Set it",
    done: (value) => `The counter is at ${value}.`,
    body: (value) => ({ value }),
  },
};

/** Ask first; resolves to whether to do it. */
function confirmed({ title, text, go }, subject) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text(subject);
  byId("confirm-go").textContent = go;
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "go"), { once: true });
  });
}

async function act(name, subject, button) {
  const step = STEPS[name];
  if (!(await confirmed(step, subject))) return;
  await whileBusy([button], async () => {
    try {
      await request("POST", `model/${name}`, { body: step.body(subject) });
      notice(step.done(subject), { kind: "good", seconds: 10 });
    } catch (error) {
      report(error);
    }
    refreshSoon();
    await loadVersions();
  });
}

/** Show one message instead of everything: the API refuses all of it to who is no admin. */
function refuse() {
  byId("admin").remove();
  byId("admins-only").hidden = false;
}

async function fill(parts, path) {
  const places = Object.keys(parts).map(byId);
  try {
    const { data } = await request("GET", path);
    for (const [id, make] of Object.entries(parts)) {
      await breathe(); // each part by itself, so that the page answers in between
      byId(id).replaceChildren(...make(data));
    }
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) {
      refuse();
      return;
    }
    for (const place of places) place.replaceChildren(el("p", { className: "sub" }, "Could not be loaded."));
    report(error, { again: () => fill(parts, path) });
  } finally {
    for (const place of places) {
      place.ariaBusy = null;
      place.classList.remove("pending");
    }
  }
}

const loadVersions = () => fill({
  serving: (data) => serving(data, act),
  history,
  versions: (data) => versionList(data, act),
}, "model/versions");

function loadDrift() {
  const window = Number(byId("window").value);
  return fill({ drift: showDrift }, `analytics/drift?window=${window}&limit=${Math.min(MOST_ANSWERS, window * WINDOWS)}`);
}

/** Until somebody chooses, few answers are cut into the smallest windows: one window alone shows no course. */
function showDrift(found) {
  const select = byId("window");
  const [smallest] = select.options;
  if (select.dataset.chosen !== "true" && found.windows.length < FEW_WINDOWS && select.value !== smallest.value && found.n > 0) {
    select.value = smallest.value;
    loadDrift();
  }
  return drift(found);
}

function setCounter(event) {
  event.preventDefault();
  const form = byId("counter-form");
  clearErrors(form);
  const text = byId("value").value.trim();
  if (!/^\d+$/.test(text) || Number(text) > MOST_COUNTED) {
    showErrors(form, "", [{ field: "value", message: "Enter a whole number from 0 on." }]);
    return;
  }
  act("counter", Number(text), byId("set-counter"));
}

async function start() {
  await loadVersions();
  if (byId("admin") === null) return; // nothing else is asked for: it would be refused too
  startTrainingPanel();
  loadDrift();
  byId("window").addEventListener("change", (event) => {
    event.currentTarget.dataset.chosen = "true";
    loadDrift();
  });
  byId("train").addEventListener("click", (event) => act("train", null, event.currentTarget));
  byId("counter-form").addEventListener("submit", setCounter);
}

if (startPage()) start();
