// @ts-check
/** Sessions and day separators behind the candles, as a primitive of lightweight-charts. */

import { color } from "../../appearance.js";
import { spans } from "../../instrument/market_sessions.js";
import { date, dayStarts } from "../../zones.js";

const DAY = 86_400_000;
const ROW = 14; // px of a session's name
const STRIP = 3; // px
const SHADE = 0.07;
const LEAST_DAY = 28; // px between two separators
const LEAST_LABEL = 52; // px between two dates
const LEAST_SESSIONS = 40; // px of a day
const FONT = "12px system-ui, sans-serif";
const BARS_PER_DAY = /** @type {Record<string, number>} */ ({ "1m": 1440, "5m": 288, "15m": 96, "1h": 24 }); // longer ones show no sessions
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** "18 Nov" @param {string} day "2025-11-18" */
export function shortDate(day) {
  return `${Number(day.slice(8))} ${MONTHS[Number(day.slice(5, 7)) - 1]}`;
}

/** @typedef {import("../../instrument/candles.js").Bar} Bar */

/** @param {string} order @param {(target: any) => void} draw */
function view(order, draw) {
  return { zOrder: () => order, renderer: () => ({ draw }) };
}

export class ChartMarks {
  /** @param {() => {bars: Bar[], interval: string, zone: string, sessions: any[]}} state the drawn bars */
  constructor(state) {
    this.state = state;
    /** @type {any} */
    this.chart = null;
    this.update = () => {};
    /** @type {{key: string, spans: import("../../instrument/market_sessions.js").Span[], days: number[]}} */
    this.kept = { key: "", spans: [], days: [] };
    this.views = [view("bottom", (target) => this._draw(target)), view("top", (target) => this._drawNames(target))];
  }

  /** @param {any} about */
  attached({ chart, requestUpdate }) {
    this.chart = chart;
    this.update = requestUpdate;
  }

  detached() {
    this.update = () => {};
  }

  paneViews() {
    return this.views;
  }

  /** @param {any} target */
  _draw(target) {
    const { bars, interval, zone, sessions } = this.state();
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!range || bars.length === 0 || interval === "1d") return;
    const from = bars[Math.max(0, Math.floor(range.from))];
    const to = bars[Math.min(bars.length - 1, Math.ceil(range.to))];
    if (!from || !to) return;
    const { spans: shown, days } = this._kept(from.start, to.end, zone, this._showsSessions() ? sessions : []);
    target.useMediaCoordinateSpace((/** @type {any} */ { context, mediaSize }) => {
      context.font = FONT;
      const place = (/** @type {number} */ ms) => this._x(bars, ms);
      for (const span of shown) this._session(context, mediaSize, span.row, place(span.from), place(span.to));
      const inside = days.filter((day) => day > bars[0].start);
      this._days(context, mediaSize, inside, place, zone);
    });
  }

  /** Whether a day is wide enough. */
  _showsSessions() {
    const bars = BARS_PER_DAY[this.state().interval] ?? 0;
    return bars * this.chart.timeScale().options().barSpacing >= LEAST_SESSIONS;
  }

  /** The marks of the days around [from, to), computed again if one of them changes. */
  _kept(/** @type {number} */ from, /** @type {number} */ to, /** @type {string} */ zone, /** @type {any[]} */ sessions) {
    const [begin, end] = [Math.floor(from / DAY) * DAY, Math.ceil(to / DAY) * DAY];
    const key = `${begin} ${end} ${zone} ${sessions.length}`;
    if (this.kept.key !== key) this.kept = { key, spans: spans(sessions, begin, end), days: dayStarts(begin, end, zone) };
    return this.kept;
  }

  /** The left edge of the first bar that does not start before the time. */
  _x(/** @type {Bar[]} */ bars, /** @type {number} */ ms) {
    let [low, high] = [0, bars.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (bars[middle].start < ms) low = middle + 1;
      else high = middle;
    }
    const scale = this.chart.timeScale();
    return scale.logicalToCoordinate(low) - scale.options().barSpacing / 2; // it takes whole numbers alone
  }

  /** A shade over the height, and a strip in the row of the session. */
  _session(/** @type {any} */ context, /** @type {{width: number, height: number}} */ size, /** @type {number} */ row, /** @type {number} */ left, /** @type {number} */ right) {
    const [from, to] = [Math.max(0, left), Math.min(size.width, right)];
    if (!(to > from)) return;
    context.globalAlpha = SHADE;
    context.fillStyle = color("dim");
    context.fillRect(from, 0, to - from, size.height);
    context.globalAlpha = 1;
    context.fillStyle = color("edge");
    context.fillRect(from, row * ROW + ROW / 2 - 1, to - from, STRIP);
  }

  /** The names of the rows at the left edge. @param {any} target */
  _drawNames(target) {
    const { sessions, bars } = this.state();
    if (bars.length === 0 || !this._showsSessions()) return;
    target.useMediaCoordinateSpace((/** @type {any} */ { context }) => {
      Object.assign(context, { font: FONT, textAlign: "left", textBaseline: "middle" });
      sessions.forEach(({ name }, row) => {
        context.fillStyle = color("bg");
        context.fillRect(0, row * ROW, context.measureText(name).width + 8, ROW);
        context.fillStyle = color("dim");
        context.fillText(name, 4, row * ROW + ROW / 2);
      });
    });
  }

  /** @param {any} context @param {{width: number, height: number}} size @param {number[]} days @param {(ms: number) => number} place @param {string} zone */
  _days(context, size, days, place, zone) {
    let [last, label] = [-LEAST_DAY, -LEAST_LABEL];
    context.textBaseline = "top";
    for (const day of days) {
      const x = Math.round(place(day)) + 0.5;
      if (x < 0 || x > size.width || x - last < LEAST_DAY) continue;
      last = x;
      context.strokeStyle = color("edge");
      context.setLineDash([2, 3]);
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, size.height);
      context.stroke();
      context.setLineDash([]);
      if (x - label < LEAST_LABEL) continue;
      label = x;
      context.fillStyle = color("dim");
      context.textAlign = "left";
      context.fillText(shortDate(date(day, zone)), x + 4, size.height - 16);
    }
  }
}
