// @ts-check

/**
 * A function that returns the same object for the same app; its first call makes it.
 * @template T
 * @param {(app: import("../types.js").App) => T} make
 * @returns {(app: import("../types.js").App) => T}
 */
export function oneEach(make) {
  /** @type {WeakMap<import("../types.js").App, T>} */
  const made = new WeakMap();
  return (app) => {
    const known = made.get(app) ?? make(app);
    made.set(app, known);
    return known;
  };
}
