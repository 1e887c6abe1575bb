// @ts-check
/** The hub's time. The only caller of Date.now(). */

let offset = 0; // ms by which the clock of the hub is ahead

export const clock = {
  /** The hub's time in ms since 1970. */
  now: () => Date.now() + offset,
  /** This machine's time in ms since 1970. */
  local: () => Date.now(),
  /** @param {number | null} ms by which the hub is ahead; null keeps the last value */
  setOffset(ms) {
    if (ms !== null && Number.isFinite(ms)) offset = ms;
  },
  /** Milliseconds of a time of the API; NaN if it is none. @param {string | null | undefined} text */
  parse: (text) => (text ? Date.parse(text) : NaN),
};
