// The training panel in the words of a student.
import { count, counted, exactTime, isOrAre, timeElement } from "./ui.js";

/** Return when a version was made, as its name `20260401T120000Z-0a1b2c3d` says, or null. */
function madeAt(version) {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/.exec(version ?? "");
  if (match === null) return null;
  const [, year, month, day, hour, minute, second] = match;
  return `${year}-${month}-${day}T${hour}:${minute}:${second}Z`;
}

function waiting({ counter, threshold, n_samples_total: total, minimum_samples: minimum, last_trained_at: trained, next_training_at: next }) {
  if (trained === null && total < minimum) return `The first training needs ${counted(minimum, "answer")}; there ${isOrAre(total)} ${count(total)}.`;
  if (counter >= threshold && next !== null) return `They will be updated after ${exactTime(new Date(next))}.`;
  return counter >= threshold ? "They will be updated after the next answer." : `They will be updated after ${counted(threshold - counter, "more answer")}.`;
}

export const studentWords = {
  /** Describe the state of the training by a title, which is a list of nodes and texts, and a detail. */
  state(status) {
    const { training, model_version: version, last_error: failure } = status;
    if (training !== "idle") return [["Your predictions are being updated"], "You can keep working."];
    if (failure !== null) {
      const next = status.next_training_at;
      return [["The last update failed"], next === null ? "Your next answer can start another one." : `Another one can start after ${exactTime(new Date(next))}.`];
    }
    if (version === null) return [["No personal predictions yet"], waiting(status)];
    const at = madeAt(version) ?? status.last_trained_at;
    return [at === null ? ["Your predictions are up to date"] : ["Your predictions were updated ", timeElement(at)], waiting(status)];
  },

  more() {},

  /** Return a message about a training that has ended. `before` is the training before it. */
  news(before, { model_version: version, n_samples_last_training: samples }) {
    if (before.version === version) return "An update has ended. Your predictions stay as they were.";
    return `Your predictions have been updated. They learnt from ${counted(samples, "answer")}.`;
  },
};
