// @ts-check
/**
 * The row elements of the market list, bound by index mod pool length. The row with the focus stays
 * in the pool: it takes the slot of its new place, or is pinned outside of the window.
 */

import { Row } from "../row.js";

export class Pool {
  /** @type {Row[]} slot -> row */
  #slots = [];
  /** The row with the focus, while it is outside of the window. @type {Row | null} */
  #pinned = null;
  /** Takes the slot of the next pinned row. @type {Row | null} */
  #spare = null;
  /** @type {Map<Element, Row>} */
  #rows = new Map();
  #space;

  /** @param {HTMLElement} space the parent of the elements */
  constructor(space) {
    this.#space = space;
  }

  get length() {
    return this.#slots.length;
  }

  /** All rows of the window, and the pinned one. */
  get bound() {
    return this.#pinned ? [...this.#slots, this.#pinned] : this.#slots;
  }

  /** The row of an index in the window. @param {number} index */
  at(index) {
    return this.#slots[index % this.#slots.length];
  }

  /** The row that contains an element. @param {Element | null} element */
  containing(element) {
    const found = element?.closest(".grid-row");
    return found ? (this.#rows.get(found) ?? null) : null;
  }

  /** @param {string} symbol */
  showing(symbol) {
    return this.bound.find((row) => row.symbol === symbol);
  }

  /** @param {number} length */
  resize(length) {
    while (this.#slots.length < length) this.#slots.push(this.#made());
    while (this.#slots.length > length) this.#remove(/** @type {Row} */ (this.#slots.pop()));
    for (const row of this.#rows.values()) row.index = -1; // their places have changed
  }

  /**
   * Keep the row with the focus before the window is bound. Returns it if it is pinned: then it is
   * shown at its index too.
   * @param {number} first the first index of the window @param {(symbol: string) => number} indexOf -1: gone
   */
  keepFocus(first, indexOf) {
    const row = this.containing(document.activeElement);
    const index = row ? indexOf(row.symbol) : -1;
    if (!row || index < 0) return this.#unpin();
    if (index >= first && index < first + this.length) return this.#place(row, index % this.length);
    if (row !== this.#pinned) {
      this.#unpin();
      this.#slots[this.#slots.indexOf(row)] = this.#spare ?? this.#made();
      this.#spare = null;
      this.#pinned = row;
    }
    return { row, index };
  }

  /** @param {Row} row @param {number} slot */
  #place(row, slot) {
    const other = this.#slots[slot];
    if (other === row) return null;
    if (row === this.#pinned) {
      this.#pinned = null;
      other.hide();
      this.#spare = other;
    } else {
      this.#slots[this.#slots.indexOf(row)] = other;
    }
    this.#slots[slot] = row;
    return null;
  }

  #unpin() {
    if (this.#pinned) {
      this.#pinned.hide();
      this.#spare = this.#pinned;
    }
    this.#pinned = null;
    return null;
  }

  #made() {
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
}
