// @ts-check
/** The text of a cell, written only if it differs. */

import { h } from "../h.js";

/**
 * `rest`: the decimals behind those that matter. They are shown dim and shortened, so that the points
 * of a column stand below each other; the document has all of them.
 * @typedef {{text: string, rest?: string, title?: string, class?: string, href?: string}} CellValue
 */

/**
 * The value with the decimals after the first `places` in `rest`.
 * @param {string} text
 * @param {number} places
 * @returns {{text: string, rest: string}}
 */
export function split(text, places) {
  const point = text.indexOf(".");
  if (point < 0) return { text, rest: "" };
  return { text: text.slice(0, point + 1 + places), rest: text.slice(point + 1 + places) };
}

export class CellText {
  /** @param {HTMLElement} element @param {string} [base] its class */
  constructor(element, base = "") {
    this.element = element;
    this.base = base;
    this._head = document.createTextNode("");
    /** @type {HTMLElement|null} */
    this._rest = null;
    /** @type {Partial<CellValue>} */
    this._shown = {};
    element.append(this._head);
  }

  /** @param {string|CellValue} given */
  write(given) {
    const value = typeof given === "string" ? { text: given } : given;
    const shown = this._shown;
    if (shown.href !== value.href || (shown.rest === undefined) !== (value.rest === undefined)) this._arrange(value);
    if (this._head.data !== value.text) this._head.data = value.text;
    if (this._rest !== null && shown.rest !== value.rest) this._rest.textContent = value.rest ?? "";
    const title = value.title || (value.rest ? value.text + value.rest : "");
    if (this.element.title !== title) this.element.title = title;
    const name = `${this.base} ${value.class ?? ""}`.trim();
    if (this.element.className !== name) this.element.className = name;
    this._shown = value;
  }

  /** @param {CellValue} value */
  _arrange({ href, rest }) {
    const place = href === undefined ? this._head : h("a", { href }, this._head);
    this._rest = rest === undefined ? null : h("span", { class: "cell-rest", text: rest });
    this.element.replaceChildren(place, ...(this._rest ? [this._rest] : []));
  }
}
