// @ts-check
/** The newest points of several lines, in typed arrays: times in ms, NaN for a missing value. */

export const RING_POINTS = 3600;

export class Ring {
  /**
   * @param {number} lines
   * @param {number} [capacity]
   */
  constructor(lines, capacity = RING_POINTS) {
    this.capacity = capacity;
    this.length = 0;
    this._next = 0;
    this._times = new Float64Array(capacity);
    this._values = Array.from({ length: lines }, () => new Float64Array(capacity));
  }

  /**
   * Add a point, or replace the last one if it has the same time. An older point is left out.
   * @param {number} ms
   * @param {(number|null)[]} values
   * @returns {boolean} whether the point is in the ring
   */
  push(ms, values) {
    const last = this.lastTime();
    if (!Number.isFinite(ms) || ms < last) return false;
    const place = ms === last ? this._place(this.length - 1) : this._append();
    this._times[place] = ms;
    this._values.forEach((line, index) => (line[place] = values[index] ?? NaN));
    return true;
  }

  /** @param {number} index from 0, the oldest point; @returns {number} ms */
  time(index) {
    return this._times[this._place(index)];
  }

  /** @param {number} line @param {number} index @returns {number} */
  value(line, index) {
    return this._values[line][this._place(index)];
  }

  /** @returns {number} -Infinity without a point */
  lastTime() {
    return this.length === 0 ? -Infinity : this.time(this.length - 1);
  }

  /** @param {number} ms @returns {number} the index of the first point at or after `ms` */
  from(ms) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time(middle) < ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  clear() {
    this.length = 0;
    this._next = 0;
  }

  _append() {
    const place = this._next;
    this._next = (this._next + 1) % this.capacity;
    this.length = Math.min(this.length + 1, this.capacity);
    return place;
  }

  /** @param {number} index */
  _place(index) {
    return (this._next - this.length + index + this.capacity) % this.capacity;
  }
}

/**
 * The points of `history` before those of `live`, then those of `live`, from `start` on: arrays for
 * uPlot, with null for a missing value. A distance of more than 1.5 steps becomes a gap.
 * @param {Ring} history
 * @param {number} historyStep ms
 * @param {Ring} live
 * @param {number} liveStep ms
 * @param {number} start ms
 * @param {number} lines
 * @returns {(number|null)[][]} times, then one array for each line
 */
export function columns(history, historyStep, live, liveStep, start, lines) {
  /** @type {(number|null)[][]} */
  const result = Array.from({ length: lines + 1 }, () => []);
  const begin = live.length > 0 ? live.time(0) : Infinity;
  copy(result, history, history.from(start), history.from(begin), historyStep, historyStep);
  copy(result, live, live.from(start), live.length, liveStep, historyStep);
  return result;
}

/**
 * @param {(number|null)[][]} result
 * @param {Ring} ring
 * @param {number} first
 * @param {number} end
 * @param {number} step ms between two points
 * @param {number} firstStep ms between the last point of `result` and the first of these
 */
function copy(result, ring, first, end, step, firstStep) {
  const [times] = result;
  for (let index = first; index < end; index += 1) {
    const ms = ring.time(index);
    const before = times[times.length - 1];
    const allowed = 1.5 * (index === first ? Math.max(step, firstStep) : step);
    if (before !== undefined && ms - Number(before) > allowed) {
      times.push(Number(before) + 1);
      for (let line = 1; line < result.length; line += 1) result[line].push(null);
    }
    times.push(ms);
    for (let line = 1; line < result.length; line += 1) {
      const value = ring.value(line - 1, index);
      result[line].push(Number.isNaN(value) ? null : value);
    }
  }
}

/**
 * Figures of a column without its missing values; null if there is none.
 * @param {(number|null)[]} column
 * @returns {{current: number, min: number, mean: number, max: number}|null}
 */
export function figures(column) {
  let [count, sum, min, max, current] = [0, 0, Infinity, -Infinity, NaN];
  for (const value of column) {
    if (value === null) continue;
    count += 1;
    sum += value;
    min = Math.min(min, value);
    max = Math.max(max, value);
    current = value;
  }
  return count === 0 ? null : { current, min, mean: sum / count, max };
}
