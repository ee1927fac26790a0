// Predicted and actual results, of all models or of one: the chance in bins, and the time of each answer.
import { paceSentence } from "./analytics_topics.js";
import { axis, chart, colours, drawDashedLine, emptyMessage, foldedTable, numberCell, pixelRatio, table } from "./charts.js";
import { topicNames } from "./topic_names.js";
import { DIFFICULTY, count, counted, duration, el, exactTime, excerpt, percent, percentRange, timeElement } from "./ui.js";

const KINDS = { embedding: "Personal model", lnirt: "Population model" };
const TIME_TICKS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 21_600, 86_400]; // seconds
const COUNT_BARS_HEIGHT = 0.16; // as a share of the chart
const RANGE = "Range (80\u00a0%)";

/** Format `embedding_20260401T120000Z-0a1b2c3d` for reading. A name of another form is returned as it is. */
function versionName(name) {
  const match = /^(\w+?)_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-/.exec(name);
  if (match === null) return name;
  const [, kind, year, month, day, hour, minute, second] = match;
  return `${KINDS[kind] ?? kind} from ${exactTime(Date.UTC(year, month - 1, day, hour, minute, second))}`;
}

// ---- chance of a correct answer ------------------------------------------------------------------------------

/** Draw the number of tasks in each bin as bars at the bottom of the chart. */
function drawCounts(plot, bins) {
  const { ctx, bbox } = plot;
  const largest = Math.max(...bins.map((bin) => bin.n));
  ctx.save();
  ctx.fillStyle = colours().line;
  for (const bin of bins) {
    const left = plot.valToPos(bin.low, "x", true);
    const width = plot.valToPos(bin.high, "x", true) - left;
    const height = Math.max(pixelRatio(), (bin.n / largest) * bbox.height * COUNT_BARS_HEIGHT);
    ctx.fillRect(left + width * 0.08, bbox.top + bbox.height - height, width * 0.84, height);
  }
  ctx.restore();
}

/** Draw each bin as a dot, larger for more tasks, with a whisker for the 80 % interval. */
function drawBins(plot, bins) {
  const { ctx } = plot;
  const ratio = pixelRatio();
  const largest = Math.max(...bins.map((bin) => bin.n));
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
    ctx.arc(x, plot.valToPos(bin.actual, "y", true), (3 + 5 * Math.sqrt(bin.n / largest)) * ratio, 0, 2 * Math.PI);
    ctx.fill();
  }
  ctx.restore();
}

function describeBin(bin) {
  return `Chance ${percentRange(bin.low, bin.high)}: ${counted(bin.n, "task")}, ${percent(bin.predicted)} predicted, ${percent(bin.actual)} correct (${percentRange(bin.actual_low, bin.actual_high)})`;
}

/** Return a reliability diagram: the share of correct answers by predicted chance. */
function reliabilityChart(bins, title) {
  const share = { range: [0, 1] };
  const shareAxis = (label, size) => axis({ format: percent, label, size, splits: [0, 0.25, 0.5, 0.75, 1] });
  return chart({
    label: `Share of correct answers by predicted chance, ${title}: ${bins.map(describeBin).join("; ")}.`,
    square: true,
    keys: [["dot", "correct answers"], ["whisker", "80\u00a0% interval"], ["quiet", "number of tasks"], ["dashed", "as predicted"]],
    hint: "Above the dashed line, you did better than predicted.",
    describe(plot) {
      const x = plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null;
      const bin = bins.find(({ low, high }) => x !== null && x >= low && x <= high);
      return bin === undefined ? null : describeBin(bin);
    },
    options: {
      scales: { x: { time: false, ...share }, y: share },
      axes: [shareAxis("Predicted chance", 30), shareAxis("Correct answers", 48)],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        drawAxes: [(plot) => { drawCounts(plot, bins); drawDashedLine(plot, [0, 0], [1, 1]); }],
        draw: [(plot) => drawBins(plot, bins)],
      },
    },
    data: [bins.map((bin) => bin.predicted), bins.map((bin) => bin.actual)],
  });
}

function binTable(bins) {
  return table("Predicted chance and correct answers", ["Predicted chance", "Tasks", "Average prediction", "Correct", RANGE], bins.map((bin) => el("tr", {},
    el("th", { scope: "row" }, `${percent(bin.low)} to ${percent(bin.high)}`),
    numberCell(count(bin.n)),
    numberCell(percent(bin.predicted)),
    numberCell(percent(bin.actual)),
    numberCell(`${percent(bin.actual_low)} to ${percent(bin.actual_high)}`))));
}

// ---- time ----------------------------------------------------------------------------------------------------

/** Draw each answer: a circle if it is correct, a square if not, so that the two differ also without colours. */
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
    else ctx.rect(x - size * 0.9, y - size * 0.9, size * 1.8, size * 1.8);
    ctx.fill();
  }
  ctx.restore();
}

