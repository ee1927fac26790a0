// The published versions: the one that serves predictions, the metrics of each, and the history of trainings.
import { axis, chart, colours, emptyMessage, foldedTable, numberCell, series, table } from "./charts.js";
import { formatter, zone } from "./days.js";
import { count, counted, duration, el, percent, plural, timeElement } from "./ui.js";

const ROLES = { champion: "Serving", previous: "Previous", past: "Served earlier" };
const REASONS = { threshold: "enough new answers", forced: "requested by an admin" };
const SHOWN = 10; // further versions are created on request
const shortTime = (at) => formatter({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: zone() }).format(at);

function size(bytes) {
  if (bytes === null) return "–";
  return bytes < 1_000_000 ? `${count(bytes / 1000)}\u00a0kB` : `${(bytes / 1_000_000).toFixed(1)}\u00a0MB`;
}

const number = (value) => (value === undefined || value === null ? "–" : value.toFixed(3));

function badges(version, pinned) {
  const badge = (role, text) => el("span", { className: "badge", data: { role } }, text);
  return [
    ROLES[version.role] ? badge(version.role, ROLES[version.role]) : null,
    pinned && version.role === "champion" ? badge("pinned", "Pinned") : null,
    version.promoted === false ? badge("refused", "Not promoted") : null,
  ];
}

/** Return each metric as [name, value, note]. A note is usually the value of LNIRT alone on the same answers. */
function metricFacts(metrics) {
  if (metrics === null) return [];
  const lnirt = (value) => (value === undefined ? null : `LNIRT alone ${number(value)}`);
  return [
    ["Log-loss", number(metrics.log_loss), lnirt(metrics.lnirt_log_loss)],
    ["AUC", number(metrics.auc), lnirt(metrics.lnirt_auc)],
    ["Calibration error", number(metrics.ece), null],
    ["Log-time error", number(metrics.log_time_rmse), lnirt(metrics.lnirt_log_time_rmse)],
    ["Times in 80\u00a0% interval", metrics.coverage80 === undefined ? "–" : percent(metrics.coverage80), null],
    ["Measured on", metrics.n === undefined ? "–" : count(metrics.n), plural(metrics.n ?? 0, "held-out answer")],
  ];
}

function facts(version) {
  return [
    ["Learnt from", version.n_samples === null ? "–" : count(version.n_samples), plural(version.n_samples ?? 0, "answer")],
    ["Size", size(version.size_bytes), null],
    ...metricFacts(version.metrics),
    ["Log-loss as served", number(version.served_log_loss), version.served_n === 0 ? null : `of ${counted(version.served_n, "recent answer")}`],
  ];
}

/** Return the gate's decision as sentences for a reader who does not know its terms. */
function plainDecision({ promoted, reason, metrics }) {
  const pinned = /^champion (\S+) is pinned$/.exec(reason);
  if (pinned !== null) return `Not promoted: ${pinned[1]} is pinned, so trainings do not replace it.`;
  if (!promoted) return `Not promoted: ${reason}.`;
  if (reason.startsWith("there is no champion")) return "Promoted: there was no version to compare it with.";
  const worse = metrics !== null && metrics.log_loss > metrics.lnirt_log_loss;
  const despite = worse ? ` LNIRT alone has the lower log-loss here (${number(metrics.lnirt_log_loss)} against ${number(metrics.log_loss)}), but it was not serving: the gate compares a version with the one before it.` : "";
  return `Promoted: it was not clearly worse than the version before it.${despite} Compared: ${reason}.`;
}

/** Return the line that says why the version was promoted or not, or what is wrong with it. */
function gateResult(version) {
  if (version.fault !== null) return el("p", { className: "error" }, version.fault);
  return version.reason === null ? null : el("p", { className: "sub" }, plainDecision(version));
}

function actions(version, pinned, act) {
  const serves = version.role === "champion";
  const button = (text, action) => el("button", { type: "button", ariaLabel: `${text} ${version.version}`, onclick: (event) => act(action, version.version, event.currentTarget) }, text);
  return el("div", { className: "steps" }, serves ? null : button("Serve", "rollback"), serves && pinned ? null : button("Pin", "pin"));
}

function item(version, pinned, act) {
  return el("li", { className: "version", data: { version: version.version } },
    el("div", { className: "version-head" },
      el("h3", {}, version.version),
      ...badges(version, pinned),
      version.trained_at === null ? null : el("span", { className: "sub" }, "trained ", timeElement(version.trained_at)),
      version.fault === null ? actions(version, pinned, act) : null),
    el("dl", { className: "metrics" }, ...facts(version).map(([name, value, note]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, note === null ? null : el("span", { className: "sub" }, note))))),
    gateResult(version));
}

