// Whether a typed answer is the accepted one: the same text after normalisation, or the same number within a tolerance.

const SIGN = /\s*([=+\-±*/^(),;:<>|%[\]{}])\s*/g; // spaces around these mean nothing
const NUMBER = /^([+-]?)(\d{1,3}(?:,\d{3})+|\d+)?(?:[.,](\d+))?(?:e([+-]?\d+))?(%?)$/;
const TOLERANCE = /^(.+?)(?:±|\+-)(.+)$/;
const EXACT = 1e-9; // numbers that differ by less than this share are the same: 0.1 + 0.2 is 0.3
const MIN_DECIMALS = 3; // of an answer that stands for a fraction, as 0.333 for 1/3

/** Return a text in the form in which answers are compared. */
export function normalised(text) {
  return text.normalize("NFKC").toLowerCase().replaceAll("−", "-").replace(/[·×]/g, "*").replace(/[‘’]/g, "'").replace(/[“”]/g, '"')
    .replace(/^\$+|\$+$/g, "").replace(/\s+/g, " ").replace(SIGN, "$1").trim().replace(/[.!]$/, "");
}

/** Return {value, step} of a number as it is written, or null. `step` is one unit of its last decimal, 0 without decimals. */
function decimal(text) {
  const match = NUMBER.exec(text);
  if (match === null) return null;
  const [, sign, whole, decimals = "", exponent = "0", percent] = match;
  if (whole === undefined && decimals === "") return null;
  const scale = 10 ** Number(exponent) / (percent === "" ? 1 : 100);
  const value = Number(`${sign}${(whole ?? "0").replaceAll(",", "")}.${decimals || "0"}`) * scale;
  return { value, step: decimals === "" ? 0 : 10 ** -decimals.length * scale, decimals: decimals.length };
}

/** Return the number that a text is, as a decimal or as a fraction such as `5/6`, or null. */
function readNumber(text) {
  const [top, bottom, ...more] = text.split("/").map(decimal);
  if (more.length > 0 || top === null || bottom === null) return null;
  if (bottom === undefined) return { ...top, fraction: false };
  return bottom.value === 0 ? null : { value: top.value / bottom.value, step: 0, decimals: 0, fraction: true };
}

/**
 * Return whether a typed answer is the accepted one. `3.14` accepts what rounds to it, `3.14 ± 0.1` what is that near,
 * and a fraction also its decimals, from the third on.
 */
export function matches(typed, accepted) {
  const [mine, theirs] = [normalised(typed), normalised(accepted)];
  if (mine === "" || theirs === "") return false;
  if (mine === theirs) return true;
  const [, centre, width] = TOLERANCE.exec(theirs) ?? [null, theirs, null];
  const [given, right, tolerance] = [readNumber(mine), readNumber(centre), width === null ? null : readNumber(width)];
  if (given === null || right === null || (width !== null && tolerance === null)) return false;
  const exact = EXACT * Math.max(1, Math.abs(right.value));
  if (tolerance !== null) return Math.abs(given.value - right.value) <= tolerance.value + exact;
  const rounded = right.fraction && given.decimals >= MIN_DECIMALS ? given.step : right.step;
  return Math.abs(given.value - right.value) <= rounded / 2 + exact;
}
