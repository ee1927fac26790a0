// Predicted against actual, over all models or by one version: the chance by bins, the times answer by answer.
import { axis, chart, colours, dashed, empty, numberCell, pixelRatio, table, tableBehind } from "./charts.js";
import { pace } from "./analytics_topics.js";
import { DIFFICULTY, count, duration, el, percent, timeElement } from "./ui.js";

const KINDS = { embedding: "Personal model", lnirt: "Population model" };
const SECONDS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 21_600, 86_400];
const STRIP = 0.16; // of the height, for the bars of the counts
const trained = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** `embedding_20260401T120000Z-0a1b2c3d` for reading; a name of another form as it is. */
export function versionName(name) {
  const match = /^(\w+?)_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-/.exec(name);
  if (match === null) return name;
  const [, kind, year, month, day, hour, minute, second] = match;
  return `${KINDS[kind] ?? kind} of ${trained.format(Date.UTC(year, month - 1, day, hour, minute, second))}`;
}

// ---- chance --------------------------------------------------------------------------------------------------

function drawCounts(plot, bins) {
  const { ctx, bbox } = plot;
  const most = Math.max(...bins.map((bin) => bin.n));
  ctx.save();
  ctx.fillStyle = colours().line;
  for (const bin of bins) {
    const left = plot.valToPos(bin.low, "x", true);
    const width = plot.valToPos(bin.high, "x", true) - left;
    const height = Math.max(pixelRatio(), (bin.n / most) * bbox.height * STRIP);
    ctx.fillRect(left + width * 0.08, bbox.top + bbox.height - height, width * 0.84, height);
  }
  ctx.restore();
}

function drawBins(plot, bins) {
  const { ctx } = plot;
  const ratio = pixelRatio();
  const most = Math.max(...bins.map((bin) => bin.n));
  ctx.save();
  ctx.strokeStyle = colours().accent;
  ctx.fillStyle = colours().accent;
  ctx.lineWidth = 2 * ratio;
  for (const bin of bins) {
    const x = plot.valToPos(bin.predicted, "x", true);
    ctx.globalAlpha = 0.55;
    ctx.beginPath();
    ctx.moveTo(x, plot.valToPos(bin.actual_low, "y", true));
    ctx.lineTo(x, plot.valToPos(bin.actual_high, "y", true));
    ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.beginPath();
    ctx.arc(x, plot.valToPos(bin.actual, "y", true), (3 + 5 * Math.sqrt(bin.n / most)) * ratio, 0, 2 * Math.PI);
    ctx.fill();
  }
  ctx.restore();
}

function binText(bin) {
  return `Chance ${Math.round(bin.low * 100)} to ${percent(bin.high)}: ${count(bin.n)} ${bin.n === 1 ? "task" : "tasks"}, predicted ${percent(bin.predicted)}, solved ${percent(bin.actual)} (${Math.round(bin.actual_low * 100)} to ${percent(bin.actual_high)})`;
}

function reliability(bins, title) {
  const share = { range: [0, 1] };
  const shareAxis = (label, size) => axis({ format: percent, label, labelSize: 18, labelFont: "12px system-ui, sans-serif", size, splits: [0, 0.25, 0.5, 0.75, 1] });
  const figure = chart({
    label: `Reliability of the predicted chance, ${title}: ${bins.map(binText).join("; ")}.`,
    keys: [["dot", "solved"], ["whisker", "80\u00a0% interval"], ["quiet", "tasks"], ["dashed", "as predicted"]],
    hint: "Above the dashed line you did better than predicted.",
    describe(plot) {
      const x = plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null;
      const bin = bins.find(({ low, high }) => x !== null && x >= low && x <= high);
      return bin === undefined ? null : binText(bin);
    },
    options: {
      scales: { x: { time: false, ...share }, y: share },
      axes: [shareAxis("Predicted chance", 30), shareAxis("Solved", 48)],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        drawAxes: [(plot) => { drawCounts(plot, bins); dashed(plot, [0, 0], [1, 1]); }],
        draw: [(plot) => drawBins(plot, bins)],
      },
    },
    data: [bins.map((bin) => bin.predicted), bins.map((bin) => bin.actual)],
  });
  figure.querySelector(".plot").classList.add("square");
  return figure;
}

function binTable(bins) {
  return table("Predicted chance against solved", ["Chance given", "Tasks", "Predicted", "Solved", "Range (80\u00a0%)"], bins.map((bin) => el("tr", {},
    el("th", { scope: "row" }, `${percent(bin.low)} to ${percent(bin.high)}`),
    numberCell(count(bin.n)),
    numberCell(percent(bin.predicted)),
    numberCell(percent(bin.actual)),
    numberCell(`${percent(bin.actual_low)} to ${percent(bin.actual_high)}`))));
}

// ---- time ----------------------------------------------------------------------------------------------------

function drawTimes(plot, answers) {
  const { ctx } = plot;
  ctx.save();
  ctx.globalAlpha = 0.75;
  for (const answer of answers) {
    const [x, y] = [plot.valToPos(answer.predicted_time_seconds, "x", true), plot.valToPos(answer.actual_time_seconds, "y", true)];
    const size = 3.5 * pixelRatio();
    ctx.fillStyle = answer.is_correct ? colours().good : colours().bad;
    ctx.beginPath();
    if (answer.is_correct) ctx.arc(x, y, size, 0, 2 * Math.PI);
    else ctx.rect(x - size * 0.9, y - size * 0.9, size * 1.8, size * 1.8); // told apart without colours too
    ctx.fill();
  }
  ctx.restore();
}

