// Formulas, drawn by KaTeX. Library, style sheet and fonts are loaded when a page shows its first formula.
import { el } from "./ui.js";

const MAX_LENGTH = 2000;

/** Return the options of one formula. Two commands would set styles in a way that the Content-Security-Policy forbids. */
const options = (displayMode) => ({
  displayMode,
  throwOnError: true,
  strict: false,
  trust: false,
  maxExpand: 200,
  maxSize: 10,
  macros: { "\\pmb": "\\boldsymbol{#1}", "\\fcolorbox": "\\boxed{\\textcolor{#1}{}\\colorbox{#2}{#3}}" },
});

// The faces of each family: a request for another one would be a 404.
const REGULAR = ["Regular"];
const FACES = {
  AMS: REGULAR,
  Caligraphic: ["Regular", "Bold"],
  Fraktur: ["Regular", "Bold"],
  Main: ["Regular", "Bold", "Italic", "BoldItalic"],
  Math: ["Italic", "BoldItalic"],
  SansSerif: ["Regular", "Bold", "Italic"],
  Script: REGULAR,
  Size1: REGULAR,
  Size2: REGULAR,
  Size3: REGULAR,
  Size4: REGULAR,
  Typewriter: REGULAR,
};

const asset = (name) => new URL(name, import.meta.url).href;
const requested = new Set(); // fonts by name
let library = null;

async function load() {
  const style = el("link", { rel: "stylesheet", href: asset("katex.min.css") });
  const styled = new Promise((resolve, reject) => { Object.assign(style, { onload: resolve, onerror: reject }); });
  document.head.append(style);
  await Promise.all([styled, import("./katex.min.js")]);
  return globalThis.katex;
}

/** Load a font. The server sends it as Base64, and the Content-Security-Policy allows fonts only from a script. */
async function loadFont(family, face) {
  const name = `KaTeX_${family}-${face}`;
  if (requested.has(name)) return;
  requested.add(name);
  const text = await (await fetch(asset(`${name}.woff2`))).text();
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const [weight, style] = [face.startsWith("Bold") ? "bold" : "normal", face.endsWith("Italic") ? "italic" : "normal"];
  document.fonts.add(await new FontFace(`KaTeX_${family}`, bytes, { weight, style }).load());
}

/** Load the fonts that a formula on the page uses. */
async function loadFonts(node) {
  const fonts = [...node.querySelectorAll(".katex-html *")].map((part) => {
    const { fontFamily, fontStyle, fontWeight } = getComputedStyle(part);
    const family = /KaTeX_(\w+)/.exec(fontFamily)?.[1] ?? "Main";
    const face = `${Number(fontWeight) > 500 ? "Bold" : ""}${fontStyle === "italic" ? "Italic" : ""}` || "Regular";
    return [family, FACES[family].includes(face) ? face : FACES[family][0]];
  });
  await Promise.all(fonts.map(([family, face]) => loadFont(family, face)));
}

async function draw(node, formula, displayMode) {
  const source = node.textContent;
  try {
    library ??= load();
    const katex = await library;
    katex.render(formula, node, options(displayMode));
    node.classList.add("drawn");
    await loadFonts(node);
    node.dispatchEvent(new Event("drawn", { bubbles: true }));
  } catch (error) {
    if (!node.classList.contains("drawn")) node.textContent = source;
    console.info(`a formula is shown as it is written, or without its fonts: ${error.message}`);
  }
}

/** Return an element that shows a formula: `source` as it is written at first, and for good if it cannot be drawn. */
export function formulaElement(formula, source, displayMode) {
  const node = el("span", { className: "formula" }, source);
  if (formula.length <= MAX_LENGTH) draw(node, formula, displayMode);
  return node;
}
