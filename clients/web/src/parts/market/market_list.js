// @ts-check
/** The list pane: bar, head, rows, filters, sorting and keys. */

import { age, change, spread } from "../../format.js";
import { LIVE_COLUMNS, listing, parseSort, sortText } from "../../market/listing.js";
import { STARRED, current, listNamed, symbolsOf, toggleStar } from "../../market/lists.js";
import { Grid } from "../grid.js";
import { gridHead } from "./grid_head.js";
import { h, write } from "../h.js";
import { emptyText, stateWithout, textWithout } from "./list_note.js";
import { marketBar } from "./market_bar.js";

const SORT_MS = 5000;
const SKELETON_ROWS = 14;

/** @typedef {import("../../types.js").App} App */

export class MarketList {
  #app;
  /** @type {{kind: string | null, list: string | null, sort: import("../../market/listing.js").Sort | null}} */
  #view = { kind: null, list: null, sort: null };
  #bar;
  #head;
  #grid;
  #pointer = false; // in the rows
  #loaded = false; // /symbols has answered
  /** Why there is no list. @type {any} */
  #error = null;
  #skeleton = h("div", { class: "grid-skeleton", "aria-hidden": "true" }, Array.from({ length: SKELETON_ROWS }, () => h("span", {})));
  #note = h("p", { class: "grid-note note", role: "status", hidden: true }, "");
  #spoken = h("div", { class: "sr-only", role: "status" }, "");
  #starred = new Set();
  #offs;
  #table;
  element;

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    this.#bar = marketBar(app, (choice) => this.#choose(choice));
    this.#head = gridHead((sort) => this.#choose({ sort }));
    this.#grid = new Grid(app, () => this.#starred);
    const table = h("div", { class: "grid-table", role: "grid", "aria-label": "Market" }, this.#head.element, this.#grid.body);
    this.element = h("div", { class: "grid", "data-state": "loading" }, this.#bar.element, table, this.#skeleton, this.#note, this.#spoken);
    this.#table = table;
    this.#listen();
    const { store, settings, find, router, hub, paint, keys } = app;
    this.#offs = [
      store.on("instruments", () => this.#apply()),
      store.on("loaded", (/** @type {any} */ error) => this.#answered(error)),
      store.on("market", () => this.#ready()),
      store.on("cleared", () => this.#cleared()),
      store.on("sources", () => this.#note.hidden || this.#apply()),
      settings.on("lists", () => this.#starsChanged()),
      find.on(() => this.#apply()),
      router.on((route) => this.#routed(route)),
      hub.on("state", () => this.#grid.refresh()),
      hub.on("live", () => this.#ready()),
      paint.every(SORT_MS, () => this.#sortAgain()),
      keys.bind(this.#keys()),
    ];
    this.#starsChanged();
    this.#routed(router.route);
  }

  close() {
    for (const off of this.#offs) off();
    this.#bar.close();
    this.#grid.close();
    this.element.remove();
  }

  #listen() {
    const { body } = this.#grid;
    body.addEventListener("pointerenter", ({ pointerType }) => (this.#pointer = pointerType === "mouse"));
    body.addEventListener("pointerleave", () => (this.#pointer = false));
    body.addEventListener("keydown", (event) => this.#moved(event));
    body.addEventListener("click", (event) => this.#clicked(event));
  }

  /** @param {Partial<{kind: string | null, list: string | null, sort: import("../../market/listing.js").Sort | null}>} changed */
  #choose(changed) {
    Object.assign(this.#view, changed);
    const { kind, list, sort } = this.#view;
    const { router } = this.#app;
    const wanted = { kind, list, sort: sortText(sort) };
    const differs = Object.entries(wanted).some(([name, value]) => router.route.query.get(name) !== value);
    if (router.route.view === "market" && differs) router.query(wanted);
    else this.#apply();
  }

  /** The address of the market names kind, list and sort; without them the list stays as it is. @param {import("../../types.js").Route} route */
  #routed({ view, query }) {
    if (view === "market" && ["list", "kind", "sort"].some((name) => query.has(name))) {
      const list = listNamed(this.#app.settings, query.get("list"));
      this.#view = { kind: query.get("kind"), list, sort: parseSort(query.get("sort")) };
    } else if (view === "market") {
      queueMicrotask(() => this.#choose({})); // after all listeners have received this route
    }
    this.#apply();
    this.#grid.marksChanged();
  }

  /** Show the rows of the present filters, sorted now. */
  #apply() {
    const { store, find, settings } = this.#app;
    const { kind, sort } = this.#view;
    if (this.#view.list !== null) this.#view.list = listNamed(settings, this.#view.list);
    this.#announceChoice();
    const list = this.#view.list === null ? null : symbolsOf(settings, this.#view.list);
    const order = listing(store.rows, store.symbols, { kind, list, find: find.text, sort }, this.#grid.order);
    this.#grid.setOrder(order);
    this.#head.show(sort);
    const total = store.symbols.length;
    this.#bar.show(this.#view, order.length === total ? `${total}` : `${order.length} of ${total}`);
    this.#table.setAttribute("aria-rowcount", String(order.length + 1));
    this.#show(order.length, total);
  }

  /** Other views begin with the list that is shown here. */
  #announceChoice() {
    const { list, kind } = this.#view;
    if (list === current.list && kind === current.kind) return;
    Object.assign(current, { list, kind });
    this.#app.store.emit("choice");
  }

  /** @param {number} shown @param {number} total */
  #show(shown, total) {
    const { find, store } = this.#app;
    const isMissing = total === 0 && !this.#loaded;
    const state = isMissing ? stateWithout(this.#error) : shown ? "ready" : "empty";
    this.#skeleton.hidden = state !== "loading";
    const text = isMissing ? textWithout(this.#error) : shown ? "" : emptyText({ total, health: store.health, find: find.text, list: this.#view.list });
    write(this.#note, text);
    this.#note.hidden = !text;
    this.element.dataset.state = state;
  }

  /** @param {any} error */
  #answered(error) {
    this.#error = error;
    this.#loaded ||= !error;
    this.#apply();
  }

  /** Rows without a price have none: the prices of all instruments have been loaded. */
  #ready() {
    this.element.dataset.prices = "loaded";
    this.#grid.refresh();
    if (this.#view.sort) this.#sortAgain();
  }

  /** The user has signed out. */
  #cleared() {
    [this.#loaded, this.#error] = [false, null];
    delete this.element.dataset.prices;
    this.#spoken.textContent = "";
  }

  /** Values have changed. The order stays while the pointer or the focus is in the list. */
  #sortAgain() {
    const { sort } = this.#view;
    if (!sort || !LIVE_COLUMNS.has(sort.column) || this.#pointer || this.#grid.focused || this.#app.paint.paused) return;
    this.#apply();
  }

  #starsChanged() {
    this.#starred = new Set(symbolsOf(this.#app.settings, STARRED));
    this.#grid.marksChanged();
    if (this.#view.list !== null) this.#apply();
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const target = /** @type {Element} */ (event.target);
    const symbol = this.#grid.symbolAt(target);
    if (symbol === null || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (target.closest(".grid-star")) return void toggleStar(this.#app.settings, symbol);
    event.preventDefault(); // of the link
    if (getSelection()?.type !== "Range") this.#open(symbol);
  }

  /** @param {string} symbol */
  #open(symbol) {
    this.#app.router.go(this.#app.router.href("instrument", symbol));
  }

  /** The keys that move in the list. @param {KeyboardEvent} event */
  #moved(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { activeIndex, page, order } = this.#grid;
    const onRow = this.#app.store.rows.has(this.#grid.symbolAt(/** @type {Element} */ (event.target)) ?? "");
    const step = onRow ? 1 : 0; // from the list itself to its active row
    /** @type {Record<string, number>} */
    const places = {
      ArrowUp: activeIndex - step, ArrowDown: activeIndex + step, Home: 0, End: order.length - 1,
      PageUp: activeIndex - page, PageDown: activeIndex + page,
    }; // prettier-ignore
    if (Object.hasOwn(places, event.key)) this.#grid.focusRow(places[event.key]);
    else if (event.key === "Enter" && onRow && !(event.target instanceof HTMLButtonElement)) this.#open(order[activeIndex]);
    else return;
    event.preventDefault();
  }

  /** Shortcuts for the row with the focus. @returns {import("../../types.js").KeyTable} */
  #keys() {
    /** @param {string} label @param {(symbol: string) => void} act */
    const onRow = (label, act) => ({
      label,
      run: () => {
        const symbol = this.#grid.symbolAt(/** @type {Element} */ (document.activeElement));
        if (symbol !== null) act(symbol);
      },
    });
    return {
      t: onRow("In the list: set a threshold", (symbol) => this.#threshold(symbol)),
      s: onRow("In the list: set or remove the star", (symbol) => void toggleStar(this.#app.settings, symbol)),
      p: onRow("In the list: announce the price", (symbol) => this.#speak(symbol)),
    };
  }

  /** @param {string} symbol */
  async #threshold(symbol) {
    const { askThreshold } = await import("../alerts/thresholds.js");
    askThreshold(this.#app, symbol);
  }

  /** @param {string} symbol */
  #speak(symbol) {
    const row = this.#app.store.rows.get(symbol);
    if (!row) return;
    const unit = row.kind === "fx" ? " pips" : "";
    const moved = row.reference === null ? "" : `, change ${change(row.mid, row.reference).text}`;
    const { bid, ask, kind } = row;
    const text = row.mid === null
      ? `${row.name}: no price`
      : `${row.name}: bid ${bid}, ask ${ask}, spread ${spread(bid, ask, kind)}${unit}${moved}, age ${age(this.#app.clock.now() - row.at)}`;
    this.#spoken.textContent = "";
    setTimeout(() => (this.#spoken.textContent = text), 50); // the same text again is announced too
  }
}
