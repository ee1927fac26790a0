// Mastery of each topic with its uncertainty, and where one is slower or faster than predicted.
import { empty, numberCell, table, tableBehind } from "./charts.js";
import { count, duration, el, percent, timeElement } from "./ui.js";

const SHOWN = 12; // the most recently practised; the table has all
const AS_PREDICTED = 1.1; // a pace within a tenth of the predicted one
const WIDEST = Math.log(3); // a bar over half the track: three times as slow, or as fast

/** An element with CSS variables, set by script: style attributes are not allowed here. */
function placed(className, variables) {
  const node = el("span", { className });
  for (const [name, value] of Object.entries(variables)) node.style.setProperty(`--${name}`, value.toFixed(4));
  return node;
}

function row(topic, track, value) {
  return el("li", {},
    el("span", { className: "name", dir: "auto", title: topic }, topic),
    el("span", { className: "track", ariaHidden: "true" }, track),
    el("span", { className: "value" }, ...value));
}

function masteryRow({ topic, mastery, mastery_low: low, mastery_high: high }) {
  const track = document.createDocumentFragment();
  track.append(placed("band", { from: low, to: high }), placed("mark", { at: mastery }));
  return row(topic, track, [percent(mastery), " ", el("span", { className: "sub" }, `${Math.round(low * 100)} to ${percent(high)}`)]);
}

/** How one's times stand to the predicted ones: the ratio of the typical actual to the typical predicted time. */
export function pace(ratio) {
  if (ratio === null) return "–";
  if (ratio > AS_PREDICTED) return `${percent(ratio - 1)} slower`;
  return ratio < 1 / AS_PREDICTED ? `${percent(1 - ratio)} faster` : "as expected";
}

function paceRow({ topic, time_ratio: ratio }) {
  const end = 0.5 + Math.max(-0.5, Math.min(0.5, Math.log(ratio) / WIDEST / 2));
  const bar = placed(ratio > 1 ? "stretch slower" : "stretch", { from: Math.min(0.5, end), to: Math.max(0.5, end) });
  return row(topic, bar, [pace(ratio)]);
}

function paces(rows) {
  const timed = rows.filter((each) => each.time_ratio !== null).sort((one, other) => other.time_ratio - one.time_ratio);
  if (timed.length === 0) return [empty("No model has predicted the time of a task that you finished yet.")];
  return [
    el("p", { className: "sub" }, "Your typical time against the predicted one, slowest first: to the right you took longer."),
    el("ul", { className: "ranges pace" }, ...timed.map(paceRow))];
}

function allTopics(rows) {
  return table("Results by topic", ["Topic", "Done", "Correct", "Predicted", "Mastery", "Range (80\u00a0%)", "Median time", "Pace", "Last"], rows.map((each) => el("tr", {},
    el("th", { scope: "row", dir: "auto" }, each.topic),
    numberCell(count(each.completed)),
    numberCell(percent(each.accuracy)),
    numberCell(percent(each.predicted_accuracy)),
    numberCell(percent(each.mastery)),
    numberCell(`${percent(each.mastery_low)} to ${percent(each.mastery_high)}`),
    numberCell(duration(each.median_time_seconds)),
    el("td", {}, pace(each.time_ratio)),
    el("td", { className: "sub" }, each.last_completed_at === null ? "–" : timeElement(each.last_completed_at)))));
}

/** The content for the topics, most recently practised first as they come. */
export function topics(rows) {
  if (rows.length === 0) return [empty("No tasks done yet. Finish one, and its topic appears here.")];
  const shown = rows.slice(0, SHOWN);
  const which = rows.length > SHOWN ? ` These are the ${SHOWN} topics that you practised last; the table has all ${count(rows.length)}.` : "";
  return [
    el("div", { className: "charts" },
      el("div", {},
        el("h3", {}, "Mastery"),
        el("p", { className: "sub" }, `Your share of correct answers, recent ones counting more; the band says how sure that is (80\u00a0%).${which}`),
        el("ul", { className: "ranges" }, ...shown.map(masteryRow))),
      el("div", {}, el("h3", {}, "Slower or faster than expected"), ...paces(shown))),
    tableBehind("all topics", () => allTopics(rows))];
}
