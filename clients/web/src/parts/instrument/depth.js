// @ts-check
/** The depth chart of a book: two step curves of the cumulative sizes. */

import { curves } from "../../instrument/book.js";
import { number } from "../../format.js";
import { h, write } from "../h.js";
import { axis, ink, plot } from "../shared/plot.js";

const DRAW_MS = 200; // at most 5 times a second
const FILL_ALPHA = "30";

/** @typedef {import("../../instrument/book.js").Figures} Figures */

/**
 * @param {import("../../types.js").App} app
 * @param {{symbol: string, height?: number}} about
 * @returns {{element: HTMLElement, show(figures: Figures|null): void, close(): void}}
 */
export function depth(app, { symbol, height = 220 }) {
  /** @type {Figures|null} */
  let shown = null;
  let [last, timer, draws] = [-Infinity, 0, 0];
  const place = h("div", { class: "depth-plot", "aria-hidden": "true" });
  const text = h("p", { class: "depth-text dim" });
  const element = h("figure", { class: "depth", "aria-label": `Depth of ${symbol}` },
    h("figcaption", { class: "depth-head", text: "Depth: cumulative sizes" }), place, text);
  const data = () => (shown ? curves(shown) : [[], [], []]);
  const chart = plot(app, place, { height, make: options, data });

  function draw() {
    last = app.clock.now();
    draws += 1;
    element.dataset.draws = String(draws);
    write(text, shown ? summary(shown) : "");
    chart.redraw();
  }

  return {
    element,
    show(figures) {
      shown = figures;
      const wait = last + DRAW_MS - app.clock.now();
      clearTimeout(timer);
      if (wait > 0 && wait <= DRAW_MS) timer = window.setTimeout(draw, wait);
      else draw();
    },
    close() {
      clearTimeout(timer);
      chart.close();
    },
  };
}

/** @param {any} uPlot */
function options(uPlot) {
  const numbers = (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map((each) => number(String(each)));
  const curve = (/** @type {string} */ label, /** @type {string} */ token, /** @type {1|-1} */ align) => ({
    label, stroke: ink(token), width: 1.5, points: { show: false }, fill: () => faded(ink(token)()), paths: uPlot.paths.stepped({ align }),
  });
  return {
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false }, y: { range: (/** @type {any} */ _, /** @type {any} */ __, /** @type {number|null} */ max) => [0, (max ?? 0) * 1.05 || 1] } },
    axes: [axis({ size: 24, space: 80, values: numbers }), axis({ size: 60, space: 24, values: numbers })],
    series: [{}, curve("Bids", "up", -1), curve("Asks", "down", 1)],
  };
}

/** @param {string} colour */
function faded(colour) {
  return /^#[0-9a-f]{6}$/i.test(colour) ? colour + FILL_ALPHA : "transparent";
}

/** @param {Figures} figures */
function summary({ bids, asks }) {
  const side = (/** @type {string} */ name, /** @type {import("../../instrument/book.js").Row[]} */ rows) =>
    rows.length ? `${name} ${rows[rows.length - 1].total} to ${rows[rows.length - 1].price}` : `${name} none`;
  return `${side("Bids", bids)} · ${side("Asks", asks)}`;
}
