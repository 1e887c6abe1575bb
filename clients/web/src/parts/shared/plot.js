// @ts-check
/** A uPlot chart that follows the size of its place, the theme and the one paint scheduler. */

import { color, onChange } from "../../appearance.js";

/** @typedef {any} Plot an instance of uPlot */
/** @type {Promise<any>|null} */
let loading = null;

/**
 * Load uPlot and its style sheet with the first chart. uPlot.iife.min.js has no ES export.
 * @returns {Promise<any>} the constructor `uPlot`
 */
export function loadPlot() {
  loading ??= new Promise((resolve, reject) => {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = vendor("uPlot.min.css");
    const script = document.createElement("script");
    script.src = vendor("uPlot.iife.min.js");
    script.onload = () => resolve(/** @type {any} */ (globalThis).uPlot);
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Error("The chart library could not be loaded."));
    };
    document.head.append(sheet, script);
  });
  return loading;
}

/** @param {string} file */
function vendor(file) {
  return new URL(`ui/vendor/${file}`, document.baseURI).href;
}

/** @param {string} name a token of app.css @returns {() => string} its colour at each drawing */
export function ink(name) {
  return () => color(name);
}

/**
 * An axis of uPlot in the colours of the page.
 * @param {object} [more] further options of the axis
 */
export function axis(more = {}) {
  const grid = { stroke: ink("line"), width: 1 };
  return { stroke: ink("dim"), font: "12px system-ui, sans-serif", gap: 4, grid, ticks: { show: false }, ...more };
}

/**
 * Show a chart in `place`. `make` returns the options of uPlot without width and height; `data` its
 * columns. `redraw()` asks for a drawing with the next frame.
 * @param {any} app
 * @param {HTMLElement} place
 * @param {{height: number, make: (uPlot: any) => object, data: () => any[]}} options
 * @returns {{redraw(): void, close(): void, readonly chart: Plot|null}}
 */
export function plot(app, place, { height, make, data }) {
  /** @type {Plot|null} */
  let chart = null;
  let [changed, closed] = [true, false];
  const redraw = () => {
    changed = true;
    app.paint.request();
  };
  const observer = new ResizeObserver(() => {
    chart?.setSize({ width: place.clientWidth, height });
  });
  const ends = [
    app.paint.register(() => {
      if (!changed || chart === null) return;
      changed = false;
      chart.setData(data());
    }),
    onChange(() => chart?.redraw(false, true)),
  ];
  loadPlot().then((uPlot) => {
    if (closed) return;
    chart = new uPlot({ ...make(uPlot), width: place.clientWidth, height }, data(), place);
    observer.observe(place);
  }, (error) => {
    place.textContent = error.message;
  });
  return {
    redraw,
    close() {
      closed = true;
      observer.disconnect();
      ends.forEach((end) => end());
      chart?.destroy();
    },
    get chart() {
      return chart;
    },
  };
}
