// @ts-check
/** A chart of figures over time, with marks, gaps and a text summary that screen readers reach. */

import { NONE, number } from "../format.js";
import { columns, figures, Ring } from "../ring.js";
import { minute, resolved, time } from "../zones.js";
import { h } from "./h.js";
import { axis, ink, plot } from "./shared/plot.js";
import { summary } from "./shared/summary.js";

const STEP_MS = 1000; // between two points of the stream
const MAX_MARKS = 50;
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3]];

/** @typedef {(string|number|null)[]} Values one for each line; a decimal text is shown as it is */
/** @typedef {{label: string, color: string}} Line `color`: a token of app.css, such as "up" */

/**
 * `push` adds the values of one moment, at most one each `step`. `set` replaces the points before the
 * first pushed one: `[ms, ...values]`, oldest first, each `historyStep` ms. A distance of more than
 * 1.5 steps is a gap without a line. `mark` draws a vertical line with a text.
 * @param {import("../types.js").App} app
 * @param {{label: string, unit?: string, lines: Line[], seconds: number, height?: number, step?: number}} options
 * @returns {{element: HTMLElement, push(ms: number, values: Values): void,
 *   set(points: Values[], historyStep?: number): void, mark(ms: number, text: string): void,
 *   setStep(ms: number): void, close(): void}}
 */
export function series(app, { label, unit = "", lines, seconds, height = 160, step = STEP_MS }) {
  const state = new State(lines.length, seconds * 1000, step);
  const text = summary(lines, seconds);
  const { element, place, readout } = figure(label, unit, text.element);
  const data = () => {
    const result = state.columns(app.clock.now());
    text.show(result.slice(1).map(figures), state.last, state.places);
    return result;
  };
  const make = (/** @type {any} */ uPlot) => options(app, uPlot, { lines, state, readout });
  const chart = plot(app, place, { height, make, data });
  const ends = [app.paint.every(STEP_MS, chart.redraw), app.settings.on("zone", chart.redraw)];
  return {
    element,
    push: (ms, values) => state.push(ms, values),
    set(points, historyStep = 300_000) {
      state.set(points, historyStep);
      chart.redraw();
    },
    mark: (ms, words) => state.mark(ms, words),
    setStep: (ms) => void (state.step = ms),
    close() {
      ends.forEach((end) => end());
      chart.close();
    },
  };
}

/** The elements of a chart. @param {string} label @param {string} unit @param {HTMLElement} text */
function figure(label, unit, text) {
  const place = h("div", { class: "series-plot", "aria-hidden": "true" });
  const readout = h("p", { class: "series-readout dim num", "aria-hidden": "true" });
  const head = h("figcaption", { class: "series-head" }, h("span", { text: unit ? `${label} (${unit})` : label }), readout);
  const named = { class: "series", role: "group", "aria-label": unit ? `${label}, ${unit}` : label };
  return { element: h("figure", named, head, place, text), place, readout };
}

/** The points and marks of a chart. */
class State {
  /** @param {number} lines @param {number} span ms @param {number} step ms */
  constructor(lines, span, step) {
    this.span = span;
    this.step = step;
    this.historyStep = step;
    this.now = 0;
    this.live = new Ring(lines);
    this.history = new Ring(lines);
    /** @type {{ms: number, text: string}[]} */
    this.marks = [];
    /** @type {(string|null)[]} the newest text of each line */
    this.last = Array(lines).fill(null);
    this.places = 0;
  }

  /** @param {number} ms @param {Values} values */
  push(ms, values) {
    // The stream sends up to 10 values a second: the newest one of each step stays.
    const last = this.live.lastTime();
    const begin = Math.floor(last / this.step) * this.step;
    const at = ms < begin + this.step && ms >= begin ? last : ms;
    if (this.live.push(at, values.map((value) => this._number(value)))) {
      this.last = values.map((value) => (value === null ? null : String(value)));
    }
  }

