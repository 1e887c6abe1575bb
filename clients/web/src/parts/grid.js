// @ts-check
/** The rows of the market list: which ones are shown, where, and which one has the focus. */

import { h } from "./h.js";
import { Pool } from "./market/pool.js";

const ROW_PX = { coarse: 44, compact: 24, normal: 28 };
const OVERSCAN = 3; // rows above and below the visible ones
const MIN_POOL = 12;
const COARSE = matchMedia("(pointer: coarse)");

/** @typedef {import("../types.js").App} App */

export class Grid {
  /** The symbols in the order shown. @type {string[]} */
  order = [];
  /** The row that the arrow keys start from. @type {string | null} */
  active = null;
  #app;
  #starred;
  #space = h("div", { class: "grid-space", role: "presentation" });
  #pool = new Pool(this.#space);
  #top = 0;
  #height = 0;
  #rowPx = ROW_PX.normal;
  #agesDue = true;
  #offs;
  body = h("div", { class: "grid-body", role: "rowgroup", tabindex: "0", "aria-label": "Instruments" }, this.#space);

  /** @param {App} app @param {() => Set<string>} starred */
  constructor(app, starred) {
    this.#app = app;
    this.#starred = starred;
    this.body.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.body.addEventListener("focusin", ({ target }) => this.#focused(/** @type {Element} */ (target)));
    this.body.addEventListener("pointerover", ({ target }) => this.#describe(/** @type {Element} */ (target)));
    const sizes = new ResizeObserver(() => this.#resized());
    sizes.observe(this.body);
    const resize = () => this.#resized();
    COARSE.addEventListener("change", resize);
    this.#offs = [
      app.paint.register((dirty, now) => this.#paint(dirty, now)),
      app.paint.every(1000, () => this.refresh()),
      app.settings.on("density", resize),
      () => sizes.disconnect(),
      () => COARSE.removeEventListener("change", resize),
    ];
  }

  close() {
    for (const off of this.#offs) off();
  }

  get rowPx() {
    return this.#rowPx;
  }

  /** Rows that fit into the list. */
  get page() {
    return Math.max(1, Math.floor(this.#height / this.#rowPx));
  }

  /** Whether the focus is in the list. */
  get focused() {
    return this.body.contains(document.activeElement);
  }

  /** @param {string[]} order */
  setOrder(order) {
    this.order = order;
    this.#space.style.height = `${order.length * this.#rowPx}px`;
    this.#bind();
    this.refresh();
  }

  /** Write all rows of the window in the next frame: ages, stars, states. */
  refresh() {
    this.#agesDue = true;
    this.#app.paint.request();
  }

  /** The symbol of a row that contains the element. @param {Element} element */
  symbolAt(element) {
    return this.#pool.containing(element)?.symbol || null;
  }

  /** Put the focus on a row, and scroll as far as needed. @param {number} index */
  focusRow(index) {
    if (!this.order.length) return;
    const place = Math.max(0, Math.min(this.order.length - 1, index));
    this.active = this.order[place];
    this.#reveal(place);
    this.#bind();
    this.#pool.showing(this.active)?.element.focus({ preventScroll: true });
  }

  /** Index of the active row; of the first visible one if that is not in the list. */
  get activeIndex() {
    const index = this.active === null ? -1 : this.order.indexOf(this.active);
    return index < 0 ? Math.ceil(this.#top / this.#rowPx) : index;
  }

  /** Stars and the open instrument have changed. */
  marksChanged() {
    const starred = this.#starred();
    for (const row of this.#pool.bound) this.#mark(row, starred);
  }

  #scrolled() {
    this.#top = this.body.scrollTop;
    this.#bind();
  }

  #resized() {
    this.#height = this.body.clientHeight;
    const { settings } = this.#app;
    this.#rowPx = COARSE.matches ? ROW_PX.coarse : ROW_PX[settings.get("density") === "compact" ? "compact" : "normal"];
    this.body.style.setProperty("--grid-row", `${this.#rowPx}px`);
    this.#pool.resize(Math.max(MIN_POOL, this.page + 1 + 2 * OVERSCAN));
    this.#top = this.body.scrollTop;
    this.setOrder(this.order);
  }

  /** Bind the pool to the rows of the window. */
  #bind() {
    const { length } = this.#pool;
    if (!length) return;
    const last = Math.max(0, this.order.length - length);
    const first = Math.max(0, Math.min(last, Math.floor(this.#top / this.#rowPx) - OVERSCAN));
    const starred = this.#starred();
    const pinned = this.#pool.keepFocus(first, (symbol) => this.order.indexOf(symbol));
    if (pinned) this.#show(pinned.row, pinned.index, starred);
    for (let index = first; index < first + length; index += 1) {
      const row = this.#pool.at(index);
      if (index < this.order.length) this.#show(row, index, starred);
      else if (!row.element.hidden) row.hide();
    }
    this.#reach();
  }

  /** @param {import("./row.js").Row} row @param {number} index @param {Set<string>} starred */
  #show(row, index, starred) {
    const symbol = this.order[index];
    if (row.symbol === symbol && row.index === index) return;
    const { store, router, clock, hub } = this.#app;
    const data = store.rows.get(symbol);
    if (!data) return;
    row.bind(index, data, { top: index * this.#rowPx, href: router.href("instrument", symbol) });
    this.#mark(row, starred);
    row.show(data, clock.now(), hub.state === "live");
  }

  /** @param {import("./row.js").Row} row @param {Set<string>} starred */
  #mark(row, starred) {
    const { view, symbol } = this.#app.router.route;
    row.star(starred.has(row.symbol));
    row.current((view === "instrument" || view === "book") && symbol === row.symbol);
  }

  /** Tab reaches the active row, or the first visible one. */
  #reach() {
    const first = this.order[Math.min(this.order.length - 1, Math.ceil(this.#top / this.#rowPx))];
    const wanted = this.active !== null && this.#pool.showing(this.active) ? this.active : first;
    for (const row of this.#pool.bound) row.reach(row.symbol === wanted);
  }

  /** @param {number} index */
  #reveal(index) {
    const top = index * this.#rowPx;
    if (top < this.#top) this.#top = top;
    else if (top + this.#rowPx > this.#top + this.#height) this.#top = top + this.#rowPx - this.#height;
    else return;
    this.body.scrollTop = this.#top;
  }

  /** @param {Element} target */
  #focused(target) {
    const symbol = this.symbolAt(target);
    if (symbol === null || symbol === this.active) return;
    this.active = symbol;
    this.#reach();
  }

  /** @param {Element} target */
  #describe(target) {
    const row = this.#pool.containing(target);
    const data = row && this.#app.store.rows.get(row.symbol);
    if (data) row.describe(data, this.#app.clock.now(), this.#app.settings.get("zone"));
  }

  /** @param {Set<string>} dirty @param {number} now */
  #paint(dirty, now) {
    const all = this.#agesDue && !this.#app.paint.paused;
    if (all) this.#agesDue = false;
    const connected = this.#app.hub.state === "live";
    for (const row of this.#pool.bound) {
      if (!row.symbol || !(all || dirty.has(row.symbol))) continue;
      const data = this.#app.store.rows.get(row.symbol);
      if (data) row.show(data, now, connected);
    }
  }
}
