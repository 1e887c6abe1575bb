// @ts-check
/** Texts and orders of volatilities and correlations. Pure. */
import { order } from "../cluster.js";
import { NONE } from "../format.js";

/** estimator of the API -> title of its column @type {Record<string, string>} */
export const ESTIMATORS = {
  close_to_close: "Close to close",
  parkinson: "Parkinson",
  garman_klass: "Garman-Klass",
  rogers_satchell: "Rogers-Satchell",
  yang_zhang: "Yang-Zhang",
  ewma: "EWMA",
  alert: "Sum of squares (alerts)",
};
export const METHODS = ["pearson", "spearman", "ewma", "shrunk"];
export const ORDERS = ["clusters", "strongest"];
export const FEW_OBSERVATIONS = 100;
export const FADED = 0.2; // correlations nearer to 0 are faded
const MINUTE = 60_000;

/** @typedef {(number | null)[][]} Matrix */

/** A fraction as percent, such as "7.03 %"; null is "–". @param {number | null | undefined} fraction @param {number} digits */
export function percent(fraction, digits = 2) {
  return typeof fraction === "number" ? `${(fraction * 100).toFixed(digits)} %` : NONE;
}

/** The places of the instruments: similar ones beside each other, or strongest pair first. @param {Matrix} matrix @param {string} by */
export function places(matrix, by) {
  return by === "strongest" ? strongestFirst(matrix) : order(matrix);
}

/** The places in the order of their first appearance in the pairs, by falling |ρ|. @param {Matrix} matrix */
function strongestFirst(matrix) {
  const pairs = matrix.flatMap((row, i) => row.slice(0, i).map((value, j) => ({ i: j, j: i, strength: Math.abs(value ?? 0) })));
  pairs.sort((a, b) => b.strength - a.strength || a.i - b.i || a.j - b.j);
  return [...new Set([...pairs.flatMap(({ i, j }) => [i, j]), ...matrix.keys()])];
}

/** The fewest common observations of a pair; null if there is no pair. @param {Matrix} observations */
export function fewest(observations) {
  const counts = observations.flatMap((row, i) => row.slice(0, i)).filter((count) => count !== null);
  return counts.length ? counts.reduce((least, count) => Math.min(least ?? Infinity, count ?? Infinity)) : null;
}

/** "3 h", "12 min", "40 s"; up to the next unit. @param {number} ms */
export function inText(ms) {
  if (ms < MINUTE) return `${Math.max(0, Math.ceil(ms / 1000))} s`;
  return ms < 60 * MINUTE ? `${Math.round(ms / MINUTE)} min` : `${Math.round(ms / (60 * MINUTE))} h`;
}

/**
 * "next run in 3 h" of a job of `/jobs`; "" if it is unknown.
 * @param {any} jobs answer of /jobs, or null @param {string} id @param {number} now
 */
export function nextRun(jobs, id, now) {
  const next = Date.parse(jobs?.jobs.find((/** @type {any} */ job) => job.id === id)?.next_run ?? "");
  return Number.isNaN(next) ? "" : `next run in ${inText(next - now)}`;
}

/** Whether there was any run of the job; null if the job is not listed. @param {any} jobs @param {string} id */
export function hasRun(jobs, id) {
  const job = jobs.jobs.find((/** @type {any} */ each) => each.id === id);
  return job ? job.last_run !== null : null;
}

/** The last successful run of a job, or null. @param {any} jobs @param {string} id */
export function lastRun(jobs, id) {
  const run = jobs?.jobs.find((/** @type {any} */ job) => job.id === id)?.last_run;
  return run?.outcome === "succeeded" ? run : null;
}

/** The state of a volatility of alerts: "", "warning" or "critical". @param {number} value @param {any} thresholds */
export function severityOf(value, thresholds) {
  if (!thresholds || value <= thresholds.warning) return "";
  return value > thresholds.critical ? "critical" : "warning";
}

/** @typedef {{symbol: string, time: string, estimators: Record<string, {volatility: number, annualised: number, observations: number}>}} VolatilityLine */

/** Lines by a column: "symbol" or an estimator; missing values are last. @param {VolatilityLine[]} lines @param {string} column @param {boolean} descending */
export function sorted(lines, column, descending) {
  const sign = descending ? -1 : 1;
  const byName = (/** @type {VolatilityLine} */ a, /** @type {VolatilityLine} */ b) => (a.symbol < b.symbol ? -1 : 1);
  if (column === "symbol") return [...lines].sort((a, b) => sign * byName(a, b));
  const key = (/** @type {VolatilityLine} */ line) => (column === "time" ? Date.parse(line.time) : line.estimators[column]?.annualised);
  return [...lines].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === undefined || y === undefined) return x === y ? byName(a, b) : x === undefined ? 1 : -1;
    return sign * (x - y) || byName(a, b);
  });
}
