// Charts drawn by uPlot in the colours of the page, and the tables behind them. See decision 15.
// uPlot is a classic script, which the page loads before its modules.
import { el } from "./ui.js";

const { uPlot } = window;

const COLOURS = ["text", "soft", "line", "card", "tint", "accent", "good", "bad", "warn"];
const FONT = "12px system-ui, sans-serif";
const plots = new Set();
let palette = null;

/** Return the current colours of the style sheet by name. A canvas cannot use CSS variables. */
export function colours() {
  if (palette === null) {
    const style = getComputedStyle(document.documentElement);
    palette = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return palette;
}

window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  palette = null;
  for (const plot of plots) {
    if (plot.root.isConnected) plot.redraw(false, true);
    else plots.delete(plot);
  }
});

/** Return texts without those that repeat the one before: a fine axis would read 50 %, 50 %, 51 %. */
const withoutRepeats = (texts) => texts.map((text, index) => (text === texts[index - 1] ? "" : text));

/** Return a plain axis; `format` formats a value. Other options are uPlot's. */
export function axis({ format, ...options }) {
  const line = { stroke: () => colours().line, width: 1 };
  return {
    stroke: () => colours().soft,
    font: FONT,
    labelFont: FONT,
    labelSize: 18,
    grid: line,
    ticks: { show: false },
    border: { show: true, ...line },
    values: (plot, splits) => withoutRepeats(splits.map(format)),
    ...options,
  };
}

/** Return a series in a colour of the page. Other options are uPlot's. */
export function series(colour, options = {}) {
  return { stroke: () => colours()[colour], ...options };
}

export const bars = () => uPlot.paths.bars({ size: [0.6, 26] });

/** Draw a dashed line between two points given in values of the axes. To be called in a hook of uPlot. */
export function drawDashedLine(plot, [fromX, fromY], [toX, toY]) {
  const { ctx } = plot;
  ctx.save();
  ctx.strokeStyle = colours().soft;
  ctx.lineWidth = uPlot.pxRatio;
  ctx.setLineDash([5 * uPlot.pxRatio, 5 * uPlot.pxRatio]);
  ctx.beginPath();
  ctx.moveTo(plot.valToPos(fromX, "x", true), plot.valToPos(fromY, "y", true));
  ctx.lineTo(plot.valToPos(toX, "x", true), plot.valToPos(toY, "y", true));
  ctx.stroke();
  ctx.restore();
}

export const pixelRatio = () => uPlot.pxRatio;

function legend(entries) {
  return el("ul", { className: "legend" }, ...entries.map(([kind, text]) => el("li", {}, el("span", { className: `key ${kind}`, ariaHidden: "true" }), text)));
}

/**
 * Return a figure with a legend, the chart, and a line that describes what is under the pointer.
 *
 * `label` describes the chart to screen readers; the figures are in a table behind it. `keys` are the entries of the
 * legend as [CSS classes, text]. `describe(plot)` returns the text of the line, or null to show `hint`. `options` and
 * `data` are uPlot's.
 */
export function chart({ label, keys, options, data, describe, hint, square = false }) {
  const place = el("div", { className: square ? "plot square" : "plot", role: "img", ariaLabel: label });
  const readout = el("p", { className: "sub readout", ariaHidden: "true" }, hint);
  let plot = null;

  function updateReadout() {
    const text = describe(plot) ?? hint;
    if (readout.textContent !== text) readout.textContent = text;
  }

  function create(width, height) {
    plot = new uPlot({
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, points: { show: false } },
      ...options,
      width,
      height,
      hooks: { ...options.hooks, setCursor: [updateReadout] },
    }, data, place);
    plots.add(plot);
  }

  // The style sheet sets the height of the place, so drawing does not change its size and trigger the observer again.
  new ResizeObserver(([entry]) => {
    const { width, height } = entry.contentRect;
    if (width === 0) return;
    if (plot === null) create(width, height);
    else plot.setSize({ width, height });
  }).observe(place);
  return el("figure", { className: "chart" }, legend(keys), place, readout);
}

// ---- tables --------------------------------------------------------------------------------------------------

export const numberCell = (...children) => el("td", { className: "number" }, ...children);

export function table(caption, names, rows) {
  return el("table", {},
    el("caption", { className: "hidden" }, caption),
    el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...rows));
}

/** Return a folded table. A `lazy` one is created when it is first opened. */
export function foldedTable(name, create, { lazy = false } = {}) {
  const content = el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: `Table: ${name}` });
  const folded = el("details", { className: "data" }, el("summary", {}, `Table: ${name}`), content);
  if (lazy) folded.addEventListener("toggle", () => content.replaceChildren(create()), { once: true });
  else content.append(create());
  return folded;
}

export const emptyMessage = (...content) => el("p", { className: "empty" }, ...content);
