// The published versions: which one serves, what was measured of each, and how the trainings went.
import { axis, chart, colours, empty, numberCell, series, table, tableBehind } from "./charts.js";
import { count, duration, el, percent, timeElement } from "./ui.js";

const ROLES = { champion: "Serving", previous: "Served before", past: "Served earlier" };
const REASONS = { threshold: "enough new answers", forced: "by hand" };
const SHOWN = 10; // the rest is made when it is asked for
const shortTime = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

function size(bytes) {
  if (bytes === null) return "–";
  return bytes < 1_000_000 ? `${count(bytes / 1000)}\u00a0kB` : `${(bytes / 1_000_000).toFixed(1)}\u00a0MB`;
}

const number = (value) => (value === undefined || value === null ? "–" : value.toFixed(3));

function badges(version, pinned) {
  const found = [];
  if (ROLES[version.role]) found.push(el("span", { className: "badge", data: { role: version.role } }, ROLES[version.role]));
  if (pinned && version.role === "champion") found.push(el("span", { className: "badge", data: { role: "pinned" } }, "Pinned"));
  if (version.promoted === false) found.push(el("span", { className: "badge", data: { role: "refused" } }, "Not promoted"));
  return found;
}

/** Name, value, and a note: mostly what LNIRT alone reached on the same answers. */
function measured(metrics) {
  if (metrics === null) return [];
  const lnirt = (value) => (value === undefined ? null : `LNIRT alone ${number(value)}`);
  return [
    ["Log-loss", number(metrics.log_loss), lnirt(metrics.lnirt_log_loss)],
    ["AUC", number(metrics.auc), lnirt(metrics.lnirt_auc)],
    ["Calibration error", number(metrics.ece), null],
    ["Log-time error", number(metrics.log_time_rmse), lnirt(metrics.lnirt_log_time_rmse)],
    ["Times inside 80\u00a0%", metrics.coverage80 === undefined ? "–" : percent(metrics.coverage80), null],
    ["Measured on", metrics.n === undefined ? "–" : count(metrics.n), "held-out answers"],
  ];
}

function facts(version) {
  return [
    ["Learnt from", version.n_samples === null ? "–" : count(version.n_samples), "answers"],
    ["Size", size(version.size_bytes), null],
    ...measured(version.metrics),
  ];
}

function verdict(version) {
  if (version.fault !== null) return el("p", { className: "error" }, version.fault);
  if (version.reason === null) return null;
  return el("p", { className: "sub" }, `${version.promoted ? "Promoted" : "Not promoted"}: ${version.reason}`);
}

function steps(version, pinned, act) {
  const serves = version.role === "champion";
  const buttons = [];
  if (!serves) buttons.push(el("button", { type: "button", ariaLabel: `Let ${version.version} serve`, onclick: (event) => act("rollback", version.version, event.currentTarget) }, "Let it serve"));
  if (!(serves && pinned)) buttons.push(el("button", { type: "button", ariaLabel: `Pin ${version.version}`, onclick: (event) => act("pin", version.version, event.currentTarget) }, "Pin"));
  return el("div", { className: "steps" }, ...buttons);
}

function item(version, pinned, act) {
  return el("li", { className: "version", data: { version: version.version } },
    el("div", { className: "version-head" },
      el("h3", {}, version.version),
      ...badges(version, pinned),
      version.trained_at === null ? null : el("span", { className: "sub" }, "trained ", timeElement(version.trained_at)),
      version.fault === null ? steps(version, pinned, act) : null),
    el("dl", { className: "metrics" }, ...facts(version).map(([name, value, note]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, note === null ? null : el("span", { className: "sub" }, note))))),
    verdict(version));
}

/** The list of versions; `act(step, version, button)` is called for what an admin presses. */
export function versionList({ versions, pinned }, act) {
  if (versions.length === 0) return [empty("No version yet. The first training publishes one.")];
  const list = el("ul", { className: "versions" }, ...versions.slice(0, SHOWN).map((version) => item(version, pinned, act)));
  if (versions.length <= SHOWN) return [list];
  const more = el("button", { type: "button", onclick: () => {
    list.append(...versions.slice(SHOWN).map((version) => item(version, pinned, act)));
    more.remove();
    list.children[SHOWN].querySelector("button")?.focus();
  } }, `Show all ${count(versions.length)}`);
  return [list, more];
}

