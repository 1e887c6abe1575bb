// @ts-check
/**
 * The one requestAnimationFrame of the page. A frame is requested if something is dirty, and none
 * otherwise. Nothing is painted while the tab is hidden; one paint follows when it is shown.
 */

/** @param {import("./types.js").Clock} clock @returns {import("./types.js").Paint} */
export function createPaint(clock) {
  /** @type {Set<import("./types.js").Painter>} */
  const painters = new Set();
  /** @type {Set<string>} */
  let dirty = new Set();
  let frame = 0;
  let paused = false;
  let [waiting, count] = [0, 0];

  function run() {
    frame = 0;
    if (document.hidden) return;
    const changed = paused ? new Set() : dirty;
    if (!paused) dirty = new Set();
    count += 1;
    const now = clock.now();
    for (const painter of [...painters]) {
      try {
        painter(changed, now);
      } catch (error) {
        reportError(error); // the other painters still run
      }
    }
  }

  function request(force = false) {
    if (frame || document.hidden || (paused && !force)) return;
    frame = requestAnimationFrame(run);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) cancelAnimationFrame(frame);
    frame = 0;
    request();
  });
  return {
    register(painter) {
      painters.add(painter);
      request(true);
      return () => void painters.delete(painter);
    },
    request,
    mark(symbol, updates = 0) {
      dirty.add(symbol);
      if (paused) waiting += updates;
      request();
    },
    pause(flag) {
      paused = flag;
      waiting = 0;
      if (!flag) request();
    },
    every: (ms, run) => everyVisible(ms, run),
    get paused() {
      return paused;
    },
    get waiting() {
      return waiting;
    },
    get count() {
      return count;
    },
  };
}

/**
 * A timer that rests while the tab is hidden, and runs at once when it is shown.
 * @param {number} ms
 * @param {() => void} run
 */
function everyVisible(ms, run) {
  let timer = 0;
  const begin = () => {
    clearInterval(timer);
    timer = document.hidden ? 0 : window.setInterval(run, ms);
  };
  const changed = () => {
    begin();
    if (!document.hidden) run();
  };
  document.addEventListener("visibilitychange", changed);
  begin();
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", changed);
  };
}
