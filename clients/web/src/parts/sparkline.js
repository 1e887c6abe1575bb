// @ts-check
/** A line of the last 24 hourly closes and the live mid, on a canvas of 92×20 CSS pixels. */

import { color, onChange } from "../appearance.js";

const WIDTH = 92;
const HEIGHT = 20;
const MARGIN = 2;
const FORCED = matchMedia("(forced-colors: active)");

/** Changes with the theme and the palette: all lines are drawn again. */
let generation = 1;
/** @type {{up: string, down: string, dim: string} | null} */
let colors = null;
onChange(() => {
  generation += 1;
  colors = null;
});

function palette() {
  if (FORCED.matches) return { up: "CanvasText", down: "CanvasText", dim: "CanvasText" };
  return (colors ??= { up: color("up"), down: color("down"), dim: color("dim") });
}

export class Sparkline {
  element = document.createElement("canvas");
  /** @type {CanvasRenderingContext2D | null} */
  #context = null;
  #ratio = 0;
  /** @type {number[] | null} */
  #points = null;
  #end = NaN; // y of the live mid in pixels of the canvas
  #generation = 0;

  constructor() {
    this.element.className = "grid-spark";
    this.element.setAttribute("aria-hidden", "true"); // the column Change has the same fact as text
  }

  /**
   * Draw if a pixel would change. `mid` NaN: there is no live price.
   * @param {number[]} points oldest first @param {number} mid
   */
  show(points, mid) {
    const [low, high] = range(points, mid);
    this.#size();
    const y = Math.round(this.#y(mid, low, high));
    if (points === this.#points && generation === this.#generation && Object.is(y, this.#end)) return;
    this.#points = points;
    this.#end = y;
    this.#generation = generation;
    this.#draw(Number.isNaN(mid) ? points : [...points, mid], low, high);
  }

  /** The backing store follows the pixel ratio of the screen. */
  #size() {
    if (this.#ratio === devicePixelRatio) return;
    this.#ratio = devicePixelRatio;
    this.element.width = Math.round(WIDTH * this.#ratio);
    this.element.height = Math.round(HEIGHT * this.#ratio);
    // A canvas in memory: uploads of 36 small textures cost more than their drawing.
    this.#context ??= this.element.getContext("2d", { willReadFrequently: true });
    this.#points = null;
  }

  /** @param {number} value @param {number} low @param {number} high */
  #y(value, low, high) {
    const share = high > low ? (value - low) / (high - low) : 0.5;
    return (HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)) * this.#ratio;
  }

  /** @param {number[]} values @param {number} low @param {number} high */
  #draw(values, low, high) {
    const context = this.#context;
    if (!context) return;
    context.clearRect(0, 0, this.element.width, this.element.height);
    if (values.length < 2) return;
    const { up, down, dim } = palette();
    const first = values[0];
    const last = values[values.length - 1];
    const step = ((WIDTH - 2 * MARGIN) / (values.length - 1)) * this.#ratio;
    const x = (/** @type {number} */ index) => MARGIN * this.#ratio + index * step;
    context.strokeStyle = last > first ? up : last < first ? down : dim;
    context.lineWidth = this.#ratio;
    context.beginPath();
    values.forEach((value, index) => context.lineTo(x(index), this.#y(value, low, high)));
    context.stroke();
    context.fillStyle = context.strokeStyle;
    const dot = 2 * this.#ratio;
    context.fillRect(x(values.length - 1) - dot / 2, this.#y(last, low, high) - dot / 2, dot, dot);
  }
}

/** @param {number[]} points @param {number} mid */
function range(points, mid) {
  let [low, high] = Number.isNaN(mid) ? [Infinity, -Infinity] : [mid, mid];
  for (const point of points) {
    if (point < low) low = point;
    if (point > high) high = point;
  }
  return [low, high];
}
