// Measures a page from outside. It runs before the scripts of the page, which do not know of it.
(() => {
  const request = window.requestAnimationFrame.bind(window);
  const SAMPLES = 1 << 16;
  const paints = new Float64Array(SAMPLES); // ms of each callback of the page's animation frames
  const stamps = new Float64Array(SAMPLES); // times of the frames, if `frames` is on
  const inputs = []; // ms from a key to its listeners
  const delays = []; // ms from the publication of a visible price to the end of its frame
  const tasks = []; // ms of each long task
  const links = []; // [state or "banner", time]
  const known = new Map(); // symbol -> timestamp of its last painted price
  const after = new MessageChannel(); // its tasks run after the frame
  let [painted, stamped] = [0, 0];
  let [place, lowest, direction] = [0, 0, 1]; // of the scrolling list
  let waiting = []; // publication times of the prices of this frame

  const probe = {
    received: 0,
    frames: false,
    scrolling: false,
    delaying: false,
    reset() {
      [painted, stamped, probe.received] = [0, 0, 0];
      for (const list of [inputs, delays, tasks, links]) list.length = 0;
    },
    read() {
      return {
        received: probe.received,
        paints: [...paints.subarray(0, painted)],
        stamps: [...stamps.subarray(0, stamped)],
        inputs: [...inputs],
        delays: [...delays],
        tasks: [...tasks],
        links: [...links],
      };
    },
    /** Request every frame until `frames` is false. */
    follow() {
      probe.frames = true;
      request(frame);
    },
    /** Count the prices that reach the page. */
    count() {
      globalThis.tickwire?.hub.on("price", () => {
        probe.received += 1;
      });
    },
    /** Note the changes of the connection's state, and the first text of the banner. */
    watchLink() {
      const root = document.documentElement;
      const banner = document.getElementById("banner");
      const noted = () => links.push([root.dataset.link, Date.now()]);
      new MutationObserver(noted).observe(root, { attributeFilter: ["data-link"] });
      const shown = () => banner.textContent.includes("connection was lost") && links.push(["banner", Date.now()]);
      new MutationObserver(shown).observe(banner, { childList: true, subtree: true, characterData: true });
    },
    /** Whether the list has rows, and each of them has a price. */
    priced() {
      const rows = visibleRows();
      return rows.length > 0 && rows.every((row) => /\d/.test(texts(row)[0]));
    },
    /** The number of instruments with other prices than `wanted` in the store, and in the visible rows. */
    wrong(wanted) {
      const { rows } = globalThis.tickwire.store;
      const stored = Object.keys(wanted).filter((symbol) => rows.get(symbol)?.bid !== wanted[symbol][0] || rows.get(symbol)?.ask !== wanted[symbol][1]);
      const shown = visibleRows().filter((row) => {
        const [bid, ask] = texts(row);
        return bid !== wanted[row.dataset.symbol][0] || ask !== wanted[row.dataset.symbol][1];
      });
      return [stored.length, shown.length];
    },
  };
  globalThis.bench = probe;

  window.requestAnimationFrame = (run) =>
    request((now) => {
      const begun = performance.now();
      try {
        run(now);
      } finally {
        if (painted < SAMPLES) paints[painted++] = performance.now() - begun;
        if (probe.delaying) collectDelays();
      }
    });

  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) tasks.push(duration);
  }).observe({ type: "longtask" });
  window.addEventListener("keydown", (event) => inputs.push(performance.now() - event.timeStamp), { capture: true });
  after.port1.onmessage = () => {
    const now = Date.now();
    for (const published of waiting) delays.push(now - published);
    waiting = [];
  };

  function frame(now) {
    if (!probe.frames) return;
    if (stamped < SAMPLES) stamps[stamped++] = now;
    if (probe.scrolling) scroll();
    request(frame);
  }

  /** Scroll to and fro. The layout is read once: reading it in each frame would compute it twice. */
  function scroll() {
    const list = document.querySelector(".grid-body");
    lowest ||= list.scrollHeight - list.clientHeight;
    place = Math.max(0, Math.min(lowest, place + 40 * direction));
    if (place === 0 || place === lowest) direction = place ? -1 : 1;
    list.scrollTop = place;
  }

  function collectDelays() {
    const { rows } = globalThis.tickwire.store;
    for (const element of visibleRows()) {
      const row = rows.get(element.dataset.symbol);
      if (!row?.timestamp || known.get(row.symbol) === row.timestamp) continue;
      if (texts(element)[0] !== row.bid) continue;
      if (known.has(row.symbol)) waiting.push(Date.parse(row.timestamp));
      known.set(row.symbol, row.timestamp);
    }
    if (waiting.length) after.port2.postMessage(0);
  }

  function visibleRows() {
    return [...document.querySelectorAll(".grid-row[data-symbol]")].filter((row) => !row.hidden);
  }

  function texts(row) {
    return [...row.querySelectorAll(".grid-price")].map((cell) => cell.textContent);
  }
})();
