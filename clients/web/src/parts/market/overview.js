// @ts-check
/** The overview at `#/`: what is live, what is stale, what needs attention, and the movers of the day. */

import { alerts as openAlerts } from "../../alerts/alerts.js";
import { counts, items, movers } from "../../market/attention.js";
import { change, number } from "../../format.js";
import { h, write } from "../h.js";

const REFRESH_MS = 1000;
const MOVERS_MS = 5000;
const MOVERS = 5;
const FOLDED = 2; // items on a narrow screen, as in app.css
const LEGEND = "In the list, Age is the time since the newest price: “now” is less than 1 s, “!” is older than usual, “■” is a closed market.";

/** state -> mark, word, sentence, address of the list that shows it @type {[keyof import("../../market/attention.js").Counts, string, string, string][]} */
const TILES = [
  ["live", "●", "live", "A price came within the usual time of the instrument."],
  ["stale", "!", "stale", "The newest price is older than usual: it may not be the market's."],
  ["closed", "■", "closed", "The market of the instrument is closed."],
  ["none", "–", "no price", "No price has been received yet."],
];

/** @type {import("../../market/attention.js").Item} */
const NO_REST = { tone: "crit", mark: "■", text: "REST does not answer: prices continue, other figures are the last ones", view: "system", symbol: null };

/** @typedef {import("../../types.js").App} App */

