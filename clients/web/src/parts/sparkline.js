// @ts-check
/**
 * A line of the last 24 hourly closes and the live mid, 92×20 CSS pixels. It is a path and not a
 * canvas: Chromium gives each canvas a layer, and 36 layers cost more in each frame than the rows.
 */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 92;
const HEIGHT = 20;
const MARGIN = 2;
const DOT = "m-.5-.5h1v1h-1z"; // around the live mid

export class Sparkline {
  element = document.createElementNS(SVG, "svg");
  #path = document.createElementNS(SVG, "path");
  /** @type {number[] | null} */
  #points = null;
  #end = NaN; // y of the live mid in pixels

  constructor() {
    this.element.setAttribute("class", "grid-spark");
    this.element.setAttribute("aria-hidden", "true"); // the column Change has the same fact as text
    this.element.append(this.#path);
  }

  /**
   * Draw if a pixel would change. `mid` NaN: there is no live price.
   * @param {number[]} points oldest first @param {number} mid
   */
  show(points, mid) {
    const [low, high] = range(points, mid);
    const y = Math.round(heightOf(mid, low, high));
    if (points === this.#points && Object.is(y, this.#end)) return;
    this.#points = points;
    this.#end = y;
    this.#draw(Number.isNaN(mid) ? points : [...points, mid], low, high);
  }

  /** @param {number[]} values @param {number} low @param {number} high */
  #draw(values, low, high) {
    const drawn = values.length >= 2;
    this.#path.setAttribute("d", drawn ? line(values, low, high) : "");
    const [first, last] = [values[0], values[values.length - 1]];
    const sign = last > first ? "up" : last < first ? "down" : "";
    if ((this.element.dataset.sign ?? "") !== sign) this.element.dataset.sign = sign;
  }
}

/** @param {number[]} values @param {number} low @param {number} high */
function line(values, low, high) {
  const step = (WIDTH - 2 * MARGIN) / (values.length - 1);
  const points = values.map((value, index) => `${(MARGIN + index * step).toFixed(1)} ${heightOf(value, low, high).toFixed(1)}`);
  return `M${points.join("L")}${DOT}`;
}

/** @param {number} value @param {number} low @param {number} high */
function heightOf(value, low, high) {
  const share = high > low ? (value - low) / (high - low) : 0.5;
  return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN);
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
