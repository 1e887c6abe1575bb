// @ts-check
/** Open positions from REST; mark and P&L live from the prices of the page. */

import { compare, multiply } from "../../decimals.js";
import { h, write } from "../h.js";
import { liveTable } from "../shared/live_table.js";
import { panel } from "../shared/panel.js";
import { amount, figure, markOf, multiplierOf, priced, unrealised } from "./figures.js";
import { filtered } from "./filter.js";
import { withNote } from "./strategies.js";

const RELOAD_MS = 1000; // at most
const REFRESH_MS = 30_000; // for changes without an event, such as corrections
const LIMIT = 1000;
const COLUMNS = [
  { name: "bot", title: "Bot" },
  { name: "strategy", title: "Strategy" },
  { name: "symbol", title: "Instrument" },
  { name: "side", title: "Side" },
  { name: "quantity", title: "Quantity", num: true },
  { name: "average_price", title: "Average cost", num: true },
  { name: "mark", title: "Mark", num: true, hint: "the bid of a long position, the ask of a short one" },
  { name: "unrealized_pnl", title: "Unrealised P&L", num: true, hint: "(mark − average cost) · quantity" },
  { name: "currency", title: "Currency" },
];

/**
 * @param {import("../../types.js").App} app
 * @param {import("./filter.js").Filter} filter
 */
export function positions(app, filter) {
  return new Positions(app, filter);
}

class Positions {
  /** @type {any[]} */
  _open = [];
  _loaded = 0; // ms

  /** @param {import("../../types.js").App} app @param {import("./filter.js").Filter} filter */
  constructor(app, filter) {
    this._app = app;
    this._table = liveTable({ caption: "Open positions", columns: COLUMNS });
    this._panel = panel(app, {
      title: "Positions",
      actions: csvButton(app, "positions", filter),
      load: (/** @type {AbortSignal} */ signal) =>
        filtered(filter, () => app.rest.get("positions", { ...filter, limit: LIMIT }, { signal })),
      show: (/** @type {any} */ body, /** @type {HTMLElement} */ content) => this._fill(body, content),
      empty: (/** @type {any} */ body) => (body.positions.some(isOpen) ? null : "No open position."),
      every: REFRESH_MS,
    });
    this.element = this._panel.element;
    this._again = paced(app, () => this._panel.reload());
    this._off = app.paint.register((/** @type {Set<string>} */ dirty) => {
      if (!app.paint.paused && this._open.some(({ symbol }) => dirty.has(symbol))) this._show();
    });
  }

  reload() {
    return this._panel.reload();
  }

  /** After an event: at most one request a second. */
  soon() {
    this._again.request();
  }

  close() {
    this._off();
    this._again.close();
    this._panel.close();
  }

  /** @param {any} body @param {HTMLElement} content */
  _fill(body, content) {
    this._open = body.positions.filter(isOpen).map((/** @type {any} */ each) => ({ ...each, multiplier: multiplierOf(each) }));
    this._loaded = this._app.clock.now();
    if (this._table.element.parentNode === null) content.append(this._table.element);
    this._show();
  }

  _show() {
    this._table.show(this._open.map((position) => row(this._app, position, this._loaded)));
  }
}

/** @param {{quantity: string}} position */
function isOpen({ quantity }) {
  return compare(quantity, "0") !== 0;
}

/**
 * @param {import("../../types.js").App} app @param {any} position @param {number} loaded ms
 * @returns {import("../shared/live_table.js").RowData}
 */
function row(app, position, loaded) {
  const price = app.store.rows.get(position.symbol);
  const fresh = price !== undefined && price.mid !== null && price.at >= loaded;
  const mark = (fresh || position.mark === null ? markOf(position, price) : null) ?? position.mark;
  const long = compare(position.quantity, "0") > 0;
  const old = position.mark_stale && !fresh;
  const pnl = withNote(amount("unrealized_pnl", pnlAt(position, mark)), old ? "!" : "", "the price of this position is old");
  const texts = /** @type {Record<string, any>} */ ({
    symbol: { text: position.symbol, href: app.router.href("instrument", position.symbol) },
    side: long ? "long" : "short",
    average_price: priced("average_price", position.average_price, mark),
    mark: figure("mark", mark),
    unrealized_pnl: pnl,
  });
  return {
    key: `${position.bot} ${position.strategy} ${position.symbol}`,
    cells: COLUMNS.map(({ name }) => texts[name] ?? figure(name, position[name])),
  };
}

/** @param {any} position @param {string|null} mark @returns {string|null} */
function pnlAt(position, mark) {
  if (mark === null || position.average_price === null) return position.unrealized_pnl;
  if (position.mark !== null && compare(mark, position.mark) === 0) return position.unrealized_pnl;
  const pnl = unrealised(mark, position.average_price, position.quantity);
  return position.multiplier === null ? pnl : multiply(pnl, position.multiplier);
}

/**
 * A button for the CSV file of all rows that the filter permits, after a place for its failure.
 * @param {import("../../types.js").App} app @param {"positions"|"fills"} name @param {import("./filter.js").Filter} filter
 */
export function csvButton(app, name, filter) {
  const failed = h("span", { class: "panels-warn", role: "status" });
  const button = h("button", { class: "button", type: "button", text: "CSV", "aria-label": `Download ${name} as CSV` });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await app.rest.download(name, { ...filter, format: "csv" }, `${name}.csv`);
      write(failed, "");
    } catch (error) {
      write(failed, /** @type {Error} */ (error).message);
    }
    button.disabled = false;
  });
  return [failed, button];
}

/**
 * Run `load` after a request, at most once a second.
 * @param {import("../../types.js").App} app @param {() => void} load
 */
function paced(app, load) {
  let [last, timer] = [0, 0];
  return {
    request() {
      if (timer !== 0) return;
      const wait = Math.max(0, last + RELOAD_MS - app.clock.local());
      timer = window.setTimeout(() => {
        timer = 0;
        last = app.clock.local();
        load();
      }, wait);
    },
    close: () => clearTimeout(timer),
  };
}