/** What serves now. */
export function serving({ champion, promoted_at: since, pinned, fault, versions }, act) {
  if (fault !== null) return [el("p", { className: "error" }, `The pointer to the serving version cannot be read: ${fault}`)];
  if (champion === null) return [empty("No version serves yet: predictions are the starting guess. Let students finish a few tasks, or start a training.")];
  const version = versions.find((each) => each.version === champion);
  const unpin = el("button", { type: "button", onclick: (event) => act("unpin", champion, event.currentTarget) }, "Unpin");
  const pin = el("button", { type: "button", onclick: (event) => act("pin", champion, event.currentTarget) }, "Pin");
  return [
    el("dl", { className: "facts first" },
      el("div", {}, el("dt", {}, "Version"), el("dd", {}, champion)),
      el("div", {}, el("dt", {}, "Serving since"), el("dd", {}, timeElement(since))),
      el("div", {}, el("dt", {}, "Answers learnt from"), el("dd", {}, version?.n_samples ? count(version.n_samples) : "–")),
      el("div", {}, el("dt", {}, "Size"), el("dd", {}, size(version?.size_bytes ?? null)))),
    el("p", { className: "pinned" }, el("span", {}, pinned ? "Pinned: trainings do not replace it. " : "Not pinned: a training that is not worse replaces it. "), pinned ? unpin : pin)];
}

function historyChart(trained) {
  const oldestFirst = [...trained].reverse();
  const values = (name) => oldestFirst.map((version) => version.metrics?.[name] ?? null);
  const all = ["log_loss", "lnirt_log_loss"].flatMap(values).filter((value) => value !== null);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const room = Math.max(0.02, (high - low) * 0.25);
  const describe = (plot) => {
    const version = oldestFirst[plot.cursor.idx];
    return version === undefined ? null : `${version.version}: log-loss ${number(version.metrics?.log_loss)}, LNIRT alone ${number(version.metrics?.lnirt_log_loss)}`;
  };
  return chart({
    label: `Log-loss of ${count(trained.length)} versions on the answers held out of each training; the table has the figures.`,
    keys: [["line", "log-loss, lower is better"], ["dashed", "LNIRT alone"]],
    hint: "Oldest training on the left. Each was measured on answers of its own, so neighbours differ by chance too.",
    describe,
    options: {
      scales: { x: { time: false, range: () => [-0.5, oldestFirst.length - 0.5] }, y: { range: [Math.max(0, low - room), high + room] } },
      axes: [axis({ format: (index) => (Number.isInteger(index) && oldestFirst[index]?.trained_at ? shortTime.format(new Date(oldestFirst[index].trained_at)) : ""), incrs: [1, 2, 5, 10, 20], space: 110, size: 28, grid: { show: false } }), axis({ format: (value) => value.toFixed(2), size: 48 })],
      series: [{}, series("accent", { width: 2, points: { show: true, size: 7, width: 2 }, spanGaps: true }), { stroke: () => colours().text, width: 1.5, dash: [5, 5], points: { show: false }, spanGaps: true }],
    },
    data: [oldestFirst.map((_, index) => index), values("log_loss"), values("lnirt_log_loss")],
  });
}

function historyTable(versions) {
  return table("Trainings, newest first", ["Trained", "Because of", "Answers", "Took", "Log-loss", "AUC", "Calibration error", "Promoted"], versions.map((version) => el("tr", {},
    el("th", { scope: "row" }, version.trained_at === null ? version.version : timeElement(version.trained_at)),
    el("td", {}, REASONS[version.training_reason] ?? version.training_reason ?? "–"),
    numberCell(version.n_samples === null ? "–" : count(version.n_samples)),
    numberCell(duration(version.trained_seconds)),
    numberCell(number(version.metrics?.log_loss)),
    numberCell(number(version.metrics?.auc)),
    numberCell(number(version.metrics?.ece)),
    el("td", {}, version.promoted === null ? "–" : version.promoted ? "yes" : "no"))));
}

/** How the trainings went, from the versions that they made. */
export function history({ versions }) {
  if (versions.length === 0) return [empty("No training has published a version yet.")];
  const trained = versions.filter((version) => version.metrics?.log_loss !== undefined);
  return [
    ...(trained.length > 0 ? [historyChart(trained)] : []),
    tableBehind("all trainings that published a version", () => historyTable(versions))];
}
