// @ts-check
/** The newest fills: from REST, then from the events of the stream. */

import { NONE } from "../../format.js";
import { liveTable } from "../shared/live_table.js";
import { panel } from "../shared/panel.js";
import { amount, figure } from "./figures.js";
import { filtered } from "./filter.js";
import { csvButton } from "./positions.js";

const LIMIT = 100;
const PAINT_MS = 250; // a new row moves the whole table
const REFRESH_MS = 60_000; // for corrections, which have no event
const COLUMNS = [
  { name: "time", title: "Time" },
  { name: "bot", title: "Bot" },
  { name: "strategy", title: "Strategy" },
  { name: "symbol", title: "Instrument" },
  { name: "side", title: "Side" },
  { name: "quantity", title: "Quantity", num: true },
  { name: "price", title: "Price", num: true },
  { name: "fee", title: "Fee (+ paid)", num: true, hint: "positive: paid, a cost; negative: a rebate" },
  { name: "realized_pnl", title: "Realised P&L", num: true },
  { name: "latency_ms", title: "Latency ms", num: true },
  { name: "slippage_bps", title: "Slippage bps (+ cost)", num: true, hint: "positive: a cost" },
  { name: "liquidity", title: "Liquidity" },
];

/**
 * @param {import("../../types.js").App} app
 * @param {import("./filter.js").Filter} filter
 * @param {(ms: number) => {text: string, title: string}} when
 */
export function fills(app, filter, when) {
  return new Fills(app, filter, when);
}

class Fills {
  /** Newest first. @type {any[]} */
  _rows = [];
  _changed = false;
  _painted = 0;

  /**
   * @param {import("../../types.js").App} app
   * @param {import("./filter.js").Filter} filter
   * @param {(ms: number) => {text: string, title: string}} when
   */
  constructor(app, filter, when) {
    this._filter = filter;
    this._table = liveTable({ caption: `The newest ${LIMIT} fills`, columns: COLUMNS, tall: true });
    this._show = () => this._table.show(this._rows.map((fill) => row(app, fill, when)));
    this._panel = panel(app, {
      title: "Recent fills",
      actions: csvButton(app, "fills", filter),
      load: (/** @type {AbortSignal} */ signal) =>
        filtered(filter, () => app.rest.get("fills", { ...filter, order: "desc", limit: LIMIT }, { signal })),
      show: (/** @type {any} */ body, /** @type {HTMLElement} */ content) => this._loaded(body.fills, content),
      empty: (/** @type {any} */ body) => (body.fills.length + this._rows.length === 0 ? "No fill has been reported." : null),
      every: REFRESH_MS,
    });
    this.element = this._panel.element;
    this._ends = [
      app.paint.register((/** @type {unknown} */ _, /** @type {number} */ now) => app.paint.paused || this._paint(now)),
      app.paint.every(PAINT_MS, () => this._changed && app.paint.request()),
    ];
  }

  reload() {
    return this._panel.reload();
  }

  /** @param {any} trade `metadata.trade` of `trade_executed` */
  add(trade) {
    const fill = ofTrade(trade);
    if (!permits(this._filter, fill) || this.element.dataset.state === "loading") return;
    this._rows = merged([fill], this._rows);
    this._changed = true;
  }

  close() {
    for (const end of this._ends) end();
    this._panel.close();
  }

  /** @param {any[]} fills @param {HTMLElement} content */
  _loaded(fills, content) {
    const newest = fills[0]?.time ?? "";
    this._rows = merged(fills, this._rows.filter((fill) => fill.time > newest && permits(this._filter, fill)));
    if (this._table.element.parentNode === null) content.append(this._table.element);
    this._show();
  }

  /** Show the fills of events. @param {number} now */
  _paint(now) {
    if (!this._changed || now - this._painted < PAINT_MS) return;
    [this._changed, this._painted] = [false, now];
    this._panel.set("ready");
    this._panel.content.hidden = false;
    this._show();
  }
}

/** @param {import("./filter.js").Filter} filter @param {any} fill */
function permits(filter, fill) {
  return (filter.strategy ?? fill.strategy) === fill.strategy && (filter.bot ?? fill.bot) === fill.bot;
}

/** @param {any[]} first @param {any[]} second @returns {any[]} each fill once, newest first */
function merged(first, second) {
  const kept = new Map([...second, ...first].map((fill) => [`${fill.bot}:${fill.fill_id}`, fill]));
  return [...kept.values()].sort((left, right) => (left.time < right.time ? 1 : left.time > right.time ? -1 : 0)).slice(0, LIMIT);
}

/** @param {any} trade @returns {any} the fields of GET /fills */
function ofTrade(trade) {
  const { trade_id: id, timestamp, pnl, ...same } = trade;
  return { ...same, fill_id: id.slice(trade.bot.length + 1), time: timestamp, realized_pnl: pnl, voided: false };
}

/** @param {import("../../types.js").App} app @param {any} fill @param {(ms: number) => {text: string, title: string}} when */
function row(app, fill, when) {
  const fee = figure("fee", fill.fee);
  const texts = /** @type {Record<string, any>} */ ({
    time: when(app.clock.parse(fill.time)),
    symbol: { text: fill.symbol, href: app.router.href("instrument", fill.symbol) },
    side: fill.voided ? { text: `${fill.side} (voided)`, title: "cancelled by a correction" } : fill.side,
    fee: { ...fee, text: fee.text === NONE || !fill.fee_currency ? fee.text : `${fee.text} ${fill.fee_currency}` },
    realized_pnl: fill.realized_pnl === null ? { ...figure("fill_pnl", null), rest: "" } : amount("realized_pnl", fill.realized_pnl),
  });
  return {
    key: `${fill.bot}:${fill.fill_id}`,
    class: fill.voided ? "trading-voided" : "",
    cells: COLUMNS.map(({ name }) => texts[name] ?? figure(name, fill[name])),
  };
}
