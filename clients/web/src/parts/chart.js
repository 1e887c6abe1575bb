// @ts-check
/** Candles and volume of one instrument, drawn by lightweight-charts. */

import { onChange } from "../appearance.js";
import { drawnPart } from "../instrument/candles.js";
import { candleOptions, chartOptions, lineOptions, point, priceFormat, timeTexts, volumeColor } from "./instrument/chart_style.js";
import { library } from "./instrument/chart_library.js";
import { ChartMarks } from "./instrument/chart_marks.js";
import { h } from "./h.js";

const FIT_BELOW = 100; // bars
const FIRST_VISIBLE = 140; // bars
const RIGHT_ROOM = 4;
const NEAR = 40; // bars between the visible range and the end of the drawn bars
const APPLIED_MS = 100; // the library has applied a range by then
const MANY = 200; // changes that a new setData replaces

/** @typedef {import("../instrument/candles.js").Bar} Bar */
/** @typedef {import("../instrument/candles.js").Bars} Bars */

export class CandleChart {
  /**
   * @param {import("../types.js").App} app
   * @param {{label: string, bars: () => Bars, older: () => void, hover: (bar: Bar|null) => void}} about
   *   `older`: the oldest bars come into sight; `hover`: the bar under the crosshair
   */
  constructor(app, about) {
    this.app = app;
    this.about = about;
    this.element = h("div", { class: "chart-canvas", role: "img", "aria-label": about.label });
    /** @type {any} */
    this.chart = null;
    /** @type {Bar[]} */
    this.drawn = [];
    this.followsEnd = true; // the newest bar is among the drawn ones
    this.hasReset = true;
    /** @type {Map<number, Bar>} at -> bar */
    this.changes = new Map();
    /** @type {any[]} */
    this.sessions = [];
    /** @type {{value: string, text: string}[]} */
    this.thresholds = [];
    /** @type {{from: number, to: number}|null} a range that is not applied yet */
    this.wanted = null;
    this.timer = 0;
    this.inks = ["", ""]; // of falling and rising volume
    this.closed = false;
    this.offs = [
      app.paint.register(() => this._paint()),
      onChange(() => this._restyle()),
      app.settings.on("zone", () => this._restyle()),
    ];
    library().then((api) => !this.closed && this._make(api), (error) => this.element.append(`The chart library could not be loaded: ${error.message}`));
  }

  /** @param {Bar} bar */
  changed(bar) {
    this.changes.set(bar.at, bar);
    this.app.paint.request();
  }

  /** Draw all bars again. `fresh`: another interval, with its own visible range. @param {{fresh?: boolean}} [how] */
  reset({ fresh = false } = {}) {
    if (fresh) this.drawn = [];
    this.hasReset = true;
    this.app.paint.request();
  }

  /** @param {any[]} sessions of `GET /sessions`; none: no shading */
  setSessions(sessions) {
    this.sessions = sessions;
    this.marks?.update();
  }

  /** @param {{value: string, text: string}[]} thresholds */
  setThresholds(thresholds) {
    this.thresholds = thresholds;
    if (!this.chart) return;
    for (const line of this.lines ?? []) this.candles.removePriceLine(line);
    this.lines = thresholds.map(({ value, text }) => this.candles.createPriceLine(lineOptions(Number(value), text)));
  }

  /** @param {number} bars to the right; negative: into the past */
  pan(bars) {
    const range = this._range();
    if (range) this._setRange({ from: range.from + bars, to: range.to + bars });
  }

  /** Show fewer bars (factor below 1) or more; the right edge stays. @param {number} factor */
  zoom(factor) {
    const range = this._range();
    if (!range) return;
    const width = Math.min(Math.max((range.to - range.from) * factor, 10), Math.max(this.drawn.length * 1.2, 10));
    this._setRange({ from: range.to - width, to: range.to });
  }

  /** Show the newest bars. */
  end() {
    if (!this.chart) return;
    if (!this.followsEnd) {
      this.drawn = [];
      this.wanted = null;
      this._draw();
    }
    this.chart.timeScale().scrollToRealTime();
  }

  /** The visible bars. @returns {Bar[]} */
  visible() {
    const range = this.chart?.timeScale().getVisibleLogicalRange();
    if (!range) return this.about.bars().list;
    return this.drawn.slice(Math.max(0, Math.ceil(range.from)), Math.max(0, Math.floor(range.to) + 1));
  }

  /** What the library draws. @returns {any[]} */
  data() {
    return this.chart ? [...this.candles.data()] : [];
  }

  close() {
    this.closed = true;
    for (const off of this.offs) off();
    this.chart?.remove();
    this.chart = null;
  }

