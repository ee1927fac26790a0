// Days and times by the student's time zone: the one chosen on the account page, else the browser's.
// A day is a number: the days since 1 January 1970.
import { preference } from "./session.js";

/** The locale of all dates and numbers: that of the page's text, whatever the browser's is. */
export const LOCALE = document.documentElement.lang;

const DAY_MS = 86_400_000;

/** Options for a formatter of dates that come from `dateOf`. */
export const UTC = { timeZone: "UTC" };

export const dayNumber = (iso) => Date.parse(`${iso}T00:00:00Z`) / DAY_MS;
export const dateOf = (number) => new Date(number * DAY_MS);

const formatters = new Map();

/** Return a formatter of dates. It is created on first use and kept, because creating one takes milliseconds. */
export function formatter(options, locale = LOCALE) {
  const key = JSON.stringify([locale, options]);
  if (!formatters.has(key)) formatters.set(key, new Intl.DateTimeFormat(locale, options));
  return formatters.get(key);
}

export const browserZone = () => formatter().resolvedOptions().timeZone;

/** Return the zone that was chosen in this browser, or "" to follow the browser. */
export function chosenZone() {
  const zone = preference("zone").read() ?? "";
  try {
    formatter({ timeZone: zone || undefined }, "en");
    return zone;
  } catch (error) {
    if (error instanceof RangeError) return ""; // an older browser does not know the zone
    throw error;
  }
}

/** Choose a zone; "" follows the browser. */
export function chooseZone(zone) {
  if (zone === "") preference("zone").clear();
  else preference("zone").write(zone);
}

export const zone = () => chosenZone() || browserZone();

/** Return one part of the present moment in the student's zone. */
function partsOfNow(options) {
  const parts = formatter({ timeZone: zone(), ...options }, "en").formatToParts(new Date());
  return Object.fromEntries(parts.map(({ type, value }) => [type, value]));
}

/** Return the number of today. */
export function today() {
  const { year, month, day } = partsOfNow({ year: "numeric", month: "numeric", day: "numeric" });
  return Date.UTC(Number(year), Number(month) - 1, Number(day)) / DAY_MS;
}

/** Return whether a moment is on this day of the student's zone. */
export function isToday(iso) {
  const days = formatter({ timeZone: zone(), dateStyle: "short" }, "en");
  return days.format(new Date(iso)) === days.format(new Date());
}

/** Return the present offset from UTC in minutes. */
export function offsetMinutes() {
  const [, sign, hours, minutes] = /([+-])(\d+):(\d+)/.exec(partsOfNow({ timeZoneName: "longOffset" }).timeZoneName) ?? ["", "+", 0, 0];
  return Number(`${sign}1`) * (Number(hours) * 60 + Number(minutes));
}
