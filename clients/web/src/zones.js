// @ts-check
/** Times in a time zone. Days and hours follow the zone's clock changes; times are ms since 1970. */

const HOUR = 3_600_000;
const QUARTER = 900_000; // clocks change at quarters of an hour of UTC only
const KEPT_OFFSETS = 5000;

/** The zones that the page offers first; any other IANA name is valid too. */
export const ZONES = [
  { name: "UTC", label: "UTC" },
  { name: "browser", label: "This browser" },
  { name: "Europe/London", label: "London" },
  { name: "America/New_York", label: "New York" },
  { name: "Asia/Tokyo", label: "Tokyo" },
  { name: "Australia/Sydney", label: "Sydney" },
];

/** @type {Map<string, Intl.DateTimeFormat | null>} null: no such zone */
const formatters = new Map();
/** @type {Map<string, number>} zone and quarter of an hour -> offset */
const offsets = new Map();

/** The IANA name of a zone; "browser" is the browser's. @param {string} zone */
export function resolved(zone) {
  return zone === "browser" ? Intl.DateTimeFormat().resolvedOptions().timeZone : zone;
}

/** @param {string} zone */
export function valid(zone) {
  return zone === "browser" || formatter(zone) !== null;
}

/** All IANA names that the browser supports. @returns {string[]} */
export function names() {
  return ["UTC", ...Intl.supportedValuesOf("timeZone").filter((name) => name !== "UTC")];
}

/**
 * Milliseconds by which the zone is ahead of UTC at the time. An unknown zone counts as UTC.
 * @param {number} ms @param {string} zone
 */
export function offset(ms, zone) {
  if (zone === "UTC") return 0;
  const quarter = Math.floor(ms / QUARTER);
  const key = `${zone} ${quarter}`;
  const kept = offsets.get(key);
  if (kept !== undefined) return kept;
  if (offsets.size >= KEPT_OFFSETS) offsets.clear();
  const computed = computedOffset(quarter * QUARTER, zone);
  offsets.set(key, computed);
  return computed;
}

/** 12:34:56 @param {number} ms @param {string} zone */
export function time(ms, zone) {
  return iso(ms, zone).slice(11, 19);
}

/** 12:34 @param {number} ms @param {string} zone */
export function minute(ms, zone) {
  return iso(ms, zone).slice(11, 16);
}

/** 2025-11-18 @param {number} ms @param {string} zone */
export function date(ms, zone) {
  return iso(ms, zone).slice(0, 10);
}

/** 2025-11-18 12:34:56 @param {number} ms @param {string} zone */
export function dateTime(ms, zone) {
  return iso(ms, zone).slice(0, 19).replace("T", " ");
}

/** The text of a tooltip: the zone's time, then UTC. @param {number} ms @param {string} zone */
export function tooltip(ms, zone) {
  const utc = `${dateTime(ms, "UTC")} UTC`;
  return resolved(zone) === "UTC" ? utc : `${dateTime(ms, zone)} ${resolved(zone)} · ${utc}`;
}

/**
 * The first moment of the zone's day that contains the time.
 * @param {number} ms @param {string} zone
 */
export function dayStart(ms, zone) {
  const midnight = Math.floor((ms + offset(ms, zone)) / (24 * HOUR)) * 24 * HOUR; // on the zone's clock
  const guesses = [-24, -12, 0, 12, 24].map((hours) => midnight - offset(midnight + hours * HOUR, zone));
  const starts = guesses.filter((guess) => guess <= ms && guess + offset(guess, zone) === midnight);
  return starts.length ? Math.min(...starts) : firstOfDay(midnight, ms, zone);
}

/**
 * The first moments of the zone's days in [from, to).
 * @param {number} from @param {number} to @param {string} zone
 */
export function dayStarts(from, to, zone) {
  const starts = [];
  let start = dayStart(from, zone);
  while (start < to) {
    if (start >= from) starts.push(start);
    start = dayStart(start + 36 * HOUR, zone); // days have 23 to 25 hours
  }
  return starts;
}

/**
 * The date of the trading day of a `1d` bar that ends at `endTime`: 17:00 New York for FX, 00:00 UTC
 * for others. The last millisecond of both lies in the UTC date of the trading day.
 * @param {number} endTime
 */
export function tradingDay(endTime) {
  return date(endTime - 1, "UTC");
}

/** @param {number} ms @param {string} zone */
function iso(ms, zone) {
  return new Date(ms + offset(ms, zone)).toISOString();
}

/** Midnight does not exist on some days: the first moment after it. @param {number} midnight @param {number} ms @param {string} zone */
function firstOfDay(midnight, ms, zone) {
  let start = Math.floor(ms / QUARTER) * QUARTER;
  while (start - QUARTER + offset(start - QUARTER, zone) >= midnight) start -= QUARTER;
  return start;
}

/** @param {number} ms @param {string} zone */
function computedOffset(ms, zone) {
  const format = formatter(resolved(zone));
  if (!format) return 0;
  /** @type {Record<string, number>} */
  const part = {};
  for (const { type, value } of format.formatToParts(ms)) part[type] = Number(value);
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - ms;
}

/** @param {string} zone */
function formatter(zone) {
  const kept = formatters.get(zone);
  if (kept !== undefined) return kept;
  let made = null;
  try {
    made = new Intl.DateTimeFormat("en-US", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit",
      hour: "2-digit", minute: "2-digit", second: "2-digit",
    });
  } catch {
    made = null; // no such zone
  }
  formatters.set(zone, made);
  return made;
}