/** Return the list of versions. `act(action, version, button)` is called when an admin presses a button. */
export function versionList({ versions, pinned }, act) {
  if (versions.length === 0) return [emptyMessage("No versions yet. The first training publishes one.")];
  const list = el("ul", { className: "versions" }, ...versions.slice(0, SHOWN).map((version) => item(version, pinned, act)));
  if (versions.length <= SHOWN) return [list];
  const more = el("button", { type: "button", onclick: () => {
    list.append(...versions.slice(SHOWN).map((version) => item(version, pinned, act)));
    more.remove();
    list.children[SHOWN].querySelector("button")?.focus();
  } }, `Show all ${count(versions.length)}`);
  return [list, more];
}

/** Return the facts of the version that serves predictions, and a button to pin or unpin it. */
export function serving({ champion, promoted_at: since, pinned, fault, versions }, act) {
  if (fault !== null) return [el("p", { className: "error" }, `The pointer to the serving version cannot be read: ${fault}`)];
  if (champion === null) return [emptyMessage("No version is serving yet, so all predictions are the starting guess. Wait until students have finished some tasks, or start a training.")];
  const version = versions.find((each) => each.version === champion);
  const action = pinned ? "unpin" : "pin";
  const button = el("button", { type: "button", onclick: (event) => act(action, champion, event.currentTarget) }, pinned ? "Unpin" : "Pin");
  return [
    el("dl", { className: "facts first" },
      el("div", {}, el("dt", {}, "Version"), el("dd", {}, champion)),
      el("div", {}, el("dt", {}, "Serving since"), el("dd", {}, timeElement(since))),
      el("div", {}, el("dt", {}, "Learnt from"), el("dd", {}, version?.n_samples ? counted(version.n_samples, "answer") : "–")),
      el("div", {}, el("dt", {}, "Size"), el("dd", {}, size(version?.size_bytes ?? null)))),
    el("p", { className: "pinned" }, el("span", {}, pinned ? "Pinned: trainings do not replace it." : "Not pinned: a training can replace it."), button)];
}

function historyChart(trained) {
  const oldestFirst = [...trained].reverse();
  const values = (name) => oldestFirst.map((version) => version.metrics?.[name] ?? null);
  const all = ["log_loss", "lnirt_log_loss"].flatMap(values).filter((value) => value !== null);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const room = Math.max(0.02, (high - low) * 0.25);
  const trainedAt = (index) => (Number.isInteger(index) && oldestFirst[index]?.trained_at ? shortTime(new Date(oldestFirst[index].trained_at)) : "");
  return chart({
    label: `Log-loss of ${counted(trained.length, "version")} on the answers held out from its training. The table has the figures.`,
    keys: [["line", "log-loss (lower is better)"], ["dashed", "LNIRT alone"]],
    hint: "Oldest training on the left. Each version is measured on its own held-out answers, so small differences may be chance.",
    describe(plot) {
      const version = oldestFirst[plot.cursor.idx];
      return version === undefined ? null : `${version.version}: log-loss ${number(version.metrics?.log_loss)}, LNIRT alone ${number(version.metrics?.lnirt_log_loss)}`;
    },
    options: {
      scales: { x: { time: false, range: () => [-0.5, oldestFirst.length - 0.5] }, y: { range: [Math.max(0, low - room), high + room] } },
      axes: [axis({ format: trainedAt, incrs: [1, 2, 5, 10, 20], space: 110, size: 28, grid: { show: false } }), axis({ format: (value) => value.toFixed(2), size: 48 })],
      series: [{}, series("accent", { width: 2, points: { show: true, size: 7, width: 2 }, spanGaps: true }), { stroke: () => colours().text, width: 1.5, dash: [5, 5], points: { show: false }, spanGaps: true }],
    },
    data: [oldestFirst.map((_, index) => index), values("log_loss"), values("lnirt_log_loss")],
  });
}

function historyTable(versions) {
  return table("Trainings, newest first", ["Trained", "Reason", "Answers", "Duration", "Log-loss", "AUC", "Calibration error", "Promoted"], versions.map((version) => el("tr", {},
    el("th", { scope: "row" }, version.trained_at === null ? version.version : timeElement(version.trained_at)),
    el("td", {}, REASONS[version.training_reason] ?? version.training_reason ?? "–"),
    numberCell(version.n_samples === null ? "–" : count(version.n_samples)),
    numberCell(duration(version.trained_seconds)),
    numberCell(number(version.metrics?.log_loss)),
    numberCell(number(version.metrics?.auc)),
    numberCell(number(version.metrics?.ece)),
    el("td", {}, version.promoted === null ? "–" : version.promoted ? "yes" : "no"))));
}

/** Return the history of the trainings that published a version. */
export function history({ versions }) {
  if (versions.length === 0) return [emptyMessage("No training has published a version yet.")];
  const trained = versions.filter((version) => version.metrics?.log_loss !== undefined);
  return [
    ...(trained.length > 0 ? [historyChart(trained)] : []),
    foldedTable("trainings that published a version", () => historyTable(versions))];
}
