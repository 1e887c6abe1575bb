// @ts-check
/** One instrument: quote, chart, volatility, alerts, own thresholds, ladder; or its ladder alone. */

import { INTERVALS, isInterval } from "../instrument/candles.js";
import { ChartPanel } from "../parts/instrument/chart_panel.js";
import { alertsPanel, volatilityPanel } from "../parts/instrument/figures.js";
import { h } from "../parts/h.js";
import { LadderPanel } from "../parts/instrument/ladder_panel.js";
import { quote } from "../parts/instrument/quote.js";
import { thresholds } from "../parts/alerts/thresholds.js";

const DEFAULT_INTERVAL = "1h";

/** @typedef {import("../types.js").App} App */
/** @typedef {import("../types.js").Route} Route */

/** @param {Route} route */
function intervalOf({ query }) {
  const text = query.get("interval");
  return text !== null && isInterval(text) ? text : DEFAULT_INTERVAL;
}

/** @param {App} app @param {HTMLElement} root @param {Route} route @returns {import("../types.js").View} */
export function open(app, root, route) {
  let shown = route.view;
  let page = show(app, root, route);
  return {
    update(next) {
      if (next.view === shown) return page.update(next);
      page.close();
      root.replaceChildren();
      const isFocusLost = document.activeElement === document.body; // it was in the removed page
      [shown, page] = [next.view, show(app, root, next)];
      if (isFocusLost) root.focus({ preventScroll: true });
    },
    close: () => page.close(),
  };
}

/** @param {App} app @param {HTMLElement} root @param {Route} route */
function show(app, root, route) {
  const symbol = route.symbol ?? "";
  const head = quote(app, symbol);
  const place = h("div", { class: "instrument" }, head.element);
  root.append(place);
  const body = route.view === "book" ? book(app, place, symbol) : figures(app, place, symbol, route);
  body.update(route);
  const ends = [dayRange(app, symbol, head), app.hub.fullRate(symbol), () => head.close(), () => body.close()];
  return {
    /** @param {Route} next */
    update: (next) => body.update(next),
    close: () => ends.forEach((end) => end()),
  };
}

/** The ladder alone. @param {App} app @param {HTMLElement} place @param {string} symbol */
function book(app, place, symbol) {
  const ladder = new LadderPanel(app, symbol, { always: true });
  place.append(ladder.element);
  return ladder;
}

/** Chart, panels and ladder. @param {App} app @param {HTMLElement} place @param {string} symbol @param {Route} route */
function figures(app, place, symbol, route) {
  const chart = new ChartPanel(app, symbol, intervalOf(route));
  const ladder = app.config.features.includes("book") ? new LadderPanel(app, symbol) : null;
  const panels = [volatilityPanel(app, symbol), alertsPanel(app, symbol), thresholds(app, { symbol })];
  const grid = h("div", { class: "instrument-grid" }, panels.map(({ element }) => element));
  place.append(chart.element, grid, ...(ladder ? [ladder.element] : []));
  /** @type {import("../types.js").KeyTable} */
  const ladderKey = ladder ? { b: { label: "Open or close the ladder", run: () => ladder.toggle() } } : {};
  const unbind = app.keys.bind({ ...chart.keys(), ...intervalKeys(app), ...ladderKey });
  return {
    /** @param {Route} next */
    update(next) {
      chart.setInterval(intervalOf(next));
      ladder?.update(next);
    },
    close() {
      unbind();
      for (const part of [chart, ...panels]) part.close();
      ladder?.close();
    },
  };
}

/** Keep the range of the day up to date from its running candle. @param {App} app @param {string} symbol @param {ReturnType<typeof quote>} head */
function dayRange(app, symbol, head) {
  const release = app.hub.candles(symbol, "1d");
  /** @type {string|null} start of the newest day */
  let newest = null;
  const off = app.hub.on("candle", (/** @type {any} */ { instrument, interval, candle }) => {
    if (instrument !== symbol || interval !== "1d" || (newest !== null && candle.start_time < newest)) return;
    newest = candle.start_time;
    head.range(candle);
  });
  return () => {
    off();
    release();
  };
}

/** @param {App} app @returns {import("../types.js").KeyTable} */
function intervalKeys(app) {
  return Object.fromEntries(INTERVALS.map((interval, index) =>
    [String(index + 1), { label: `Interval ${interval}`, run: () => app.router.query({ interval }) }]));
}
