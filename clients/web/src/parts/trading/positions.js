// @ts-check
/** Open positions from REST; mark and P&L live from the prices of the page. */

import { compare, multiply } from "../../decimals.js";
import { h } from "../h.js";
import { liveTable } from "../live_table.js";
import { panel } from "../panel.js";
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
 * @param {any} app
 * @param {import("./filter.js").Filter} filter
 */
export function positions(app, filter) {
  const table = liveTable({ caption: "Open positions", columns: COLUMNS });
  /** @type {{open: any[], loaded: number}} */
  const state = { open: [], loaded: 0 };
  const made = panel(app, {
    title: "Positions",
    actions: [csvButton(app, "positions", filter)],
    load: (/** @type {AbortSignal} */ signal) =>
      filtered(filter, () => app.rest.get("positions", { ...filter, limit: LIMIT }, { signal })),
    show: (/** @type {any} */ body, /** @type {HTMLElement} */ content) => {
      state.open = body.positions.filter((/** @type {any} */ each) => compare(each.quantity, "0") !== 0)
        .map((/** @type {any} */ each) => ({ ...each, multiplier: multiplierOf(each) }));
      state.loaded = app.clock.now();
      if (table.element.parentNode === null) content.append(table.element);
      table.show(state.open.map((position) => row(app, position, state.loaded)));
    },
    empty: (/** @type {any} */ body) => body.positions.some((/** @type {any} */ each) => compare(each.quantity, "0") !== 0)
      ? null : "No open position.",
    every: REFRESH_MS,
  });
  const again = paced(app, () => made.reload());
  const off = app.paint.register((/** @type {Set<string>} */ dirty) => {
    if (app.paint.paused || !state.open.some(({ symbol }) => dirty.has(symbol))) return;
    table.show(state.open.map((position) => row(app, position, state.loaded)));
  });
  return {
    element: made.element,
    reload: () => made.reload(),
    soon: again.request,
    close() {
      off();
      again.close();
      made.close();
    },
  };
}

/**
 * @param {any} app @param {any} position @param {number} loaded ms
 * @returns {import("../live_table.js").RowData}
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
 * The CSV file of all rows that the filter permits.
 * @param {any} app @param {"positions"|"fills"} name @param {import("./filter.js").Filter} filter
 */
export function csvButton(app, name, filter) {
  const button = h("button", { class: "button", type: "button", text: "CSV", "aria-label": `Download ${name} as CSV` });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await app.rest.download(name, { ...filter, format: "csv" }, `${name}.csv`);
    } catch (error) {
      app.announce(`The file could not be loaded: ${/** @type {Error} */ (error).message}`);
      button.title = /** @type {Error} */ (error).message;
    }
    button.disabled = false;
  });
  return button;
}

/**
 * Run `load` after a request, at most once a second.
 * @param {any} app @param {() => void} load
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