  /** @param {Values[]} points @param {number} historyStep */
  set(points, historyStep) {
    this.historyStep = historyStep;
    this.history.clear();
    for (const [ms, ...values] of points) this.history.push(Number(ms), values.map((value) => this._number(value)));
  }

  /** @param {number} ms @param {string} text */
  mark(ms, text) {
    this.marks.push({ ms, text });
    if (this.marks.length > MAX_MARKS) this.marks.shift();
  }

  /** @param {number} now ms */
  columns(now) {
    this.now = now;
    return columns(this.history, this.historyStep, this.live, this.step, now - this.span, this.last.length);
  }

  /** @param {string|number|null|undefined} value */
  _number(value) {
    if (value === null || value === undefined) return null;
    const [, digits = ""] = String(value).split(".");
    this.places = Math.min(8, Math.max(this.places, digits.length));
    return Number(value);
  }
}

/**
 * @param {import("../types.js").App} app
 * @param {any} uPlot
 * @param {{lines: Line[], state: State, readout: HTMLElement}} parts
 */
function options(app, uPlot, { lines, state, readout }) {
  const zone = () => app.settings.get("zone");
  return {
    ms: 1,
    tzDate: (/** @type {number} */ ms) => uPlot.tzDate(new Date(ms), resolved(zone())),
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false } },
    scales: { x: { range: () => [state.now - state.span, state.now] }, y: { range: padded } },
    axes: timeAxes(zone),
    series: [{}, ...lines.map((line, index) => ({
      label: line.label, stroke: ink(line.color), width: 1.5, dash: DASHES[index % DASHES.length],
    }))],
    hooks: {
      draw: [(/** @type {any} */ chart) => drawMarks(chart, state)],
      setCursor: [(/** @type {any} */ chart) => (readout.textContent = values(chart, lines, zone()))],
    },
  };
}

/** @param {() => string} zone */
function timeAxes(zone) {
  const times = (/** @type {any} */ _, /** @type {number[]} */ splits, /** @type {any[]} */ ...more) =>
    splits.map((ms) => clockText(ms, zone(), more[2]));
  const numbers = (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map((each) => number(each));
  return [axis({ size: 24, space: 60, values: times }), axis({ size: 60, space: 24, values: numbers })];
}

/** @param {number} ms @param {string} zone @param {number} increment ms between two labels */
function clockText(ms, zone, increment) {
  return increment >= 60_000 ? minute(ms, zone) : time(ms, zone);
}

/**
 * The range of the y axis. It leaves room around a flat line too.
 * @param {any} _ @param {number|null} min @param {number|null} max
 */
function padded(_, min, max) {
  if (min === null || max === null) return [0, 1];
  const room = (max - min) * 0.08 || Math.abs(max) * 0.05 || 1;
  return [min >= 0 ? Math.max(0, min - room) : min - room, max + room];
}

/** @param {any} chart @param {Line[]} lines @param {string} zone */
function values(chart, lines, zone) {
  const { idx } = chart.cursor;
  if (idx === null || idx === undefined || chart.data[0][idx] === undefined) return "";
  const each = lines.map((line, index) => `${line.label} ${chart.data[index + 1][idx] ?? NONE}`);
  return `${time(chart.data[0][idx], zone)}  ${each.join("  ")}`;
}

/** @param {any} chart @param {State} state */
function drawMarks(chart, state) {
  const { ctx, bbox } = chart;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = ink("warn")();
  ctx.lineWidth = scale;
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  for (const { ms, text } of state.marks) {
    const x = Math.round(chart.valToPos(ms, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const left = x + ctx.measureText(text).width + 8 * scale > bbox.left + bbox.width;
    ctx.textAlign = left ? "right" : "left";
    ctx.fillText(text, x + (left ? -4 : 4) * scale, bbox.top + 2 * scale);
  }
  ctx.restore();
}
