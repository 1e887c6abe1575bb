// @ts-check
/**
 * The market list: virtual rows. A pool of row elements is bound by index mod pool length; the row
 * with the focus stays in the pool, whatever is scrolled or sorted.
 */

import { h } from "./h.js";
import { Row } from "./row.js";

const ROW_PX = { coarse: 44, compact: 24, normal: 28 };
const OVERSCAN = 4; // rows above and below the visible ones
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
  /** @type {Row[]} */
  #pool = [];
  /** The row with the focus, while it is outside of the window. @type {Row | null} */
  #pinned = null;
  /** @type {Row | null} */
  #spare = null;
  /** @type {Map<Element, Row>} */
  #rows = new Map();
  #space = h("div", { class: "grid-space", role: "presentation" });
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
    const row = element.closest(".grid-row");
    return (row && this.#rows.get(row)?.symbol) || null;
  }

  /** Put the focus on a row, and scroll as far as needed. @param {number} index */
  focusRow(index) {
    if (!this.order.length) return;
    const place = Math.max(0, Math.min(this.order.length - 1, index));
    this.active = this.order[place];
    this.#reveal(place);
    this.#bind();
    this.#rowOf(this.active)?.element.focus({ preventScroll: true });
  }

  /** Index of the active row; of the first visible one if that is not in the list. */
  get activeIndex() {
    const index = this.active === null ? -1 : this.order.indexOf(this.active);
    return index < 0 ? Math.ceil(this.#top / this.#rowPx) : index;
  }

  /** Stars and the open instrument have changed. */
  marksChanged() {
    const starred = this.#starred();
    for (const row of this.#bound()) this.#mark(row, starred);
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
    const wanted = Math.max(MIN_POOL, this.page + 1 + 2 * OVERSCAN);
    while (this.#pool.length < wanted) this.#pool.push(this.#newRow());
    while (this.#pool.length > wanted) this.#remove(/** @type {Row} */ (this.#pool.pop()));
    for (const row of this.#rows.values()) row.index = -1; // their places have changed
    this.#top = this.body.scrollTop;
    this.setOrder(this.order);
  }

  #newRow() {
    const row = new Row();
    this.#rows.set(row.element, row);
    this.#space.append(row.element);
    return row;
  }

  /** @param {Row} row */
  #remove(row) {
    row.hide();
    row.element.remove();
    this.#rows.delete(row.element);
  }

  /** Bind the pool to the rows of the window. */
  #bind() {
    const { length } = this.#pool;
    if (!length) return;
    const last = Math.max(0, this.order.length - length);
    const first = Math.max(0, Math.min(last, Math.floor(this.#top / this.#rowPx) - OVERSCAN));
    const starred = this.#starred();
    this.#keepFocus(first, length);
    for (let index = first; index < first + length; index += 1) {
      const row = this.#pool[index % length];
      if (index < this.order.length) this.#show(row, index, starred);
      else if (!row.element.hidden) row.hide();
    }
    this.#reach();
  }

  /** @param {Row} row @param {number} index @param {Set<string>} starred */
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

  /** @param {Row} row @param {Set<string>} starred */
  #mark(row, starred) {
    const { view, symbol } = this.#app.router.route;
    row.star(starred.has(row.symbol));
    row.current((view === "instrument" || view === "book") && symbol === row.symbol);
  }

  /** Give the row with the focus its place in the pool, or pin it outside of the window. @param {number} first @param {number} length */
  #keepFocus(first, length) {
    const row = this.#focusedRow();
    const index = row ? this.order.indexOf(row.symbol) : -1;
    if (!row || index < 0) return this.#unpin();
    const inside = index >= first && index < first + length;
    const slot = index % length;
    if (inside && this.#pool[slot] !== row) {
      const present = this.#pool.indexOf(row);
      if (present >= 0) this.#pool[present] = this.#pool[slot];
      else this.#spareRow(this.#pool[slot]);
      this.#pool[slot] = row;
      this.#pinned = null;
    } else if (!inside) {
      if (row !== this.#pinned) this.#pin(row);
      this.#show(row, index, this.#starred());
    }
  }

  /** @param {Row} row */
  #pin(row) {
    this.#unpin();
    this.#pool[this.#pool.indexOf(row)] = this.#spare ?? this.#newRow();
    this.#spare = null;
    this.#pinned = row;
  }

  #unpin() {
    if (this.#pinned) this.#spareRow(this.#pinned);
    this.#pinned = null;
  }

  /** @param {Row} row */
  #spareRow(row) {
    row.hide();
    this.#spare = row;
  }

  /** Tab reaches the active row, or the first visible one. */
  #reach() {
    const first = this.order[Math.min(this.order.length - 1, Math.ceil(this.#top / this.#rowPx))];
    const wanted = this.active !== null && this.#rowOf(this.active) ? this.active : first;
    for (const row of this.#bound()) row.reach(row.symbol === wanted);
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
    const row = this.#rows.get(/** @type {Element} */ (target.closest(".grid-row")));
    const data = row && this.#app.store.rows.get(row.symbol);
    if (data) row.describe(data, this.#app.clock.now(), this.#app.settings.get("zone"));
  }

  #focusedRow() {
    const element = document.activeElement?.closest(".grid-row");
    return element ? this.#rows.get(element) : undefined;
  }

  #bound() {
    return this.#pinned ? [...this.#pool, this.#pinned] : this.#pool;
  }

  /** @param {string} symbol */
  #rowOf(symbol) {
    return this.#bound().find((row) => row.symbol === symbol);
  }

  /** @param {Set<string>} dirty @param {number} now */
  #paint(dirty, now) {
    const all = this.#agesDue && !this.#app.paint.paused;
    if (all) this.#agesDue = false;
    const connected = this.#app.hub.state === "live";
    for (const row of this.#bound()) {
      if (!row.symbol || !(all || dirty.has(row.symbol))) continue;
      const data = this.#app.store.rows.get(row.symbol);
      if (data) row.show(data, now, connected);
    }
  }
}
