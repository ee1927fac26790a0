// The text of an exercise: formulas and a subset of Markdown. Everything else is shown as it is written, HTML too: the
// elements are made here, and a student's text only ever becomes text in them.
//
// Exercises contain dollars, asterisks and underscores that mean themselves: prices, products, names in programs. So a mark
// counts only where it can hardly mean itself, and unclear text stays as it is.
import { formulaElement } from "./formulas.js";
import { el } from "./ui.js";

const MAX_LENGTH = 20_000; // longer texts are shown as they are written
const MAX_KEPT = 300; // and so are further formulas and pieces of code: hundreds would block the page
const LETTER = String.raw`[\p{Script=Latin}\p{N}`; // an open class of characters, which ends a class at its use

/** Parts in which nothing else is a mark: code, formulas, and an escaped dollar. */
const KEPT = new RegExp([
  String.raw`(?<=^|\n)\x60{3}[^\n\x60]*\n(?<block>[^]{0,8000}?)\n?\x60{3}[ ]*(?=\n|$)`,
  String.raw`\x60(?<code>[^\x60\n]+)\x60`,
  String.raw`(?<escaped>\\\$)`,
  String.raw`\$\$(?<display>(?:[^$\\]|\\[^])+)\$\$`,
  String.raw`(?<!\\)\\\[(?<bracketed>(?:\\\\|(?!\\[\[\]])[^])+?)\\\]`,
  String.raw`(?<!\\)\\\((?<inline>(?:\\\\|(?!\\[()])[^\n])+?)\\\)`,
  String.raw`(?<!${LETTER}\\$])\$(?![\s$])(?<dollars>(?:[^$\\\n]|\\[^\n])*?(?:[^\s$\\]|\\\S))\$(?!${LETTER}$])`,
].join("|"), "gu");

const BEFORE = String.raw`(?<=^|[\s(\p{Lo}])`;
const AFTER = String.raw`(?=$|[\s).,;:!?\p{Lo}-])`;
const MARKS = new RegExp([
  String.raw`\uE000(?<kept>\d+)\uE001`,
  String.raw`${BEFORE}\*\*(?=[\p{L}\p{N}"'($\uE000*])(?<strong>(?:[^*\n]|\*(?!\*))+?)(?<!\s)\*\*${AFTER}`,
  String.raw`${BEFORE}\*(?=[\p{L}"'\uE000])(?<starred>[^*\n]+)(?<!\s)\*${AFTER}`,
  String.raw`${BEFORE}_(?=[\p{L}"'\uE000])(?<underlined>[^_\n]+)(?<!\s)_${AFTER}`,
  String.raw`!?\[(?<label>[^[\]\n]+)\]\((?<address>https?:\/\/[^\s()<>"]+)\)`,
].join("|"), "gu");

const HEADING = /^#{1,6} +(\S.*)$/u;
const ITEM = /^ {0,3}([-*+]|\d{1,3}\.) +(\S.*)$/u;

/** Return whether a text between dollars is more likely prose between two prices than a formula. */
function isProse(text) {
  const words = text.replace(/\\[a-z]+|\{[^{}]*\}/giu, " ");
  if (/[\p{Ll}\p{Lo}]{2,}\s+\p{L}{2,}/u.test(words)) return true;
  if (/[\\^_=<>+*/|-]/u.test(text)) return false;
  return /\p{L}{2,}[\s)]|[\s(]\p{L}{2,}|(?![\p{Script=Latin}\p{Script=Greek}])\p{L}/u.test(text);
}

/** Return the element of a part that is kept, or null if the part is plain text after all. */
function keptElement(source, { block, code, display, bracketed, inline, dollars }) {
  if (block !== undefined) return el("pre", {}, el("code", {}, block));
  if (code !== undefined) return el("code", {}, code);
  if (dollars !== undefined && isProse(dollars)) return null;
  const formula = display ?? bracketed;
  return formula === undefined ? formulaElement(inline ?? dollars, source, false) : formulaElement(formula, source, true);
}

