// @ts-check
/** One row of the market list. A text is written only if it differs. */

import { change, price, spread } from "../format.js";
import { state } from "../freshness.js";
import { tooltip } from "../zones.js";
import { h } from "./h.js";
import { Sparkline } from "./sparkline.js";

const TINT_MS = 250;
const TINT_EVERY_MS = 500;
const SPARK_MS = 1000; // between two drawings of a row's live mid
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/** @typedef {import("../types.js").Row} Data */

export class Row {
  symbol = "";
  index = -1; // in the list; -1: hidden
  #starred = false;
  #name = textCell("grid-name", "rowheader");
  #bid = priceCell();
  #ask = priceCell();
  #spread = textCell("grid-spread num");
  #change = textCell("grid-change num");
  #age = textCell("grid-age num");
  #spark = new Sparkline();
  /** The mark of a gap, made at the first one. @type {HTMLElement | null} */
  #gap = null;
  #star = h("button", { class: "grid-star", type: "button", tabindex: "-1", "aria-pressed": "false" }, "☆");
  #link = h("a", { class: "grid-link", tabindex: "-1" }, "");
  element = h("div", { class: "grid-row", role: "row", tabindex: "-1", hidden: true });
  /** The values that the cells show. @type {{bid: any, ask: any, mid: any, reference: any}} */
  #shown = { bid: undefined, ask: undefined, mid: undefined, reference: undefined };
  #tinted = 0; // hub time of the last tint
  #tint = "";
  #timer = 0;
  #drawn = -Infinity; // by the monotonic clock
  /** The closes of the last drawing: other ones are drawn at once. @type {number[] | null} */
  #spark24 = null;

