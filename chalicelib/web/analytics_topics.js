// The student's mastery of each topic with its uncertainty, and the pace compared with the predicted times.
import { emptyMessage, foldedTable, numberCell, table } from "./charts.js";
import { topicNames } from "./topic_names.js";
import { count, duration, el, percent, percentRange, timeElement } from "./ui.js";

const SHOWN = 12; // the most recently practised topics; the table has all
const SIMILAR = 1.1; // a pace within a tenth of the predicted one counts as predicted
const LOG_FULL_BAR = Math.log(3); // a bar that fills its half of the track: three times as slow, or as fast

/** Return an element with CSS variables. They are set by script, because the page's policy forbids style attributes. */
function placed(className, variables) {
  const node = el("span", { className });
  for (const [name, value] of Object.entries(variables)) node.style.setProperty(`--${name}`, value.toFixed(4));
  return node;
}

function row(name, track, value) {
  return el("li", {},
    el("span", { className: "name", dir: "auto", title: name }, name),
    el("span", { className: "track", ariaHidden: "true" }, ...track),
    el("span", { className: "value" }, ...value));
}

function masteryRow({ name, mastery, mastery_low: low, mastery_high: high }) {
  const track = [placed("band", { from: low, to: high }), placed("mark", { at: mastery })];
  return row(name, track, [percent(mastery), " ", el("span", { className: "sub" }, percentRange(low, high))]);
}

/** Describe the ratio of actual to predicted times: `20 % slower`, `2.5 times as long`, `as predicted`. */
function pace(ratio) {
  if (ratio === null) return "–";
  if (ratio >= 2) return `${ratio.toFixed(1)} times as long`;
  if (ratio > SIMILAR) return `${percent(ratio - 1)} slower`;
  return ratio < 1 / SIMILAR ? `${percent(1 - ratio)} faster` : "as predicted";
}

/** Return a sentence that compares the student's times with the predicted ones. */
export function paceSentence(ratio) {
  if (ratio >= 2) return `You took ${pace(ratio)} as predicted.`;
  return pace(ratio) === "as predicted" ? "Your times were as predicted." : `You were ${pace(ratio)} than predicted.`;
}

function paceRow({ name, time_ratio: ratio }) {
  const end = 0.5 + Math.max(-0.5, Math.min(0.5, Math.log(ratio) / LOG_FULL_BAR / 2));
  const bar = placed(ratio > 1 ? "stretch slower" : "stretch", { from: Math.min(0.5, end), to: Math.max(0.5, end) });
  return row(name, [bar], [pace(ratio)]);
}

function paceRows(rows) {
  const timed = rows.filter((each) => each.time_ratio !== null).sort((one, other) => other.time_ratio - one.time_ratio);
  if (timed.length === 0) return [emptyMessage("No model has predicted the time of a task that you have finished.")];
  return [
    el("p", { className: "sub" }, "Your typical time compared with the prediction, slowest first. A bar to the right means that you took longer."),
    el("ul", { className: "ranges pace" }, ...timed.map(paceRow))];
}

function topicTable(rows) {
  return table("Results by topic", ["Topic", "Done", "Correct", "Predicted", "Mastery", "Range (80\u00a0%)", "Median time", "Pace", "Last practised"], rows.map((each) => el("tr", {},
    el("th", { scope: "row", dir: "auto" }, each.name),
    numberCell(count(each.completed)),
    numberCell(percent(each.accuracy)),
    numberCell(percent(each.predicted_accuracy)),
    numberCell(percent(each.mastery)),
    numberCell(`${percent(each.mastery_low)} to ${percent(each.mastery_high)}`),
    numberCell(duration(each.median_time_seconds)),
    el("td", {}, pace(each.time_ratio)),
    el("td", { className: "sub" }, each.last_completed_at === null ? "–" : timeElement(each.last_completed_at)))));
}

/** Return the content of the section for the topics, most recently practised first. */
export function topics(found) {
  if (found.length === 0) return [emptyMessage("No tasks done yet. Finish a task to see its topic here.")];
  const nameOf = topicNames(found);
  const rows = found.map((each) => ({ ...each, name: nameOf(each) }));
  const shown = rows.slice(0, SHOWN);
  const note = rows.length > SHOWN ? ` These are the ${SHOWN} topics that you practised most recently. The table has all ${count(rows.length)}.` : "";
  return [
    el("div", { className: "charts" },
      el("div", {},
        el("h3", {}, "Mastery"),
        el("p", { className: "sub" }, `Your share of correct answers, where recent answers count more. The band is the 80\u00a0% interval.${note}`),
        el("ul", { className: "ranges" }, ...shown.map(masteryRow))),
      el("div", {}, el("h3", {}, "Pace"), ...paceRows(shown))),
    foldedTable("all topics", () => topicTable(rows))];
}
