// Accuracy and times, in all, by day, by topic, and predicted against actual.
import { request } from "./api.js";
import { figures } from "./figures.js";
import { byId, count, duration, el, percent, report, startPage, timeElement } from "./ui.js";

const dayName = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", weekday: "short", timeZone: "UTC" });
const AS_PREDICTED = 1.1; // a pace within a tenth of the predicted one

function table(caption, names, rows) {
  return el("table", {},
    el("caption", { className: "hidden" }, caption),
    el("thead", {}, el("tr", {}, ...names.map((name) => (name === "" ? el("td", { className: "graph" }) : el("th", { scope: "col" }, name))))),
    el("tbody", {}, ...rows));
}

const empty = (text) => el("p", { className: "empty" }, text);
const graph = (share, label, className = "") => el("td", { className: "graph" }, el("meter", { className, min: 0, max: 1, value: share, ariaLabel: label }));
const numberCell = (...children) => el("td", { className: "number" }, ...children);

function days(rows) {
  if (rows.length === 0) return [empty("Nothing was done in the last 30 days.")];
  const most = Math.max(...rows.map((row) => row.completed));
  return [table("Completed tasks by day", ["Day", "Done", "", "Correct", "Median time"], rows.map((row) => el("tr", {},
    el("th", { scope: "row" }, dayName.format(new Date(`${row.day}T00:00:00Z`))),
    numberCell(count(row.completed)),
    graph(row.completed / most, `${row.completed} done`),
    numberCell(percent(row.accuracy)),
    numberCell(duration(row.median_time_seconds)))))];
}

/** How one's times stand to the predicted ones: the ratio of the typical actual to the typical predicted time. */
function pace(ratio) {
  if (ratio === null) return "–";
  if (ratio > AS_PREDICTED) return `${percent(ratio - 1)} slower`;
  return ratio < 1 / AS_PREDICTED ? `${percent(1 - ratio)} faster` : "as predicted";
}

function topics(rows) {
  if (rows.length === 0) return [empty("No tasks done yet. Finish one, and its topic appears here.")];
  return [table("Results by topic", ["Topic", "Done", "Correct", "Predicted", "", "Mastery", "Median time", "Pace", "Last"], rows.map((row) => el("tr", {},
    el("th", { scope: "row", dir: "auto" }, row.topic),
    numberCell(count(row.completed)),
    numberCell(percent(row.accuracy)),
    numberCell(percent(row.predicted_accuracy)),
    graph(row.mastery, `Mastery ${percent(row.mastery)}`),
    el("td", {}, `${percent(row.mastery)} `, el("span", { className: "sub" }, `${percent(row.mastery_low)} to ${percent(row.mastery_high)}`)),
    numberCell(duration(row.median_time_seconds)),
    el("td", {}, pace(row.time_ratio)),
    el("td", { className: "sub" }, row.last_completed_at === null ? "–" : timeElement(row.last_completed_at)))))];
}

function calibrationOf(title, group) {
  const times = group.n_timed === 0 || group.interval_coverage === null ? "" : `; ${percent(group.interval_coverage)} of the times were inside their 80\u00a0% interval`;
  const note = `${count(group.n)} predictions, calibration error ${percent(group.expected_calibration_error)}, Brier score ${group.brier_score.toFixed(3)}${times}`;
  const rows = group.bins.map((bin) => el("tr", {},
    el("th", { scope: "row" }, `${percent(bin.low)} to ${percent(bin.high)}`),
    numberCell(count(bin.n)),
    graph(bin.predicted, `predicted ${percent(bin.predicted)}`),
    numberCell(percent(bin.predicted)),
    graph(bin.actual, `solved ${percent(bin.actual)}`, "actual"),
    numberCell(percent(bin.actual))));
  return [el("h3", {}, title), el("p", { className: "sub" }, note), table(`Predicted against actual: ${title}`, ["Chance given", "Tasks", "", "Predicted", "", "Solved"], rows)];
}

function calibration({ overall, by_version: versions }) {
  if (overall.n === 0) return [empty("No model has predicted a task that you finished yet. After five completions a training starts.")];
  const parts = calibrationOf("All models", overall);
  if (versions.length > 1) {
    const each = versions.flatMap((version) => calibrationOf(version.lnirt_model_version, version.calibration));
    parts.push(el("details", { className: "more" }, el("summary", {}, `Each of the ${versions.length} versions by itself`), ...each));
  }
  return parts;
}

/** Fill places by one request: `parts` makes the content of each, in order. */
async function fill(places, path, parts) {
  try {
    const { data } = await request("GET", path);
    places.forEach((place, index) => place.replaceChildren(...parts[index](data)));
  } catch (error) {
    for (const place of places) place.replaceChildren(el("p", { className: "sub" }, "Could not be loaded."));
    report(error, { again: () => { fillAll(); } });
  } finally {
    for (const place of places) place.ariaBusy = null;
  }
}

function fillAll() {
  const offset = -new Date().getTimezoneOffset();
  fill([byId("summary"), byId("days")], `analytics/summary?utc_offset_minutes=${offset}`, [figures, (summary) => days(summary.days)]);
  fill([byId("topics")], "analytics/topics", [topics]);
  fill([byId("calibration")], "analytics/calibration", [calibration]);
}

if (startPage()) fillAll();
