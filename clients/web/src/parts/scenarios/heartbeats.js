// @ts-check
/** The heartbeats of the process `books`, and their usual distance. */

const DEFAULT_INTERVAL_MS = 1000;
const KEPT = 8;
const LATE_INTERVALS = 3;

/** The distance of heartbeats and the age of the newest one. Times in ms. */
export class Heartbeats {
  /** @type {any} */
  last = null;
  /** @type {number[]} */
  _distances = [];

  /** @param {any} body @param {number} at its `last_heartbeat` */
  add(body, at) {
    if (this.last !== null && at > this.at) this._distances = [...this._distances, at - this.at].slice(-KEPT);
    this.last = body;
    this.at = at;
  }

  at = NaN;

  /** Median distance; 1 s before the second heartbeat. */
  get interval() {
    if (this._distances.length === 0) return DEFAULT_INTERVAL_MS;
    const sorted = [...this._distances].sort((left, right) => left - right);
    return sorted[sorted.length >> 1];
  }

  /** @param {number} now @returns {number} NaN without a heartbeat */
  age(now) {
    return Math.max(0, now - this.at);
  }

  /** @param {number} now */
  late(now) {
    return this.age(now) > LATE_INTERVALS * this.interval;
  }
}
