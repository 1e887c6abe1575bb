// @ts-check
/**
 * The one requestAnimationFrame of the page. A frame is requested if something is dirty, and none
 * otherwise. Nothing is painted while the tab is hidden; one paint follows when it is shown.
 */

/** @param {import("./types.js").Clock} clock @returns {import("./types.js").Paint} */
export function createPaint(clock) {
  return new Paint(clock);
}

class Paint {
  #clock;
  /** @type {Set<import("./types.js").Painter>} */
  #painters = new Set();
  /** @type {Set<string>} */
  #dirty = new Set();
  #frame = 0; // the requested frame; 0: none
  paused = false;
  waiting = 0;
  count = 0;

  /** @param {import("./types.js").Clock} clock */
  constructor(clock) {
    this.#clock = clock;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) cancelAnimationFrame(this.#frame);
      this.#frame = 0;
      this.request();
    });
  }

  /** @param {import("./types.js").Painter} painter */
  register(painter) {
    this.#painters.add(painter);
    this.request(true);
    return () => void this.#painters.delete(painter);
  }

  request(force = false) {
    if (this.#frame || document.hidden || (this.paused && !force)) return;
    this.#frame = requestAnimationFrame(() => this.#run());
  }

  /** @param {string} symbol */
  mark(symbol, updates = 0) {
    this.#dirty.add(symbol);
    if (this.paused) this.waiting += updates;
    this.request();
  }

  /** @param {boolean} flag */
  pause(flag) {
    [this.paused, this.waiting] = [flag, 0];
    this.request();
  }

  /** @param {number} ms @param {() => void} run */
  every(ms, run) {
    return everyVisible(ms, run);
  }

  #run() {
    this.#frame = 0;
    if (document.hidden) return;
    const changed = this.paused ? new Set() : this.#dirty;
    if (!this.paused) this.#dirty = new Set();
    this.count += 1;
    const now = this.#clock.now();
    for (const painter of [...this.#painters]) {
      try {
        painter(changed, now);
      } catch (error) {
        reportError(error); // the other painters still run
      }
    }
  }
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
