// @ts-check
/** The chosen pair of the correlation table: value, observations, and its line of the last days. */
import { FEW_OBSERVATIONS } from "../../analytics/analytics.js";
import { correlation, counted } from "../../format.js";
import { date } from "../../zones.js";
import { h, write } from "../h.js";

/** @typedef {import("../../types.js").App} App */
/** @typedef {{first: string, second: string, value: number | null, observations: number | null}} Pair */

const DAYS = 90;
const WAIT_MS = 150; // the pointer rests on a cell before its history is requested
const [WIDTH, HEIGHT] = [240, 48];
const SVG = "http://www.w3.org/2000/svg";

/** @param {App} app */
export function pairLine(app) {
  const [title, figures, summary] = [h("strong"), h("span"), h("span", { class: "dim" })];
  const plot = drawing();
  const element = h("div", { class: "heat-detail", id: "heat-detail" }, h("p", {}, title, " ", figures), plot.element, h("p", {}, summary));
  /** @type {Map<string, any[]>} */
  const known = new Map();
  let [wanted, timer] = ["", 0];

  async function load(/** @type {Pair} */ { first, second }, /** @type {string} */ method, /** @type {string} */ key) {
    try {
      const body = await app.rest.get("correlation/history", { symbol1: first, symbol2: second, method, order: "desc", limit: DAYS });
      known.set(key, body.history.reverse());
      if (key === wanted) draw(key);
    } catch (error) {
      if (key === wanted) write(summary, /** @type {any} */ (error).message);
    }
  }

  function draw(/** @type {string} */ key) {
    const history = known.get(key) ?? [];
    plot.draw(history.map(({ correlation }) => correlation));
    write(summary, historyText(app, history));
  }

  write(title, "Choose a cell");
  write(summary, `Then the line of its last ${DAYS} days is here.`);
  return {
    element,
    /** Forget the histories: there is a new matrix. */
    forget: () => known.clear(),
    show(/** @type {Pair} */ pair, /** @type {string} */ method) {
      const key = [method, pair.first, pair.second].sort().join("|");
      const few = pair.observations !== null && pair.observations < FEW_OBSERVATIONS ? " (few)" : "";
      write(title, `${pair.first} · ${pair.second}`);
      write(figures, `${correlation(pair.value)}, ${pair.observations ?? "no"} observations${few}`);
      if (key === wanted) return;
      wanted = key;
      clearTimeout(timer);
      if (known.has(key)) return draw(key);
      plot.draw([]);
      write(summary, "Loading the history …");
      timer = window.setTimeout(() => load(pair, method, key), WAIT_MS);
    },
    close: () => clearTimeout(timer),
  };
}

/** The text in place of the line. @param {App} app @param {any[]} history */
function historyText(app, history) {
  const values = history.map(({ correlation }) => correlation).filter((value) => value !== null);
  if (!values.length) return "No history of this pair.";
  const day = (/** @type {any} */ { time }) => date(app.clock.parse(time), app.settings.get("zone"));
  const days = `${counted(history.length, "day")}, ${day(history[0])} to ${day(history[history.length - 1])}`;
  return `${days}: lowest ${correlation(Math.min(...values))}, highest ${correlation(Math.max(...values))}`;
}

function drawing() {
  const make = (/** @type {string} */ tag, /** @type {Record<string, any>} */ attributes) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
    return made;
  };
  const element = make("svg", { class: "heat-line", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true", preserveAspectRatio: "none" });
  const zero = make("path", { class: "heat-zero", d: `M0 ${HEIGHT / 2}H${WIDTH}` });
  const line = make("path", { class: "heat-path", d: "" });
  element.append(zero, line);
  return { element, draw: (/** @type {(number | null)[]} */ values) => line.setAttribute("d", path(values)) };
}

/** The line between -1 (bottom) and 1 (top); a missing value ends a piece. @param {(number | null)[]} values */
function path(values) {
  const x = (/** @type {number} */ index) => (values.length > 1 ? 2 + (index * (WIDTH - 4)) / (values.length - 1) : WIDTH / 2);
  let pen = false;
  return values.map((value, index) => {
    if (value === null) return (pen = false), "";
    const point = `${x(index).toFixed(1)} ${(((1 - value) / 2) * (HEIGHT - 4) + 2).toFixed(1)}`;
    const alone = !pen && (values[index + 1] ?? null) === null; // a dot
    const piece = `${pen ? "L" : "M"}${point}${alone ? "h0.1" : ""}`;
    pen = true;
    return piece;
  }).join("");
}