  /** @param {any} api */
  _make(api) {
    const { chart } = this;
    if (chart) return;
    this.chart = api.createChart(this.element, this._options());
    this.candles = this.chart.addSeries(api.CandlestickSeries, candleOptions());
    this.volume = this.chart.addSeries(api.HistogramSeries, { priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false }, 1);
    const [prices, volumes] = this.chart.panes();
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.2, bottom: 0.08 } }); // names of sessions are above
    prices.setStretchFactor(4);
    volumes.setStretchFactor(1);
    this.marks = new ChartMarks(() => ({
      bars: this.drawn, interval: this.about.bars().interval, zone: this.app.settings.get("zone"), sessions: this.sessions,
    }));
    this.candles.attachPrimitive(this.marks);
    this.setThresholds(this.thresholds);
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((/** @type {any} */ range) => range && this._moved(range));
    this.chart.subscribeCrosshairMove((/** @type {any} */ { logical, point }) =>
      this.about.hover(point && logical !== undefined ? (this.drawn[logical] ?? null) : null));
    this.hasReset = true;
    this.app.paint.request();
  }

  /** The library applies a range with its next frame. @returns {{from: number, to: number}|null} */
  _range() {
    return this.wanted ?? this.chart?.timeScale().getVisibleLogicalRange() ?? null;
  }

  /** @param {{from: number, to: number}} range */
  _setRange(range) {
    this.wanted = range;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => (this.wanted = null), APPLIED_MS);
    this.chart.timeScale().setVisibleLogicalRange(range);
  }

  _options() {
    const barOf = (/** @type {number} */ at) => this.drawn[this._index(at)];
    return chartOptions(timeTexts(() => this.about.bars().interval, () => this.app.settings.get("zone"), barOf));
  }

  _restyle() {
    if (!this.chart) return;
    this.chart.applyOptions(this._options());
    this.candles.applyOptions(candleOptions());
    this.setThresholds(this.thresholds);
    this._draw(); // the bars of the volume have colours of their own
  }

  _paint() {
    if (!this.chart || this.app.paint.paused) return;
    if (this.hasReset || this.changes.size > MANY) return this._draw();
    const changes = [...this.changes.values()].sort((a, b) => a.at - b.at);
    this.changes.clear();
    for (const bar of changes) this._apply(bar);
  }

  /** @param {Bar} bar */
  _apply(bar) {
    const last = this.drawn.at(-1);
    if (!last || bar.at > last.at) {
      if (!this.followsEnd) return;
      this.drawn.push(bar);
      return this._update(bar, false);
    }
    const index = this._index(bar.at);
    if (this.drawn[index]?.at !== bar.at) return;
    this.drawn[index] = bar;
    this._update(bar, bar !== this.drawn.at(-1));
  }

  /** @param {Bar} bar @param {boolean} older */
  _update(bar, older) {
    this.candles.update(point(bar), older);
    this.volume.update(this._volumePoint(bar), older);
  }

  /** @param {Bar} bar */
  _volumePoint({ at, candle }) {
    return { time: at, value: Number(candle.volume), color: this.inks[Number(candle.close) >= Number(candle.open) ? 1 : 0] };
  }

  _draw() {
    const { list } = this.about.bars();
    const range = this.drawn.length ? this._range() : null;
    const offset = this.drawn.length ? this.about.bars().place(this.drawn[0].start) : 0;
    const visible = range && { from: range.from + offset, to: range.to + offset };
    const part = drawnPart(list.length, visible);
    this.hasReset = false;
    this.changes.clear();
    this.drawn = list.slice(part.from, part.to);
    this.followsEnd = part.to === list.length;
    this.inks = [volumeColor(false), volumeColor(true)];
    this.candles.applyOptions({ priceFormat: priceFormat(this.drawn.slice(-FIRST_VISIBLE)) });
    this.candles.setData(this.drawn.map(point));
    this.volume.setData(this.drawn.map((bar) => this._volumePoint(bar)));
    this.wanted = null;
    if (visible) this._setRange({ from: visible.from - part.from, to: visible.to - part.from });
    else this._show();
  }

  /** The visible range of a new chart. */
  _show() {
    const count = this.drawn.length;
    const scale = this.chart.timeScale();
    if (count < FIT_BELOW) scale.fitContent();
    else scale.setVisibleLogicalRange({ from: count - FIRST_VISIBLE, to: count + RIGHT_ROOM });
  }

  /** The visible range has changed. @param {{from: number, to: number}} range */
  _moved({ from, to }) {
    this.wanted = null;
    const { list } = this.about.bars();
    if (this.hasReset || this.drawn.length === 0) return;
    const hasOlder = this.drawn[0].start > list[0]?.start;
    if (from < NEAR && hasOlder) this._draw();
    else if (from < NEAR) this.about.older();
    else if (to > this.drawn.length - NEAR && !this.followsEnd) this._draw();
  }

  /** The index of the first drawn bar that is not before the time. @param {number} at s */
  _index(at) {
    let [low, high] = [0, this.drawn.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.drawn[middle].at < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