/** The answer nearest to the pointer, or null. */
function nearest(plot, answers) {
  const { left, top } = plot.cursor;
  if (!(left >= 0)) return null;
  const distance = ({ predicted_time_seconds: x, actual_time_seconds: y }) => Math.hypot(plot.valToPos(x, "x") - left, plot.valToPos(y, "y") - top);
  return answers.reduce((best, answer) => (distance(answer) < distance(best) ? answer : best));
}

function timeScatter(answers, title) {
  const all = answers.flatMap((answer) => [answer.predicted_time_seconds, answer.actual_time_seconds]);
  const range = [Math.min(...all) / 1.25, Math.max(...all) * 1.25];
  const splits = SECONDS.filter((value) => value >= range[0] && value <= range[1]);
  const scale = { distr: 3, range: () => range };
  const timeAxis = (label, size) => axis({ format: duration, label, labelSize: 18, labelFont: "12px system-ui, sans-serif", size, splits: () => splits, filter: (plot, values) => values });
  const slower = answers.filter((answer) => answer.actual_time_seconds > answer.predicted_time_seconds).length;
  const inOrder = [...answers].sort((one, other) => one.predicted_time_seconds - other.predicted_time_seconds);
  const figure = chart({
    label: `Predicted against actual time, ${title}: ${count(slower)} of ${count(answers.length)} answers took longer than predicted; the table has each.`,
    keys: [["dot good", "correct"], ["bad", "incorrect"], ["dashed", "as predicted"]],
    hint: "Above the dashed line you took longer than predicted.",
    describe(plot) {
      const answer = nearest(plot, inOrder);
      return answer === null ? null : `${answer.topic.slice(0, 40)}, ${DIFFICULTY[answer.difficulty]}: predicted ${duration(answer.predicted_time_seconds)}, took ${duration(answer.actual_time_seconds)}`;
    },
    options: {
      scales: { x: { time: false, ...scale }, y: scale },
      axes: [timeAxis("Predicted time", 30), timeAxis("Actual time", 64)],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        drawAxes: [(plot) => dashed(plot, [range[0], range[0]], [range[1], range[1]])],
        draw: [(plot) => drawTimes(plot, inOrder)],
      },
    },
    data: [inOrder.map((answer) => answer.predicted_time_seconds), inOrder.map((answer) => answer.actual_time_seconds)],
  });
  figure.querySelector(".plot").classList.add("square");
  return figure;
}

function timeTable(answers) {
  return table("The newest predicted answers", ["Topic", "Difficulty", "Predicted time", "Took", "Chance", "Result", "When"], answers.map((answer) => el("tr", {},
    el("th", { scope: "row", dir: "auto" }, answer.topic),
    el("td", {}, DIFFICULTY[answer.difficulty] ?? answer.difficulty),
    numberCell(duration(answer.predicted_time_seconds)),
    numberCell(duration(answer.actual_time_seconds)),
    numberCell(percent(answer.predicted_correct)),
    el("td", {}, answer.is_correct ? "Correct" : "Incorrect"),
    el("td", { className: "sub" }, answer.completed_at === null ? "–" : timeElement(answer.completed_at)))));
}

// ---- both ----------------------------------------------------------------------------------------------------

function sentence(group) {
  const { n, accuracy, predicted_accuracy: predicted, expected_calibration_error: error, time_ratio: ratio, interval_coverage: coverage } = group;
  const parts = [`${count(n)} ${n === 1 ? "prediction" : "predictions"}: ${percent(predicted)} expected to be correct, ${percent(accuracy)} were; off by ${percent(error)} on average (Brier score ${group.brier_score.toFixed(3)}).`];
  if (ratio !== null) parts.push(`Times were ${pace(ratio) === "as expected" ? "as expected" : `${pace(ratio)} than expected`}.`);
  if (coverage !== null) parts.push(`${percent(coverage)} of them fell into their 80\u00a0% interval.`);
  return parts.join(" ");
}

function group(title, calibration, answers) {
  const timed = answers.filter((answer) => answer.actual_time_seconds > 0);
  const scatter = timed.length === 0
    ? [empty("None of the newest answers has both times.")]
    : [timeScatter(timed, title), tableBehind(`the newest ${count(answers.length)} predicted answers`, () => timeTable(answers), { lazy: true })];
  return [
    el("p", { className: "said" }, sentence(calibration)),
    el("div", { className: "charts" },
      el("div", {}, el("h3", {}, "Chance of a correct answer"), reliability(calibration.bins, title), tableBehind("predicted chance and solved", () => binTable(calibration.bins))),
      el("div", {}, el("h3", {}, "Time"), ...scatter))];
}

/** The content for a calibration report and the newest predicted answers. */
export function calibration({ overall, by_version: versions }, answers) {
  if (overall.n === 0) return [empty("No model has predicted a task that you finished yet. After five completions a training starts; the next tasks are predicted by its model.")];
  const shown = el("div", { ariaLive: "polite" }, ...group("all models", overall, answers));
  const select = el("select", { id: "version" },
    el("option", { value: "" }, `All models (${count(overall.n)})`),
    ...versions.map((each) => el("option", { value: each.lnirt_model_version }, `${versionName(each.lnirt_model_version)} (${count(each.calibration.n)})`)));
  select.addEventListener("change", () => {
    const chosen = versions.find((each) => each.lnirt_model_version === select.value);
    shown.replaceChildren(...(chosen === undefined
      ? group("all models", overall, answers)
      : group(versionName(select.value), chosen.calibration, answers.filter((answer) => answer.lnirt_model_version === select.value))));
  });
  return [el("div", { className: "choice" }, el("label", { htmlFor: "version" }, "Predicted by"), select), shown];
}
