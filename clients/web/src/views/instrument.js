// @ts-check
/** One instrument: quote, chart, volatility, alerts, own thresholds, ladder. */

import { INTERVALS, isInterval } from "../candles.js";
import { ChartPanel } from "../parts/chart_panel.js";
import { alertsPanel, volatilityPanel } from "../parts/figures.js";
import { h } from "../parts/h.js";
import { LadderPanel } from "../parts/ladder_panel.js";
import { quote } from "../parts/quote.js";
import { thresholds } from "../parts/thresholds.js";
import { forbidden } from "../parts/unreadable.js";

const DEFAULT_INTERVAL = "1h";

/** @typedef {import("../types.js").Route} Route */

/** @param {Route} route */
function intervalOf({ query }) {
  const text = query.get("interval");
  return text !== null && isInterval(text) ? text : DEFAULT_INTERVAL;
}

/** @param {import("../types.js").App} app @param {HTMLElement} root @param {Route} route @returns {import("../types.js").View} */
export function open(app, root, route) {
  let page = show(app, root, route);
  const symbols = app.store.on("instruments", () => page.outdated() && renew(page.route));

  /** @param {Route} next */
  function renew(next) {
    page.close();
    root.replaceChildren();
    page = show(app, root, next);
  }
  return {
    update(next) {
      if (next.symbol !== page.route.symbol) renew(next);
      else page.update(next);
    },
    close() {
      symbols();
      page.close();
    },
  };
}

/** @param {import("../types.js").App} app @param {HTMLElement} root @param {Route} route */
function show(app, root, route) {
  const symbol = route.symbol ?? "";
  const known = () => app.store.symbols.length === 0 || app.store.rows.has(symbol);
  const parts = known() ? instrument(app, root, symbol, route) : forbidden(app, root, symbol);
  const wasKnown = known();
  return {
    route,
    outdated: () => known() !== wasKnown,
    /** @param {Route} next */
    update(next) {
      this.route = next;
      parts.update(next);
    },
    close: () => parts.close(),
  };
}

/** @param {import("../types.js").App} app @param {HTMLElement} root @param {string} symbol @param {Route} route */
function instrument(app, root, symbol, route) {
  const head = quote(app, symbol);
  const chart = new ChartPanel(app, symbol, intervalOf(route));
  const hasBooks = app.config.features.includes("book");
  const ladder = hasBooks ? new LadderPanel(app, symbol) : null;
  const panels = [volatilityPanel(app, symbol), alertsPanel(app, symbol), thresholds(app, { symbol })];
  root.append(h("div", { class: "instrument" }, head.element, chart.element,
    h("div", { class: "instrument-panels" }, panels.map(({ element }) => element)), ladder?.element));
  const offs = [
    dayRange(app, symbol, head),
    app.hub.fullRate(symbol),
    app.keys.bind({ ...chart.keys(), ...intervalKeys(app), ...(ladder ? { b: { label: "Ladder", run: () => ladder.toggle() } } : {}) }),
  ];
  ladder?.update(route);
  return {
    /** @param {Route} next */
    update(next) {
      chart.setInterval(intervalOf(next));
      ladder?.update(next);
    },
    close: () => [...offs, () => chart.close(), () => ladder?.close(), () => head.close(), ...panels.map((each) => () => each.close())].forEach((end) => end()),
  };
}

/** Keep the range of the day up to date from its running candle. @param {import("../types.js").App} app @param {string} symbol @param {ReturnType<typeof quote>} head */
function dayRange(app, symbol, head) {
  const release = app.hub.candles(symbol, "1d");
  /** @type {string|null} start of the newest day */
  let newest = null;
  const off = app.hub.on("candle", (/** @type {any} */ { instrument: name, interval, candle }) => {
    if (name !== symbol || interval !== "1d" || (newest !== null && candle.start_time < newest)) return;
    newest = candle.start_time;
    head.range(candle);
  });
  return () => {
    off();
    release();
  };
}

/** @param {import("../types.js").App} app @returns {import("../types.js").KeyTable} */
function intervalKeys(app) {
  return Object.fromEntries(INTERVALS.map((interval, index) =>
    [String(index + 1), { label: `Interval ${interval}`, run: () => app.router.query({ interval }) }]));
}
