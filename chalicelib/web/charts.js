// Charts by uPlot, in the page's own colours: drawn again when the scheme or the width changes.
// uPlot is a classic script: the page names it before its modules, and it is window.uPlot here.
import { el } from "./ui.js";

const { uPlot } = window;

const COLOURS = ["text", "soft", "line", "card", "tint", "accent", "good", "bad", "warn"];
const drawn = new Set();
let palette = null;

/** The style sheet's colours as they are now: a canvas knows no variables. */
export function colours() {
  if (palette === null) {
    const style = getComputedStyle(document.documentElement);
    palette = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return palette;
}

window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  palette = null;
  for (const plot of drawn) {
    if (plot.root.isConnected) plot.redraw(false, true);
    else drawn.delete(plot);
  }
});

/** An axis with few lines; `format` makes the text of a value. */
export function axis({ format, ...more }) {
  const line = { stroke: () => colours().line, width: 1 };
  return {
    stroke: () => colours().soft,
    font: "12px system-ui, sans-serif",
    grid: line,
    ticks: { show: false },
    border: { show: true, ...line },
    values: (plot, splits) => splits.map(format),
    ...more,
  };
}

/** A series that is drawn in a colour of the page. */
export function series(colour, more = {}) {
  return { stroke: () => colours()[colour], ...more };
}

export const bars = () => uPlot.paths.bars({ size: [0.6, 26] });

/** A dashed line through two points, in canvas pixels; in a hook of uPlot's. */
export function dashed(plot, [fromX, fromY], [toX, toY]) {
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
 * A figure with its legend, the chart, and a line that says what is under the pointer.
 *
 * `label` is what a screen reader says in its place; the figures themselves are in the table behind it. `describe(plot)`
 * gives the text of the line, or null for `hint`.
 */
export function chart({ label, keys = [], options, data, describe = () => null, hint = "" }) {
  const place = el("div", { className: "plot", role: "img", ariaLabel: label });
  const readout = el("p", { className: "sub readout", ariaHidden: "true" }, hint);
  let plot = null;

  function say() {
    const text = describe(plot) ?? hint;
    if (readout.textContent !== text) readout.textContent = text;
  }

  function make(width, height) {
    const { hooks = {}, ...rest } = options;
    plot = new uPlot({
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, points: { show: false } },
      ...rest,
      width,
      height,
      hooks: { ...hooks, setCursor: [say] },
    }, data, place);
    drawn.add(plot);
  }

  // The place has its height from the style sheet, so what is drawn in it does not change what is observed.
  new ResizeObserver(([entry]) => {
    const { width, height } = entry.contentRect;
    if (width === 0) return;
    if (plot === null) make(width, height);
    else plot.setSize({ width, height });
  }).observe(place);
  return el("figure", { className: "chart" }, keys.length > 0 ? legend(keys) : null, place, readout);
}

// ---- tables behind charts ------------------------------------------------------------------------------------

export const numberCell = (...children) => el("td", { className: "number" }, ...children);

export function table(caption, names, rows) {
  return el("table", {},
    el("caption", { className: "hidden" }, caption),
    el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...rows));
}

/** A table that is folded away behind a chart; a long one is only made when it is opened. */
export function tableBehind(name, make, { lazy = false } = {}) {
  const inside = el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: `${name}, as a table` });
  const folded = el("details", { className: "data" }, el("summary", {}, `Table: ${name}`), inside);
  if (lazy) folded.addEventListener("toggle", () => inside.replaceChildren(make()), { once: true });
  else inside.append(make());
  return folded;
}

export const empty = (...content) => el("p", { className: "empty" }, ...content);
