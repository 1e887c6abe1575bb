// @ts-check
/** The panel of the candle chart: intervals, legend, chart, credit, data table, exports. */

import { CandleFeed } from "../../instrument/candle_feed.js";
import { INTERVALS } from "../../instrument/candles.js";
import { barLegend, barsTable } from "./bars_table.js";
import { CandleChart } from "../chart.js";
import { h, write } from "../h.js";
import { panel } from "../shared/panel.js";

const DAY_MS = 86_400_000;
const PAN_BARS = 10;
const ZOOM = 0.8;
const CREDIT = "https://www.tradingview.com/";

/** @typedef {import("../../types.js").App} App */
/** @typedef {import("../../instrument/candles.js").Bar} Bar */

export class ChartPanel {
  /** @param {App} app @param {string} symbol @param {string} interval */
  constructor(app, symbol, interval) {
    this.app = app;
    this.symbol = symbol;
    /** @type {Bar|null} the bar under the crosshair */
    this.hovered = null;
    /** @type {any[]|null} */
    this.sessions = null;
    this.fresh = true;
    this.isLegendOld = true;
    this.legend = barLegend();
    this.note = h("span", { class: "chart-note dim", role: "status" });
    this.error = h("p", { class: "note", role: "alert", hidden: true });
    this.bar = toolbar(this);
    this.feed = new CandleFeed(app, symbol, {
      changed: (bar) => this._changed(bar),
      reset: () => this._reset(),
      reload: () => this.panel?.reload(),
      older: (text) => write(this.note, text),
    });
    this.chart = new CandleChart(app, {
      label: `Candles and volume of ${symbol}. The data table has the last bars.`, bars: () => this.feed.bars, older: () => this.feed.older(), hover: (bar) => this._hover(bar),
    });
    this.table = barsTable(app, symbol, () => this.feed.bars);
    this.feed.open(interval);
    this.panel = this._panel();
    this.element = this.panel.element;
    this.element.classList.add("chart-panel");
    this.offs = [app.paint.register(() => this._legend()), app.settings.on("thresholds", () => this._thresholds()),
      app.settings.on("zone", () => this._zone())];
    this._thresholds();
    this._chosen(interval);
    this._loadSessions();
    this.inspect = () => ({ interval: this.feed.interval, candles: this.feed.bars.list.map(({ candle }) => candle), drawn: this.chart.data() });
    globalThis.tickwire.chart = this.inspect; // for tests and support
  }

  /** @param {string} interval */
  setInterval(interval) {
    if (interval === this.feed.interval) return;
    this.fresh = true;
    this.hovered = null;
    this.feed.open(interval);
    this._chosen(interval);
  }

  /** Keys of the chart. @returns {import("../../types.js").KeyTable} */
  keys() {
    return {
      ArrowLeft: { label: "Pan into the past", run: () => this.chart.pan(-PAN_BARS) },
      ArrowRight: { label: "Pan to the newest bars", run: () => this.chart.pan(PAN_BARS) },
      "+": { label: "Zoom in", run: () => this.chart.zoom(ZOOM) },
      "-": { label: "Zoom out", run: () => this.chart.zoom(1 / ZOOM) },
      End: { label: "Show the newest bars", run: () => this.chart.end() },
      d: { label: "Data table", run: () => this.toggleTable() },
    };
  }

  toggleTable() {
    this.table.toggle(!this.table.shown);
    this.bar.buttons.table.setAttribute("aria-pressed", String(this.table.shown));
    if (this.table.shown) this.table.element.focus();
  }

  close() {
    if (globalThis.tickwire.chart === this.inspect) delete globalThis.tickwire.chart;
    for (const off of this.offs) off();
    this.feed.close();
    this.chart.close();
    this.table.close();
    this.panel.close();
  }

  _panel() {
    const body = h("div", { class: "chart-body" }, this.legend.element, this.chart.element,
      h("p", { class: "chart-credit dim" }, h("a", { href: CREDIT, target: "_blank", rel: "noopener noreferrer", text: "Charts by TradingView" }), this.note),
      this.error, this.table.element);
    let placed = false;
    return panel(this.app, {
      title: "Chart",
      actions: [this.bar.intervals, this.bar.tools],
      load: (signal) => this.feed.load(signal),
      empty: ({ candles }) => (candles.length || this.feed.bars.list.length ? null : `No ${this.feed.interval} candles of ${this.symbol} yet: the first one comes with the first price.`),
      show: (answer, content) => {
        if (!placed) content.replaceChildren(body);
        placed = true;
        this.feed.take(answer);
      },
    });
  }