/** Return the answer nearest to the pointer, or null. */
function nearest(plot, answers) {
  const { left, top } = plot.cursor;
  if (!(left >= 0)) return null;
  const distance = ({ predicted_time_seconds: x, actual_time_seconds: y }) => Math.hypot(plot.valToPos(x, "x") - left, plot.valToPos(y, "y") - top);
  return answers.reduce((best, answer) => (distance(answer) < distance(best) ? answer : best));
}

function describeTime(answer, nameOf) {
  return `${excerpt(nameOf(answer), 40)}, ${DIFFICULTY[answer.difficulty]}: predicted ${duration(answer.predicted_time_seconds)}, took ${duration(answer.actual_time_seconds)}`;
}

/** Return a scatter plot of predicted and actual times on logarithmic axes. */
function timeChart(answers, title) {
  const times = answers.flatMap((answer) => [answer.predicted_time_seconds, answer.actual_time_seconds]);
  const range = [Math.min(...times) / 1.25, Math.max(...times) * 1.25];
  const splits = TIME_TICKS.filter((value) => value >= range[0] && value <= range[1]);
  const scale = { distr: 3, range: () => range }; // 3 is uPlot's logarithmic scale
  const timeAxis = (label, size) => axis({ format: duration, label, size, splits: () => splits, filter: (plot, values) => values });
  const slower = answers.filter((answer) => answer.actual_time_seconds > answer.predicted_time_seconds).length;
  const nameOf = topicNames(answers);
  const sorted = [...answers].sort((one, other) => one.predicted_time_seconds - other.predicted_time_seconds); // uPlot needs ascending x
  return chart({
    label: `Predicted and actual times, ${title}: ${count(slower)} of ${counted(answers.length, "answer")} took longer than predicted. The table lists them all.`,
    square: true,
    keys: [["dot good", "correct"], ["bad", "incorrect"], ["dashed", "as predicted"]],
    hint: "Above the dashed line, you took longer than predicted.",
    describe(plot) {
      const answer = nearest(plot, sorted);
      return answer === null ? null : describeTime(answer, nameOf);
    },
    options: {
      scales: { x: { time: false, ...scale }, y: scale },
      axes: [timeAxis("Predicted time", 30), timeAxis("Actual time", 64)],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        drawAxes: [(plot) => drawDashedLine(plot, [range[0], range[0]], [range[1], range[1]])],
        draw: [(plot) => drawTimes(plot, sorted)],
      },
    },
    data: [sorted.map((answer) => answer.predicted_time_seconds), sorted.map((answer) => answer.actual_time_seconds)],
  });
}

function timeTable(answers) {
  const nameOf = topicNames(answers);
  return table("Recent predictions", ["Topic", "Difficulty", "Predicted time", "Actual time", "Predicted chance", "Result", "When"], answers.map((answer) => el("tr", {},
    el("th", { scope: "row", dir: "auto" }, nameOf(answer)),
    el("td", {}, DIFFICULTY[answer.difficulty] ?? answer.difficulty),
    numberCell(duration(answer.predicted_time_seconds)),
    numberCell(duration(answer.actual_time_seconds)),
    numberCell(percent(answer.predicted_correct)),
    el("td", {}, answer.is_correct ? "Correct" : "Incorrect"),
    el("td", { className: "sub" }, answer.completed_at === null ? "–" : timeElement(answer.completed_at)))));
}

// ---- both ----------------------------------------------------------------------------------------------------

function summarise({ n, accuracy, predicted_accuracy: predicted, expected_calibration_error: error, brier_score: brier, time_ratio: ratio, interval_coverage: coverage }) {
  const sentences = [`${counted(n, "prediction")}: ${percent(predicted)} of the answers were expected to be correct, and ${percent(accuracy)} were.`];
  sentences.push(`The calibration error is ${percent(error)} (Brier score ${brier.toFixed(3)}).`);
  if (ratio !== null) sentences.push(paceSentence(ratio));
  if (coverage !== null) sentences.push(`${percent(coverage)} of the times were within their 80\u00a0% interval.`);
  return sentences.join(" ");
}

/** Return the summary, both charts and their tables for the answers predicted by all models or by one. */
function group(title, calibration, answers) {
  const timed = answers.filter((answer) => answer.actual_time_seconds > 0);
  const times = timed.length === 0
    ? [emptyMessage("None of the recent answers has both a predicted and an actual time.")]
    : [timeChart(timed, title), foldedTable(counted(answers.length, "recent prediction"), () => timeTable(answers), { lazy: true })];
  return [
    el("p", { className: "said" }, summarise(calibration)),
    el("div", { className: "charts" },
      el("div", {}, el("h3", {}, "Chance of a correct answer"), reliabilityChart(calibration.bins, title), foldedTable("predicted chance and correct answers", () => binTable(calibration.bins))),
      el("div", {}, el("h3", {}, "Time"), ...times))];
}

/** Return the content of the section for a calibration report and the most recent predicted answers. */
export function calibration({ overall, by_version: versions }, answers) {
  if (overall.n === 0) return [emptyMessage("No model has predicted a task that you have finished. Once there are enough answers, a model is trained and predicts your next tasks.")];
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