/** Return the nodes of a text without blocks. `kept` has the elements of the parts that are kept. */
function inlineNodes(text, kept) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(MARKS)) {
    const { kept: number, strong, starred, underlined, label, address } = match.groups;
    let node = kept[number] ?? match[0];
    if (strong !== undefined) node = el("strong", {}, ...inlineNodes(strong, kept));
    else if (label !== undefined) node = el("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, ...inlineNodes(label, kept));
    else if (number === undefined) node = el("em", {}, ...inlineNodes(starred ?? underlined, kept));
    nodes.push(text.slice(end, match.index), node);
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

/** Return the list that begins at a line, as {kind, items, length}; null if there are fewer than two items. */
function listAt(lines, start) {
  const kindOf = (marker) => (/\d/u.test(marker) ? "number" : marker);
  const [, first = ""] = ITEM.exec(lines[start]) ?? [];
  const items = [];
  let end = start;
  for (; end < lines.length; end += 1) {
    const [, marker, text] = ITEM.exec(lines[end]) ?? [];
    if (marker !== undefined && kindOf(marker) === kindOf(first)) items.push({ marker, text });
    else if (items.length > 0 && /^\s+\S/u.test(lines[end])) items.at(-1).text += `\n${lines[end]}`;
    else break;
  }
  return items.length < 2 ? null : { kind: kindOf(first), items, length: end - start };
}

function listElement({ kind, items }, kept) {
  const item = ({ marker, text }) => {
    const node = el("li", {}, ...inlineNodes(text, kept));
    if (kind === "number") node.value = Number.parseInt(marker, 10);
    return node;
  };
  return el(kind === "number" ? "ol" : "ul", { data: { marker: kind } }, ...items.map(item));
}

/** Return the blocks of a text: headings, lists, and paragraphs in which line breaks stay. */
function blocks(text, kept) {
  const lines = text.split("\n");
  const found = [];
  let paragraph = [];
  const flush = () => {
    const joined = paragraph.join("\n").replace(/^(?:[^\S\n]*\n)+|\s+$/gu, "");
    if (joined !== "") found.push(el("p", {}, ...inlineNodes(joined, kept)));
    paragraph = [];
  };
  for (let index = 0; index < lines.length; index += 1) {
    const program = kept[/^\uE000(\d+)\uE001 *$/u.exec(lines[index])?.[1]];
    if (program?.tagName === "PRE") {
      flush();
      found.push(program);
      continue;
    }
    const heading = (lines[index - 1] ?? "").trim() === "" ? HEADING.exec(lines[index]) : null; // else a comment in a program
    const list = listAt(lines, index);
    if (heading === null && list === null) paragraph.push(lines[index]);
    else {
      flush();
      found.push(list === null ? el("h4", {}, ...inlineNodes(heading[1], kept)) : listElement(list, kept));
      if (list !== null) index += list.length - 1;
    }
  }
  flush();
  return found;
}

/** Let the keyboard scroll a text that is wider than its card, as a long formula can make it. */
function scrollable(node) {
  const measure = () => { if (node.scrollWidth > node.clientWidth) node.tabIndex = 0; };
  node.addEventListener("drawn", measure);
  return node;
}

/** Return an element that shows a text with its formulas and Markdown. */
export function richText(text) {
  const kept = [];
  const marked = text.length > MAX_LENGTH ? text : text.replaceAll(/\r\n?/gu, "\n").replace(KEPT, (source, ...rest) => {
    const groups = rest.at(-1);
    if (kept.length === MAX_KEPT) return source;
    if (groups.escaped !== undefined) return "$";
    const node = keptElement(source, groups);
    return node === null ? source : `\uE000${kept.push(node) - 1}\uE001`;
  });
  const content = text.length > MAX_LENGTH ? [el("p", {}, text)] : blocks(marked, kept);
  for (const block of content) block.dir = "auto"; // each finds the direction of its script
  return scrollable(el("div", { className: "text" }, ...content));
}