  /** @param {string} interval */
  _chosen(interval) {
    for (const button of this.bar.choices) button.setAttribute("aria-pressed", String(button.textContent === interval));
    this.bar.buttons.sessions.hidden = interval === "4h" || interval === "1d";
  }

  /** @param {Bar} bar */
  _changed(bar) {
    if (this.hovered?.start === bar.start) this.hovered = bar;
    this.isLegendOld = true;
    this.chart.changed(bar);
    this.table.changed();
    if (this.element.dataset.state === "empty") this.panel.reload();
  }

  _reset() {
    this.isLegendOld = true;
    this.chart?.reset({ fresh: this.fresh });
    if (this.feed?.bars.list.length) this.fresh = false;
    this.table?.changed();
  }

  _zone() {
    this.isLegendOld = true;
    this.table.changed();
    this.app.paint.request();
  }

  /** @param {Bar|null} bar */
  _hover(bar) {
    this.hovered = bar;
    this.isLegendOld = true;
    this.app.paint.request(true);
  }

  _legend() {
    if (!this.isLegendOld || (this.app.paint.paused && !this.hovered)) return;
    this.isLegendOld = false;
    const { bars, interval } = this.feed;
    const shown = this.hovered ?? bars.last;
    const before = shown ? bars.list[bars.place(shown.start) - 1] : undefined;
    this.legend.show(shown, before, interval, this.app.settings.get("zone"));
  }

  /** Own price thresholds of this instrument as lines. */
  _thresholds() {
    const own = this.app.settings.get("thresholds").filter((/** @type {any} */ each) => each.instrument === this.symbol && each.metric === "price");
    this.chart.setThresholds(own.map((/** @type {any} */ { op, value }) => ({ value: String(value), text: op === "crosses" ? "×" : op })));
  }

  async _loadSessions() {
    try {
      this.sessions = (await this.app.rest.get("sessions")).sessions;
    } catch {
      this.sessions = []; // the chart has no shading
    }
    this.chart.setSessions(this.sessions ?? []);
  }

  toggleSessions() {
    const on = this.bar.buttons.sessions.getAttribute("aria-pressed") !== "true";
    this.bar.buttons.sessions.setAttribute("aria-pressed", String(on));
    this.chart.setSessions(on ? (this.sessions ?? []) : []);
  }

  /** Save the visible time as CSV. @param {"candles"|"ticks"} what */
  async save(what) {
    const bars = this.chart.visible();
    if (bars.length === 0) return;
    const end = bars[bars.length - 1].end;
    const start = what === "ticks" ? Math.max(bars[0].start, end - DAY_MS) : bars[0].start;
    const [from, to] = [start, end].map((ms) => new Date(ms).toISOString());
    const more = what === "candles" ? { interval: this.feed.interval } : {};
    const name = [this.symbol, what === "candles" ? this.feed.interval : what, ...[from, to].map((text) => text.slice(0, 16).replace(":", ""))].join("_");
    try {
      await this.app.rest.download(what, { symbol: this.symbol, ...more, start: from, end: to, format: "csv" }, `${name}.csv`);
      this.error.hidden = true;
    } catch (error) {
      write(this.error, `Export: ${/** @type {Error} */ (error).message}`);
      this.error.hidden = false;
    }
  }
}

/** The intervals and the tools of a chart. @param {ChartPanel} chart */
function toolbar(chart) {
  const choices = INTERVALS.map((interval, index) => h("button", {
    class: "button", type: "button", text: interval, title: `Key ${index + 1}`, "aria-pressed": "false",
    onclick: () => chart.app.router.query({ interval }),
  }));
  const button = (/** @type {string} */ text, /** @type {string} */ title, /** @type {() => void} */ onclick, props = {}) =>
    h("button", { class: "button", type: "button", text, title, onclick, ...props });
  const buttons = {
    sessions: button("Sessions", "Shade the hours of the sessions", () => chart.toggleSessions(), { "aria-pressed": "true" }),
    table: button("Data table", "Key d", () => chart.toggleTable(), { "aria-pressed": "false" }),
    candles: button("Candles CSV", "The visible candles as CSV", () => chart.save("candles")),
    ticks: button("Ticks CSV", "The prices of the visible time as CSV, at most its last 24 hours", () => chart.save("ticks")),
  };
  return {
    choices,
    buttons,
    intervals: h("div", { class: "chart-intervals", role: "group", "aria-label": "Interval" }, choices),
    tools: h("div", { class: "chart-tools" }, Object.values(buttons)),
  };
}
