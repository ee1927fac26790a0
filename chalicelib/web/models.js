// The models page, for admins: the serving version, all versions, trainings and drift. Each action is confirmed first.
import { ApiError, request } from "./api.js";
import { drift, groups } from "./models_drift.js";
import { history, serving, versionList } from "./models_versions.js";
import { fillSections } from "./sections.js";
import { latestStatus, refreshSoon, startTrainingPanel } from "./training.js";
import { byId, clearErrors, count, counted, isOrAre, notice, report, showErrors, startPage, whileBusy } from "./ui.js";

const FEW_WINDOWS = 3;
const MAX_WINDOWS = 20;
const MAX_ANSWERS = 20_000; // the API's limit
const MAX_COUNTER = 1_000_000;

/** Return why a training that is queued now will be skipped, or "". */
function skipRemark() {
  const status = latestStatus();
  if (status === null || status.n_samples_total >= status.minimum_samples) return "";
  return ` It will be skipped: a training needs ${counted(status.minimum_samples, "answer")}, and there ${isOrAre(status.n_samples_total)} ${count(status.n_samples_total)}.`;
}

// Texts of the confirmation by action. Each is posted to /model/<action>.
const ACTIONS = {
  rollback: {
    title: "Serve this version?",
    text: (version) => `${version} makes all predictions from the next task on. A later training can replace it, unless it is pinned.`,
    confirm: "Serve this version",
    done: (version) => `${version} now serves predictions.`,
    body: (version) => ({ version }),
  },
  pin: {
    title: "Pin this version?",
    text: (version) => `${version} serves predictions, and trainings do not replace it until you unpin it. Trainings still publish new versions.`,
    confirm: "Pin this version",
    done: (version) => `${version} is pinned and serves predictions.`,
    body: (version) => ({ version }),
  },
  unpin: {
    title: "Unpin this version?",
    text: (version) => `The next new version that is not worse replaces ${version}.`,
    confirm: "Unpin this version",
    done: (version) => `${version} is no longer pinned.`,
    body: () => undefined,
  },
  train: {
    title: "Train now?",
    text: () => "A new version is trained on all answers in the background. It replaces the serving version if it is not worse.",
    confirm: "Train now",
    done: () => "A training is queued.",
    remark: skipRemark,
    body: () => undefined,
  },
  counter: {
    title: "Set the counter?",
    text: (value) => `The counter of new answers is set to ${value}. If that reaches the threshold, the next finished task starts a training.`,
    confirm: "Set the counter",
    done: (value) => `The counter is set to ${value}.`,
    body: (value) => ({ value }),
  },
};

/** Ask for a confirmation, and return whether it was given. */
function confirmed({ title, text, confirm }, subject) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text(subject);
  byId("confirm-go").textContent = confirm;
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "go"), { once: true });
  });
}

/** Perform an action after a confirmation. `subject` is a version or the value of the counter. */
async function act(name, subject, button) {
  const action = ACTIONS[name];
  clearErrors(byId("counter-form"));
  if (!(await confirmed(action, subject))) return;
  await whileBusy([button], async () => {
    try {
      await request("POST", `model/${name}`, { body: action.body(subject) });
      const remark = action.remark?.() ?? "";
      notice(`${action.done(subject)}${remark}`, { kind: remark === "" ? "good" : "info", seconds: 10 });
    } catch (error) {
      report(error);
    }
    refreshSoon();
    await loadVersions();
  });
}

/** Replace the page by one message if the API refuses access, and return whether it did. */
function showIfRefused(error) {
  if (!(error instanceof ApiError && error.status === 403)) return false;
  byId("admin").remove();
  byId("admins-only").hidden = false;
  return true;
}

const loadVersions = () => fillSections({
  serving: (data) => serving(data, act),
  history,
  versions: (data) => versionList(data, act),
}, ["model/versions"], { onError: showIfRefused });

function loadDrift() {
  const size = Number(byId("window").value);
  return fillSections({ drift: showDrift }, [`analytics/drift?window=${size}&limit=${Math.min(MAX_ANSWERS, size * MAX_WINDOWS)}`]);
}

const loadGroups = () => fillSections({ groups }, ["analytics/groups"]);

/** Show a drift report. Few answers are divided into the smallest windows, unless a size was chosen. */
function showDrift(data) {
  const select = byId("window");
  const [smallest] = select.options;
  if (select.dataset.chosen !== "true" && data.windows.length < FEW_WINDOWS && select.value !== smallest.value && data.n > 0) {
    select.value = smallest.value;
    loadDrift();
  }
  return drift(data);
}

function setCounter(event) {
  event.preventDefault();
  const form = byId("counter-form");
  clearErrors(form);
  const text = byId("value").value.trim();
  if (!/^\d+$/.test(text) || Number(text) > MAX_COUNTER) {
    showErrors(form, "", [{ field: "value", message: "Enter a whole number from 0 to 1,000,000." }]);
    return;
  }
  act("counter", Number(text), byId("set-counter"));
}

/** Offer the cohorts that the admin may choose, if there are several. The page's address names the chosen one. */
async function offerCohorts() {
  const { data: { cohort: chosen, cohorts } } = await request("GET", "model/cohorts");
  const select = byId("cohort");
  select.replaceChildren(...cohorts.map(({ cohort, n_samples_total: n }) => new Option(`${cohort} (${counted(n, "answer")})`, cohort, false, cohort === chosen)));
  byId("cohort-choice").hidden = cohorts.length < 2;
  select.addEventListener("change", () => location.assign(`?${new URLSearchParams({ cohort: select.value })}`));
}

async function start() {
  await loadVersions();
  if (byId("admin") === null) return; // other requests would be refused too
  offerCohorts().catch(report);
  startTrainingPanel({ admin: true, onTrained: loadVersions });
  loadDrift();
  loadGroups();
  byId("window").addEventListener("change", (event) => {
    event.currentTarget.dataset.chosen = "true";
    loadDrift();
  });
  byId("train").addEventListener("click", (event) => act("train", null, event.currentTarget));
  byId("counter-form").addEventListener("submit", setCounter);
}

if (startPage()) start();
