// @ts-check
/** The bars of one chart, oldest first. Prices stay the texts of the API. Pure. */

import { tradingDay } from "../zones.js";

export const INTERVALS = /** @type {const} */ (["1m", "5m", "15m", "1h", "4h", "1d"]);
export const FIRST_PAGE = 300;
export const NEXT_PAGE = 500;
export const MAX_BARS = 5000; // held by a chart
export const MAX_SET = 2000; // given to the chart at once
const DROPPED = 500; // bars that leave together, so that a full chart is not set again with each bar

/**
 * @typedef {{start_time: string, end_time: string, open: string, high: string, low: string,
 *   close: string, volume: string, trades?: number|null, complete: boolean}} Candle
 * @typedef {{start: number, end: number, at: number, candle: Candle}} Bar
 *   `start`, `end` in ms; `at`: the place on the time axis in s
 */

/** @param {string|null|undefined} text */
export function isInterval(text) {
  return INTERVALS.some((each) => each === text);
}

/**
 * A bar of a day lies at midnight of its trading day, so that labels and months are those of the day.
 * @param {Candle} candle @param {string} interval @returns {Bar}
 */
export function bar(candle, interval) {
  const [start, end] = [Date.parse(candle.start_time), Date.parse(candle.end_time)];
  const at = interval === "1d" ? Date.parse(`${tradingDay(end)}T00:00:00Z`) : start;
  return { start, end, at: at / 1000, candle };
}

export class Bars {
  /** @param {string} interval */
  constructor(interval) {
    this.interval = interval;
    /** @type {Bar[]} */
    this.list = [];
    this.complete = false; // true: there are no older bars
  }

  get last() {
    return this.list.at(-1) ?? null;
  }

  /** Whether more history may be loaded. */
  get canGrow() {
    return !this.complete && this.list.length > 0 && this.list.length < MAX_BARS;
  }

  /**
   * Insert a candle, or replace the one with the same start.
   * @param {Candle} candle
   * @returns {{bar: Bar, kind: "same"|"changed"|"appended"|"inserted"}}
   */
  put(candle) {
    const made = bar(candle, this.interval);
    const place = this.place(made.start);
    const known = this.list[place];
    if (known?.start === made.start) {
      if (equal(known.candle, candle)) return { bar: known, kind: "same" };
      this.list[place] = made;
      return { bar: made, kind: "changed" };
    }
    this.list.splice(place, 0, made);
    return { bar: made, kind: place === this.list.length - 1 ? "appended" : "inserted" };
  }

  /** Insert older candles, up to the limit. @param {Candle[]} candles in any order */
  addOlder(candles) {
    const room = MAX_BARS - this.list.length;
    const oldest = this.list[0]?.start ?? Infinity;
    const older = candles.map((each) => bar(each, this.interval)).filter(({ start }) => start < oldest);
    older.sort((a, b) => a.start - b.start);
    this.list = [...older.slice(Math.max(0, older.length - room)), ...this.list];
    return Math.min(room, older.length);
  }

  /**
   * Take the newest candles of REST. Bars before a hole are dropped: pages fill it again.
   * @param {Candle[]} candles in any order
   */
  takeNewest(candles) {
    const made = candles.map((each) => bar(each, this.interval)).sort((a, b) => a.start - b.start);
    if (made.length === 0) return;
    const older = this.list.filter(({ start }) => start < made[0].start);
    const joined = older.length < this.list.length; // a bar of both
    const newer = this.list.filter(({ start }) => start > made[made.length - 1].start);
    this.list = [...(joined ? older : []), ...made, ...newer];
    if (!joined) this.complete = false;
  }

  /** Drop the oldest bars if there are too many. Whether any was dropped. */
  trim() {
    if (this.list.length <= MAX_BARS) return false;
    this.list.splice(0, this.list.length - MAX_BARS + DROPPED);
    this.complete = false;
    return true;
  }

  /** The index of the first bar that does not start before the time. @param {number} start ms */
  place(start) {
    let [low, high] = [0, this.list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.list[middle].start < start) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/**
 * The part of the list to give to the chart: the newest bars if the end is visible, else those around
 * the visible ones. `visible`: indices of the list, null before the first drawing.
 * @param {number} length @param {{from: number, to: number}|null} visible
 * @returns {{from: number, to: number}} `to` is exclusive
 */
export function drawnPart(length, visible) {
  if (length <= MAX_SET || visible === null || visible.to >= length - MAX_SET / 4) {
    return { from: Math.max(0, length - MAX_SET), to: length };
  }
  const middle = Math.round((visible.from + visible.to) / 2);
  const from = Math.min(Math.max(0, middle - MAX_SET / 2), length - MAX_SET);
  return { from, to: from + MAX_SET };
}

/** @param {Candle} a @param {Candle} b */
function equal(a, b) {
  return a.open === b.open && a.high === b.high && a.low === b.low && a.close === b.close &&
    a.volume === b.volume && a.complete === b.complete && a.trades === b.trades && a.end_time === b.end_time;
}
