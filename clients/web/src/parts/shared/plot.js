// @ts-check
/** A uPlot chart that follows the size of its place, the theme and the one paint scheduler. */

import { color, onChange } from "../../appearance.js";

/** @typedef {any} Plot an instance of uPlot */
/** @typedef {import("../../types.js").App} App */
/** @typedef {{height: number, make: (uPlot: any) => object, data: () => any[]}} PlotOptions */
/** @type {Promise<any>|null} */
let loading = null;

/**
 * Load uPlot and its style sheet with the first chart. uPlot.iife.min.js has no ES export.
 * @returns {Promise<any>} the constructor `uPlot`
 */
function loadPlot() {
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
 * @param {import("../../types.js").App} app
 * @param {HTMLElement} place
 * @param {PlotOptions} options
 * @returns {{redraw(): void, close(): void, readonly chart: Plot|null}}
 */
export function plot(app, place, options) {
  const made = new PlotInPlace(app, place, options);
  loadPlot().then((uPlot) => made.draw(uPlot), (error) => {
    place.textContent = error.message;
  });
  return made;
}

class PlotInPlace {
  /** @param {App} app @param {HTMLElement} place @param {PlotOptions} options */
  constructor(app, place, options) {
    this.app = app;
    this.place = place;
    this.options = options;
    this.chart = /** @type {Plot|null} */ (null);
    this.changed = true;
    this.closed = false;
    this.observer = new ResizeObserver(() => this.chart?.setSize(this._size()));
    this.ends = [app.paint.register(() => this._paint()), onChange(() => this.chart?.redraw(false, true))];
  }

  redraw = () => {
    this.changed = true;
    this.app.paint.request();
  };

  /** @param {any} uPlot its constructor */
  draw(uPlot) {
    if (this.closed) return;
    this.chart = new uPlot({ ...this.options.make(uPlot), ...this._size() }, this.options.data(), this.place);
    this.observer.observe(this.place);
  }

  close() {
    this.closed = true;
    this.observer.disconnect();
    this.ends.forEach((end) => end());
    this.chart?.destroy();
  }

  _paint() {
    if (!this.changed || this.chart === null) return;
    this.changed = false;
    this.chart.setData(this.options.data());
  }

  _size() {
    return { width: this.place.clientWidth, height: this.options.height };
  }
}