  constructor() {
    this.#name.element.append(this.#link);
    const cells = [this.#name, this.#bid, this.#ask, this.#spread, this.#change].map(({ element }) => element);
    const star = h("div", { class: "grid-mark", role: "gridcell" }, this.#star);
    this.element.append(star, ...cells, h("div", { class: "grid-chart", role: "gridcell" }, this.#spark.element), this.#age.element);
  }

  /**
   * Show another instrument, or the same one at another place.
   * @param {number} index @param {Data} data @param {{top: number, href: string}} place
   */
  bind(index, data, { top, href }) {
    const { element } = this;
    if (index !== this.index) {
      this.index = index;
      element.style.transform = `translateY(${top}px)`;
      element.setAttribute("aria-rowindex", String(index + 2)); // the head is row 1
    }
    if (element.hidden) element.hidden = false;
    if (data.symbol === this.symbol) return;
    this.symbol = data.symbol;
    element.dataset.symbol = data.symbol;
    put(this.#link, data.symbol);
    this.#link.setAttribute("href", href);
    this.#link.title = data.name;
    element.classList.toggle("grid-fx", data.kind === "fx");
    this.#star.setAttribute("aria-label", `Star ${data.symbol}`);
    this.#shown = { bid: undefined, ask: undefined, mid: undefined, reference: undefined };
    this.#tinted = 0;
    this.#drawn = -Infinity;
    this.#untint();
  }

  hide() {
    this.index = -1;
    this.symbol = "";
    this.element.hidden = true;
    this.element.removeAttribute("data-symbol");
    this.element.removeAttribute("aria-rowindex");
  }

  /** @param {boolean} starred */
  star(starred) {
    if (starred === this.#starred) return;
    this.#starred = starred;
    put(this.#star, starred ? "★" : "☆");
    this.#star.setAttribute("aria-pressed", String(starred));
  }

  /** Whether Tab reaches the row and its star. @param {boolean} reached */
  reach(reached) {
    const value = reached ? "0" : "-1";
    if (this.element.getAttribute("tabindex") === value) return;
    this.element.setAttribute("tabindex", value);
    this.#star.setAttribute("tabindex", value);
  }

  /** @param {boolean} current whether the instrument is open */
  current(current) {
    if (current) this.element.setAttribute("aria-current", "true");
    else if (this.element.hasAttribute("aria-current")) this.element.removeAttribute("aria-current");
  }

  /** Write the newest values. @param {Data} data @param {number} now hub time @param {boolean} connected */
  show(data, now, connected) {
    this.#prices(data, now);
    this.#freshness(data, now, connected);
    this.#drawSpark(data);
  }

  /** @param {Data} data @param {number} now */
  #prices(data, now) {
    const shown = this.#shown;
    const { bid, ask, mid, reference, kind } = data;
    const first = shown.mid === undefined;
    if (bid !== shown.bid) this.#bid.show(price(bid, kind));
    if (ask !== shown.ask) this.#ask.show(price(ask, kind));
    if (bid !== shown.bid || ask !== shown.ask) put(this.#spread.element, spread(bid, ask, kind));
    if (mid !== shown.mid || reference !== shown.reference) this.#showChange(data);
    if (!first && mid !== shown.mid && data.tintable) this.#tintFor(data.direction, now);
    shown.bid = bid;
    shown.ask = ask;
    shown.mid = mid;
    shown.reference = reference;
  }

  /** @param {Data} data */
  #showChange({ mid, reference }) {
    const { text, sign } = change(mid, reference);
    put(this.#change.element, text);
    set(this.#change.element, "sign", sign > 0 ? "up" : sign < 0 ? "down" : "");
  }

  /** @param {Data} data @param {number} now @param {boolean} connected */
  #freshness(data, now, connected) {
    const { name, text } = state(data, now, connected);
    put(this.#age.element, text);
    set(this.element, "state", name);
    this.#showGap(data.gap !== null && data.gap.until > now ? `gap ${data.gap.count}` : "");
  }

  /** @param {string} text "": no price is missing */
  #showGap(text) {
    if (!text && !this.#gap) return;
    this.#gap ??= h("span", { class: "grid-gap" }, "");
    put(this.#gap, text);
    if (text && !this.#gap.parentNode) this.#name.element.append(this.#gap);
    if (!text) this.#gap.remove();
  }

  /** The tooltips, written when the pointer enters the row. @param {Data} data @param {number} now @param {string} zone */
  describe(data, now, zone) {
    const { name, age } = state(data, now, true);
    const past = age === "now" ? "less than 1 s" : age;
    this.#age.element.title = name === "none" ? "No price has been received." : `Price of ${past} ago: ${tooltip(data.at, zone)}`;
    this.#change.element.title = data.reference === null ? "No close of the day before" : `Since the close of the day before: ${data.reference}`;
    this.#spread.element.title = data.kind === "fx" ? "Spread in pips" : "Spread in units of the price";
  }

  /** @param {Data} data */
  #drawSpark({ spark, mid }) {
    const moment = performance.now();
    if (spark === this.#spark24 && moment - this.#drawn < SPARK_MS) return;
    this.#spark24 = spark;
    this.#drawn = moment;
    this.#spark.show(spark, mid === null ? NaN : Number(mid));
  }

  /** By class, removed by a timer. With reduced motion the colour of the last direction stays. @param {number} direction @param {number} now */
  #tintFor(direction, now) {
    const tint = direction > 0 ? "grid-up" : "grid-down";
    if (STILL.matches) {
      set(this.element, "direction", direction > 0 ? "up" : "down");
      return;
    }
    if (now - this.#tinted < TINT_EVERY_MS && now >= this.#tinted) return;
    this.#untint();
    this.#tinted = now;
    this.#tint = tint;
    this.element.classList.add(tint);
    this.#timer = window.setTimeout(() => this.#untint(), TINT_MS);
  }

  #untint() {
    if (this.element.dataset.direction) set(this.element, "direction", "");
    if (!this.#tint) return;
    clearTimeout(this.#timer);
    this.element.classList.remove(this.#tint);
    this.#tint = "";
  }
}

/** @param {string} name @param {string} [role] */
function textCell(name, role = "gridcell") {
  return { element: h("div", { class: name, role }, role === "rowheader" ? null : "") };
}

/** A price in three sizes: head, big and small digits. */
function priceCell() {
  const [head, big, small] = [document.createTextNode(""), h("b", {}, ""), h("small", {}, "")];
  const element = h("div", { class: "grid-price num", role: "gridcell" }, head, big, small);
  return {
    element,
    /** @param {{head: string, big: string, small: string}} parts */
    show(parts) {
      if (head.data !== parts.head) head.data = parts.head;
      put(big, parts.big);
      put(small, parts.small);
    },
  };
}

/** Write the only text node of an element. @param {Element} element @param {string} text */
function put(element, text) {
  const node = element.firstChild;
  if (!(node instanceof Text)) {
    element.textContent = text;
  } else if (node.data !== text) node.data = text;
}

/** @param {HTMLElement} element @param {string} name @param {string} value "": none */
function set(element, name, value) {
  if ((element.dataset[name] ?? "") === value) return;
  if (value) element.dataset[name] = value;
  else delete element.dataset[name];
}
