// @ts-check
/** The cells of the ladder and the bars behind them: both write only what has changed. */

import { h } from "../h.js";

/** The bar of one side of a row. It has no children, so that a new width restyles it alone. */
export class Bar {
  /** @param {string} side */
  constructor(side) {
    this.element = h("span", { class: `ladder-bar ladder-bar-${side}` });
    this.part = -1;
  }

  /** @param {number} part of half the row */
  show(part) {
    if (this.part === part) return;
    this.part = part;
    this.element.style.setProperty("--part", String(part));
  }
}

/** A cell that shows all digits of a number; zeros at the end of the decimals are dim. */
export class Cell {
  constructor() {
    this.head = document.createTextNode("");
    this.zeros = document.createTextNode("");
    this.element = h("td", { class: "num" }, this.head, h("span", { class: "dim" }, this.zeros));
    this.text = "";
  }

  /** @param {string} text */
  write(text) {
    if (this.text === text) return;
    this.text = text;
    const end = text.includes(".") ? text.replace(/\.?0+$/, "").length : text.length;
    const [head, zeros] = [text.slice(0, end), text.slice(end)];
    if (this.head.data !== head) this.head.data = head;
    if (this.zeros.data !== zeros) this.zeros.data = zeros;
  }
}
