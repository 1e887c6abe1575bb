// @ts-check
/** The order book of one instrument as a table of levels, with its figures and its state. */

import { figures, share } from "../instrument/book.js";
import { BookFeed } from "../instrument/book_feed.js";
import { age, number } from "../format.js";
import { time, tooltip } from "../zones.js";
import { h, write } from "./h.js";
import { Bar, Cell } from "./instrument/ladder_cells.js";
import { skeleton } from "./shared/panel.js";

const PAINT_MS = 100; // at most 10 repaints a second
const AGE_MS = 1000;
const COLUMNS = ["Cum. bid", "Bid size", "Bid", "Ask", "Ask size", "Cum. ask"];
const DIMMED = new Set(["resyncing", "gap", "stale"]);

/** @typedef {import("../types.js").App} App */
/** @typedef {import("../instrument/book.js").Figures} Figures */

/**
 * @param {App} app
 * @param {{symbol: string, depth: number, painted?: (figures: Figures|null) => void}} about
 *   `painted`: after each repaint; null: there is no book
 * @returns {{element: HTMLElement, depth(depth: number): void, close(): void}}
 */
export function ladder(app, about) {
  return new Ladder(app, about);
}

class Ladder {
  /** @param {App} app @param {{symbol: string, depth: number, painted?: (figures: Figures|null) => void}} about */
  constructor(app, { symbol, depth, painted = () => {} }) {
    this.app = app;
    this.symbol = symbol;
    this.painted = painted;
    this.levels = depth;
    this.repaints = 0;
    this.last = -Infinity; // hub time of the last repaint
    this.timer = 0;
    this.changed = false;
    /** Number of updates since the table was frozen; null: it is not. @type {number|null} */
    this.held = null;
    this.heldAt = 0;
    this.view = parts(symbol, () => this._hold(this.held === null));
    this.element = this.view.element;
    /** @type {Cell[][]} by level, in the order of the columns */
    this.cells = [];
    /** @type {Bar[][]} by level: bid, ask */
    this.bars = [];
    this.feed = new BookFeed(app, symbol, depth, () => this._received());
    this.offs = [
      app.paint.register((_, now) => this._paint(now)),
      app.paint.every(AGE_MS, () => !app.paint.paused && this._state()),
      app.settings.on("zone", () => this._state()),
    ];
    this._rows();
    this._state();
  }

  /** @param {number} depth */
  depth(depth) {
    if (depth === this.levels) return;
    this.levels = depth;
    this._rows();
    this.feed.open(depth);
    this._received();
  }

  close() {
    clearTimeout(this.timer);
    this.feed.close();
    for (const off of this.offs) off();
  }

  /** One row for each level: a change of prices rewrites texts and moves no element. */
  _rows() {
    this.cells = Array.from({ length: this.levels }, () => COLUMNS.map(() => new Cell()));
    this.bars = this.cells.map(() => [new Bar("bid"), new Bar("ask")]);
    this.bars.forEach(([bid, ask], index) => {
      this.cells[index][0].element.prepend(bid.element);
      this.cells[index][COLUMNS.length - 1].element.prepend(ask.element);
    });
    this.view.body.replaceChildren(...this.cells.map((cells) => h("tr", {}, cells.map(({ element }) => element))));
  }

  /** The feed has something new. */
  _received() {
    this.changed = true;
    if (this.held !== null) this.held += 1;
    if (!this.timer) this.app.paint.request();
  }

  /** @param {boolean} flag */
  _hold(flag) {
    this.held = flag ? 0 : null;
    this.heldAt = this.app.clock.now();
    this.view.hold.setAttribute("aria-pressed", String(flag));
    write(this.view.hold, flag ? "Release" : "Hold");
    this.element.dataset.held = String(flag);
    if (flag) this._state();
    else this._received();
  }

  /** @param {number} now */
  _paint(now) {
    if (!this.changed || this.app.paint.paused || this.held !== null) return;
    const wait = this.last + PAINT_MS - now;
    if (wait > 0 && wait <= PAINT_MS) {
      if (!this.timer) this.timer = window.setTimeout(() => this._waited(), wait);
      return;
    }
    this.last = now;
    this.changed = false;
    this.repaints += 1;
    this.element.dataset.repaints = String(this.repaints);
    this._state();
    this._levels();
  }

  /** The frame after the wait of `_paint`. */
  _waited() {
    this.timer = 0;
    this.app.paint.request();
  }

  _levels() {
    const { book, state } = this.feed;
    const shown = book && state !== "syncing" ? figures(book, this.levels) : null;
    this.view.scroll.hidden = shown === null;
    this.view.measures.hidden = shown === null;
    if (shown) {
      this.bars.forEach((bars, index) => this._level(bars, this.cells[index], shown.bids[index], shown.asks[index], shown.largest));
      write(this.view.measures, measuresText(shown, this.levels));
      this.view.measures.dataset.crossed = String(shown.crossed);
    }
    this.painted(shown);
  }