export class Overview {
  #app;
  #alerts;
  #headline = h("p", { class: "overview-headline" }, "");
  #tiles = TILES.map(([state, mark, word, title]) => tile(state, mark, word, title));
  #firing = tile("firing", "▲", "", "Open alerts that nobody has acknowledged.");
  #list = h("ul", { class: "overview-items" });
  #more = h("button", { class: "button overview-more", type: "button", "aria-expanded": "false", hidden: true, onclick: () => this.#unfold() }, "");
  #attention;
  #moved;
  #lists = { up: moverTable("Up"), down: moverTable("Down") };
  #shown = "";
  #unfolded = false;
  #asked = false; // /health has answered or failed
  #offs;
  element;

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    this.#alerts = openAlerts(app);
    const tiles = h("div", { class: "overview-tiles" }, [...this.#tiles, this.#firing].map(({ element }) => element));
    this.#attention = section("Needs attention", this.#list, this.#more);
    const empty = h("p", { class: "dim overview-unmoved", text: "No instrument has changed since the close of the day before." });
    this.#moved = { empty, tables: h("div", { class: "overview-movers" }, this.#lists.up.element, this.#lists.down.element) };
    const moved = section("Movers of the day", this.#moved.tables, empty, h("p", { class: "dim overview-legend" }, "Change since the close of the day before. Open an instrument for its chart."));
    moved.classList.add("overview-wide");
    const legend = h("p", { class: "dim overview-legend overview-wide", text: LEGEND });
    this.element = h("div", { class: "overview" }, h("div", {}, this.#headline, tiles, legend), this.#attention, moved);
    const { paint, store, hub } = app;
    const show = () => this.#show();
    this.#offs = [
      paint.every(REFRESH_MS, show),
      paint.every(MOVERS_MS, () => this.#showMovers()),
      store.on("market", () => this.#showMovers()),
      store.on("instruments", show),
      store.on("sources", () => ((this.#asked = true), show())),
      hub.on("state", show),
      this.#alerts.on(show),
    ];
    this.#show();
    this.#showMovers();
  }

  close() {
    for (const off of this.#offs) off();
    this.element.remove();
  }

  #show() {
    const { store, clock, hub, paint } = this.#app;
    if (paint.paused) return;
    const now = clock.now();
    const connected = hub.state === "live";
    const found = counts(store.rows.values(), now, connected);
    this.#tiles.forEach((each, index) => each.show(found[TILES[index][0]]));
    this.#showFiring();
    const list = items(store, this.#alerts.open.values(), now, connected);
    if (this.#asked && store.health === null) list.unshift(NO_REST);
    write(this.#headline, this.#sentence(found, list.length, connected));
    this.#showItems(list);
  }

  #showFiring() {
    const { firing, open } = this.#alerts;
    const critical = [...open.values()].some(({ state, severity }) => state === "firing" && severity === "critical");
    this.#firing.show(firing, { mark: critical ? "▲▲" : "▲", word: firing === 1 ? "alert firing" : "alerts firing" });
    this.#firing.element.dataset.critical = String(critical);
  }

  /** @param {import("../../market/attention.js").Counts} found @param {number} count @param {boolean} connected */
  #sentence(found, count, connected) {
    const total = this.#app.store.rows.size;
    if (total === 0) return "No instrument is listed yet.";
    if (!connected) return "The hub is not connected: prices are the last ones received.";
    if (count) return `${count === 1 ? "1 thing needs" : `${count} things need`} attention. ${found.live} of ${total} instruments are live.`;
    return found.live + found.closed === total ? "All is well: every open market is live." : `${found.live} of ${total} instruments are live.`;
  }

  /** Written again only if a text differs. @param {import("../../market/attention.js").Item[]} list */
  #showItems(list) {
    const key = JSON.stringify(list);
    this.#attention.dataset.state = list.length ? "ready" : "empty";
    this.#more.hidden = list.length <= FOLDED;
    write(this.#more, this.#unfolded ? "Show less" : `Show all ${list.length}`);
    if (key === this.#shown) return;
    this.#shown = key;
    const { router } = this.#app;
    const same = this.#list.querySelectorAll("a");
    if (list.length && same.length === list.length) {
      list.forEach((item, index) => fill(same[index], item, router));
      return;
    }
    const links = list.map((item) => h("li", {}, fill(h("a", {}, h("b", {}, ""), h("span", {}, "")), item, router)));
    this.#list.replaceChildren(...(links.length ? links : [h("li", { class: "overview-fine" }, h("b", { class: "overview-ok" }, "✓"), " Nothing needs attention.")]));
  }

  /** On narrow screens the list below needs the place. */
  #unfold() {
    this.#unfolded = !this.#unfolded;
    this.#more.setAttribute("aria-expanded", String(this.#unfolded));
    this.element.classList.toggle("overview-unfolded", this.#unfolded);
    this.#show();
  }

  #showMovers() {
    const { store, router, paint } = this.#app;
    if (paint.paused) return;
    const { up, down } = movers(store.rows.values(), MOVERS);
    this.#lists.up.show(up, router);
    this.#lists.down.show(down, router);
    this.#moved.tables.hidden = up.length + down.length === 0;
    this.#moved.empty.hidden = up.length + down.length > 0;
  }
}

/** @param {HTMLElement} link @param {import("../../market/attention.js").Item} item @param {import("../../types.js").Router} router */
function fill(link, { tone, mark, text, view, symbol }, router) {
  const href = view === "market" ? "#/?sort=-age" : router.href(view, symbol);
  if (link.getAttribute("href") !== href) link.setAttribute("href", href);
  link.className = `overview-item overview-${tone}`;
  write(/** @type {Element} */ (link.firstElementChild), mark);
  write(/** @type {Element} */ (link.lastElementChild), text);
  return link;
}

/** @param {string} title @param {...Node} content */
function section(title, ...content) {
  const head = h("div", { class: "panel-head" }, h("h2", { class: "panel-title", text: title }));
  return h("section", { class: "panel", "aria-label": title, "data-state": "ready" }, head, h("div", { class: "panel-body" }, ...content));
}

/** A number with its word; dim if it is 0. @param {string} state @param {string} mark @param {string} word @param {string} title */
function tile(state, mark, word, title) {
  const value = h("b", {}, "0");
  const [sign, noun] = [h("span", { class: "overview-mark", "aria-hidden": "true" }, mark), h("span", {}, word)];
  const element = h("div", { class: `overview-tile overview-tile-${state}`, title }, sign, value, noun);
  return {
    element,
    /** @param {number} count @param {{mark: string, word: string}} [texts] */
    show(count, texts = { mark, word }) {
      write(value, String(count));
      write(sign, texts.mark);
      write(noun, texts.word);
      element.dataset.zero = String(count === 0);
    },
  };
}

/** @param {string} title */
function moverTable(title) {
  const body = h("tbody", {});
  const head = h("tr", {}, h("th", { scope: "col", text: title }), h("th", { scope: "col", class: "num", text: "Mid" }), h("th", { scope: "col", class: "num", text: "Change" }));
  const element = h("table", { class: "table" }, h("caption", { class: "sr-only", text: `${title} since the close of the day before` }), h("thead", {}, head), body);
  return {
    element,
    /** @param {import("../../types.js").Row[]} rows @param {import("../../types.js").Router} router */
    show(rows, router) {
      element.hidden = rows.length === 0;
      while (body.rows.length > rows.length) body.deleteRow(-1);
      while (body.rows.length < rows.length) {
        body.append(h("tr", {}, h("th", { scope: "row" }, h("a", { href: "#/" })), h("td", { class: "num" }), h("td", { class: "num grid-change" })));
      }
      rows.forEach((row, index) => fillMover(body.rows[index], row, router));
    },
  };
}

/** @param {HTMLTableRowElement} line @param {import("../../types.js").Row} row @param {import("../../types.js").Router} router */
function fillMover(line, row, router) {
  const [name, mid, moved] = line.cells;
  const link = /** @type {Element} */ (name.firstElementChild);
  if (link.textContent !== row.symbol) link.setAttribute("href", router.href("instrument", row.symbol));
  write(link, row.symbol);
  write(mid, number(row.mid));
  const { text, sign } = change(row.mid, row.reference);
  write(moved, text);
  moved.dataset.sign = sign > 0 ? "up" : sign < 0 ? "down" : "";
}
