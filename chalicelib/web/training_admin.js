// The training panel in the words of an operator: phases, epochs, and the name of the version.
import { byId, count, counted, exactTime, isOrAre, timeElement } from "./ui.js";

const PHASES = {
  features: "Reading answers",
  lnirt: "Fitting the population model",
  correctness: "Learning to predict correctness",
  time: "Learning to predict times",
};

function showProgress({ training, progress }) {
  const bar = byId("training-progress");
  bar.hidden = training === "idle";
  if (training === "running" && progress?.epochs > 0) {
    bar.max = progress.epochs;
    bar.value = progress.epoch ?? 0;
  } else bar.removeAttribute("value"); // an indeterminate bar, because the progress is not known
}

/** Return when the next automatic training may start and why it has to wait, or null if it may start now. */
function waiting({ next_training_at: at, wait_reason: reason, training_failures: failures, last_training_seconds: seconds }) {
  if (at === null) return null;
  const why = reason === "failures" ? `${counted(failures, "training")} failed since the last success` : `the last one took ${counted(Math.round(seconds), "second")}`;
  return `The next training starts after ${exactTime(new Date(at))} at the earliest, because ${why}.`;
}

export const adminWords = {
  /** Describe the state of the training by a title, which is a list of nodes and texts, and a detail. */
  state(status) {
    const { training, progress, model_version: version, counter, threshold, last_error: failure, n_samples_total: total, minimum_samples: minimum } = status;
    if (training === "queued") return [["Training is queued"], "It will start shortly. You can keep working."];
    if (training === "running") {
      const epoch = progress?.epoch > 0 && progress?.epochs > 0 ? `epoch ${progress.epoch}/${progress.epochs}` : "";
      return [["Training"], [PHASES[progress?.phase] ?? "Starting", epoch].filter(Boolean).join(", ")];
    }
    if (progress?.phase === "skipped") return [["Waiting"], `The last training was skipped: ${progress.reason}.`];
    const wait = waiting(status);
    if (wait !== null && (failure !== null || counter >= threshold)) return [["Waiting"], wait];
    if (failure !== null) return [["Waiting"], "Finishing another task can start a new training."];
    if (total < minimum) return [["Waiting"], `The first training needs ${counted(minimum, "answer")}; there ${isOrAre(total)} ${count(total)}.`];
    if (counter >= threshold) return [["Waiting"], "The next answer can start a training."];
    if (version === null) return [["No model yet"], `A training starts after every ${counted(threshold, "new answer")}.`];
    return [["Up to date"], `The next training needs ${counted(threshold - counter, "more answer")}.`];
  },

  /** Show what the panel of a student does not have. */
  more(status) {
    showProgress(status);
    byId("model-version").textContent = status.model_version ?? "none yet";
    byId("last-trained").replaceChildren(status.last_trained_at === null ? "never" : timeElement(status.last_trained_at));
    byId("samples-total").textContent = count(status.n_samples_total);
    byId("training-error").hidden = status.last_error === null;
    byId("training-error").textContent = status.last_error === null ? "" : `The last training failed: ${status.last_error}`;
  },

  /** Return a message about a training that has ended. `before` is the training before it. */
  news(before, { model_version: version, n_samples_last_training: samples }) {
    const added = samples - before.samples;
    const answers = `${counted(samples, "answer")}${added > 0 ? `, ${count(added)} more than before` : ""}`;
    if (before.version !== version) return `Training finished: model ${version} now makes the predictions. It learnt from ${answers}.`;
    return `Training finished on ${answers}. ${version === null ? "The new model was not promoted." : `${version} stays in use; the list of versions says why.`}`;
  },
};