  /**
   * @param {Bar[]} bars @param {Cell[]} cells
   * @param {import("../instrument/book.js").Row|undefined} bid @param {import("../instrument/book.js").Row|undefined} ask @param {string} largest
   */
  _level(bars, cells, bid, ask, largest) {
    const texts = [bid?.total, bid?.size, bid?.price, ask?.price, ask?.size, ask?.total];
    texts.forEach((text, index) => cells[index].write(text ?? ""));
    bars[0].show(bid ? share(bid.total, largest) : 0);
    bars[1].show(ask ? share(ask.total, largest) : 0);
  }

  _state() {
    const { feed, app } = this;
    const zone = app.settings.get("zone");
    const lost = app.hub.state !== "live";
    const old = feed.book ? age(app.clock.now() - app.clock.parse(feed.book.timestamp)) : "";
    const [mark, text] = this.held === null ? stateText(feed, lost, zone, app.clock.parse(feed.about?.timestamp)) : ["‖", `Held at ${time(this.heldAt, zone)}`];
    write(this.view.mark, mark);
    write(this.view.state, text);
    write(this.view.age, this.held !== null ? `${this.held} updates waiting` : ageText(old));
    this.view.age.title = feed.book ? tooltip(app.clock.parse(feed.book.timestamp), zone) : "";
    this.element.dataset.state = feed.problem && feed.state === "loading" ? "error" : feed.state;
    this.element.dataset.dimmed = String(DIMMED.has(feed.state) || lost);
    const waits = feed.state === "syncing" || (feed.state === "loading" && !feed.problem);
    this.view.waiting.hidden = !waits;
    if (waits || feed.state === "none") this.view.scroll.hidden = this.view.measures.hidden = true;
    this.view.age.hidden = this.view.hold.hidden = this.view.scroll.hidden;
  }
}

/** The elements of a ladder. @param {string} symbol @param {() => void} onHold */
function parts(symbol, onHold) {
  const mark = h("span", { class: "ladder-mark", "aria-hidden": "true" });
  const state = h("span", { role: "status" });
  const age = h("span", { class: "dim" }); // changes each second: it is not announced
  const measures = h("p", { class: "ladder-measures num" });
  const hold = h("button", { class: "button ladder-hold", type: "button", "aria-pressed": "false", text: "Hold", title: "Freeze the table", onclick: onHold });
  const body = h("tbody");
  const table = h("table", { class: "ladder-table" },
    h("caption", { class: "sr-only", text: `Order book of ${symbol}, best level first` }),
    h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col", class: "num", text: name })))), body);
  const waiting = skeleton(10);
  const scroll = h("div", { class: "ladder-scroll", tabindex: "0", role: "region", "aria-label": `Order book of ${symbol}` }, table);
  const element = h("div", { class: "ladder", "data-state": "loading" },
    h("div", { class: "ladder-head" }, h("p", { class: "ladder-state" }, mark, " ", state, " ", age), hold), measures, waiting, scroll);
  return { element, mark, state, age, measures, hold, body, waiting, scroll };
}

/** @param {string} old */
function ageText(old) {
  if (!old) return "";
  return old === "now" ? "updated now" : `updated ${old} ago`;
}

/**
 * The mark and the words of a state.
 * @param {BookFeed} feed @param {boolean} lost @param {string} zone @param {number} since ms
 * @returns {[mark: string, words: string]}
 */
function stateText({ state, reason, about, symbol, problem }, lost, zone, since) {
  const words = (reason ?? "").replaceAll("_", " ");
  if (lost && state !== "none" && state !== "loading") return ["!", "No connection: the last book"];
  switch (state) {
    case "live":
      return ["●", "live"];
    case "syncing":
      return ["○", `Synchronising: snapshot requested at ${Number.isFinite(since) ? time(since, zone) : "…"}`];
    case "resyncing":
      return ["○", `Resynchronising: ${words}`];
    case "gap":
      return ["!", gapText(about, words)];
    case "stale":
      return ["!", `stale: ${words}`];
    case "none":
      return ["", `No order book for ${symbol}: its source delivers prices only.`];
    default:
      return ["", problem || "Loading the order book …"];
  }
}

/** @param {any} about the message of the change @param {string} words */
function gapText(about, words) {
  const { expected_id: expected, received_id: received, update_id: update } = about ?? {};
  const missing = Number.isFinite(expected) && Number.isFinite(received) && received > expected ? received - expected : null;
  const at = expected ?? update;
  return `Gap${at === null || at === undefined ? "" : ` at update ${at}`}: the book is rebuilt (${words}${missing === null ? "" : `, ${missing} updates missing`})`;
}

/** @param {Figures} shown @param {number} depth */
function measuresText({ spread, bps, crossed, imbalance }, depth) {
  if (spread === null) return "One side is empty";
  const parts = [`Spread ${number(spread)}`, `${number(bps)} bps${crossed ? " crossed" : ""}`];
  return [...parts, `Imbalance of ${depth} levels ${imbalance === null ? "–" : number(imbalance)}`].join(" · ");
}
