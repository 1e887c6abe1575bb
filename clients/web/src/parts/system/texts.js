// @ts-check
/** Texts of the system view. */

import { age, NONE } from "../../format.js";
import { dateTime, time, tooltip } from "../../zones.js";

const GOOD = new Set(["live", "connected", "succeeded", "healthy", "finished"]);

/**
 * A state in words with a mark: ● good, ■ ended, ! otherwise.
 * @param {string|null|undefined} state
 * @param {string} [title]
 */
export function stateText(state, title = "") {
  if (!state) return { text: NONE, title: "not known" };
  if (state === "ended") return { text: `■ ${state}`, title, class: "dim" };
  return GOOD.has(state) ? { text: `● ${state}`, title, class: "system-ok" } : { text: `! ${state}`, title, class: "panels-warn" };
}

/**
 * A moment in the zone of the page; of another day with the date.
 * @param {import("../../types.js").App} app
 * @param {string|null|undefined} moment
 */
export function momentText(app, moment) {
  const ms = app.clock.parse(moment);
  if (!Number.isFinite(ms)) return { text: NONE, title: "none" };
  const zone = app.settings.get("zone");
  const full = dateTime(ms, zone);
  const today = full.slice(0, 10) === dateTime(app.clock.now(), zone).slice(0, 10);
  return { text: today ? time(ms, zone) : full, title: tooltip(ms, zone) };
}

/** "12 s ago" @param {import("../../types.js").App} app @param {string|null|undefined} moment */
export function agoText(app, moment) {
  const ms = app.clock.parse(moment);
  if (!Number.isFinite(ms)) return { text: NONE, title: "none yet" };
  const text = age(app.clock.now() - ms);
  return { text: text === "now" ? text : `${text} ago`, title: tooltip(ms, app.settings.get("zone")) };
}

/** @param {number|null|undefined} bytes */
export function megabytes(bytes) {
  return bytes === null || bytes === undefined ? NONE : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Increase per second between two readings of a counter. */
export class Rate {
  /** @type {{value: number, ms: number}|null} */
  _last = null;
  /** @type {number|null} */
  rate = null;

  /** @param {number|null|undefined} value @param {number} ms @returns {number|null} null before the second reading */
  read(value, ms) {
    if (value === null || value === undefined) return null;
    const last = this._last;
    if (last !== null && ms <= last.ms) return this.rate;
    this.rate = last === null || value < last.value ? null : ((value - last.value) * 1000) / (ms - last.ms);
    this._last = { value, ms };
    return this.rate;
  }
}

/** @param {number|null} rate */
export function rateText(rate) {
  return rate === null ? { text: NONE, title: "needs two readings" } : `${rate.toFixed(1)} /s`;
}
