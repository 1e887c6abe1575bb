// @ts-check
/** The correlation matrix of the shown instruments. */

import { hasRun } from "./analytics.js";

/** @typedef {import("../types.js").App} App */

const MAX_WHOLE = 200; // instruments up to which the whole matrix is requested

/**
 * The matrix of these instruments; those that are not in it are left out. null: there is none yet.
 * @param {App} app @param {string} method @param {string[]} symbols @param {AbortSignal} signal
 * @returns {Promise<any>}
 */
export async function matrixOf(app, method, symbols, signal) {
  const few = app.store.symbols.length <= MAX_WHOLE;
  if (symbols.length === 0) return null;
  try {
    const body = await app.rest.get("correlation", few ? { method } : { method, symbols: [...symbols].sort().join(",") }, { signal });
    return few ? part(body, symbols) : body;
  } catch (error) {
    const { status, code, details } = /** @type {any} */ (error);
    if (status === 404 && code === "no_data") return null;
    if (status !== 404 || code !== "unknown_instrument") throw error;
    const missing = new Set(details.symbols);
    const rest = symbols.filter((symbol) => !missing.has(symbol));
    return rest.length < symbols.length ? matrixOf(app, method, rest, signal) : null;
  }
}

/**
 * Whether there may be a matrix. The request of a matrix that does not exist would be an error in
 * the console. If no job is listed, a pair of instruments with volatilities is tried.
 * @param {App} app @param {any} jobs null: the caller may not read them
 * @param {string} job @param {AbortSignal} signal
 */
export async function mayExist(app, jobs, job, signal) {
  const run = jobs === null ? true : hasRun(jobs, job);
  if (run !== null) return run;
  const { volatility } = await app.rest.get("volatility/latest", { estimator: "alert" }, { signal });
  const [symbol1, symbol2] = Object.keys(volatility);
  if (!symbol2) return false;
  const { history } = await app.rest.get("correlation/history", { symbol1, symbol2, limit: 1 }, { signal });
  return history.length > 0;
}

/** Wait until the list of instruments has been requested. @param {App} app @returns {Promise<void>} */
export function instrumentsKnown({ store }) {
  if (store.symbols.length) return Promise.resolve();
  return new Promise((resolve) => {
    const off = store.on("loaded", () => {
      off();
      resolve();
    });
  });
}

/** The rows and columns of these instruments, in the order of the answer; null without any. @param {any} body @param {string[]} symbols */
function part(body, symbols) {
  const wanted = new Set(symbols);
  const places = [...body.symbols.keys()].filter((place) => wanted.has(body.symbols[place]));
  const cut = (/** @type {any[][]} */ rows) => places.map((i) => places.map((j) => rows[i][j]));
  const kept = places.map((place) => body.symbols[place]);
  return kept.length ? { ...body, symbols: kept, matrix: cut(body.matrix), observations: cut(body.observations) } : null;
}
