// @ts-check
/** The head of an instrument: names, newest quote, change, age, and the range of the day. */

import { compare, divide, multiply, subtract } from "../../decimals.js";
import { change, NONE, number, price, spread } from "../../format.js";
import { state } from "../../freshness.js";
import { tooltip } from "../../zones.js";
import { h, write } from "../h.js";

const AGE_MS = 1000;

/** @typedef {import("../../types.js").App} App */
/** @typedef {{high: string, low: string}} Range */

/**
 * @param {App} app
 * @param {string} symbol
 * @returns {{element: HTMLElement, range(range: Range|null): void, close(): void}}
 */
export function quote(app, symbol) {
  const [bid, ask] = [side("Bid"), side("Ask")];
  const name = h("span", { class: "quote-name dim" });
  const figures = { spread: figure("Spread"), change: figure("Change"), age: figure("Age") };
  const day = dayRange();
  const element = h(
    "header",
    { class: "quote" },
    h("h1", { class: "quote-symbol" }, symbol, " ", name),
    h("div", { class: "quote-sides" }, bid.element, h("span", { class: "dim", "aria-hidden": "true", text: "/" }), ask.element),
    h("dl", { class: "quote-figures" }, figures.spread.element, figures.change.element, figures.age.element, day.element),
  );
  /** @type {Range|null} the day's range, from its running candle */
  let running = null;

  function show(/** @type {number} */ now) {
    const row = app.store.rows.get(symbol);
    if (!row) return;
    write(name, row.name === symbol ? "" : row.name);
    bid.show(row.bid, row.kind);
    ask.show(row.ask, row.kind);
    figures.spread.show(spread(row.bid, row.ask, row.kind), row.kind === "fx" && row.bid !== null ? "pips" : "");
    const moved = change(row.mid, row.reference);
    figures.change.show(moved.text);
    figures.change.element.dataset.sign = String(moved.sign);
    const fresh = state({ ...row, at: row.mid === null ? null : row.at }, now, app.hub.state === "live");
    figures.age.show(fresh.text);
    figures.age.element.dataset.fresh = fresh.name;
    figures.age.element.title = row.mid === null ? "" : `Age ${fresh.age}, ${tooltip(row.at, app.settings.get("zone"))}`;
    element.dataset.direction = String(row.direction);
    day.show(running ?? row.day, row.mid);
  }

  const offs = [
    app.paint.register((dirty, now) => !app.paint.paused && (dirty.has(symbol) || dirty.size === 0) && show(now)),
    app.paint.every(AGE_MS, () => !app.paint.paused && show(app.clock.now())),
    app.store.on("market", () => app.paint.request()),
    app.settings.on("zone", () => show(app.clock.now())),
  ];
  show(app.clock.now());
  return {
    element,
    range(range) {
      running = range;
      app.paint.request();
    },
    close: () => offs.forEach((off) => off()),
  };
}

/** One side of the quote, with the pip in bold. @param {string} label */
function side(label) {
  const [head, big, small] = [h("span", { class: "quote-head" }), h("b", { class: "quote-big" }), h("span", { class: "quote-small" })];
  const element = h("span", { class: "quote-side num", title: label }, h("span", { class: "sr-only", text: `${label} ` }), head, big, small);
  return {
    element,
    show(/** @type {string|null} */ text, /** @type {string} */ kind) {
      const parts = price(text, kind);
      write(head, parts.head);
      write(big, parts.big);
      write(small, parts.small);
    },
  };
}

/** @param {string} label */
function figure(label) {
  const [value, unit] = [h("span", { class: "quote-value num", text: NONE }), h("span", { class: "dim" })];
  const element = h("div", { class: "quote-figure" }, h("dt", { text: label }), h("dd", {}, value, " ", unit));
  return {
    element,
    show(/** @type {string} */ text, units = "") {
      write(value, text);
      write(unit, units);
    },
  };
}

/** The low and the high of the day, with the place of the price between them. */
function dayRange() {
  const [low, high] = [h("span", { class: "num", text: NONE }), h("span", { class: "num", text: NONE })];
  const bar = h("span", { class: "quote-range", "aria-hidden": "true" });
  const element = h("div", { class: "quote-figure quote-day" },
    h("dt", { text: "Day range" }), h("dd", {}, low, bar, h("span", { class: "sr-only", text: " to " }), high));
  return {
    element,
    show(/** @type {Range|null} */ range, /** @type {string|null} */ mid) {
      write(low, number(range?.low));
      write(high, number(range?.high));
      bar.style.setProperty("--place", `${range && mid ? placeOf(mid, range) : 50}%`);
      bar.dataset.known = String(Boolean(range && mid));
    },
  };
}

/** The place of a price between low and high in percent. @param {string} mid @param {Range} range */
function placeOf(mid, { low, high }) {
  const width = subtract(high, low);
  if (compare(width, "0") <= 0) return 50;
  return Math.min(100, Math.max(0, Number(divide(multiply(subtract(mid, low), "100"), width, 1))));
}
