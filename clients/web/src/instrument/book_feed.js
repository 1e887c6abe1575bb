// @ts-check
/**
 * The newest order book of one instrument and its state. Which books exist comes from REST: the hub
 * refuses a book that is not kept. No DOM.
 */

const AGAIN_MS = 15_000; // an instrument may get a book, or REST may answer
const RETRY_MS = 1000; // until the hub has the book that REST has listed

/** @typedef {"loading"|"none"|"live"|"syncing"|"resyncing"|"gap"|"stale"} State */

export class BookFeed {
  /**
   * @param {import("../types.js").App} app
   * @param {string} symbol
   * @param {number} depth
   * @param {() => void} changed
   */
  constructor(app, symbol, depth, changed) {
    this.app = app;
    this.symbol = symbol;
    this.depth = depth;
    this.changed = changed;
    /** @type {any} */
    this.book = null;
    /** @type {State} */
    this.state = "loading";
    this.reason = "";
    this.problem = "";
    /** The message of the last change of the state. @type {any} */
    this.about = null;
    this.release = () => {};
    this.abort = new AbortController();
    this.timer = 0;
    this.isLate = false; // a look waits until the tab is shown
    this.offs = [
      app.hub.on("book", (/** @type {any} */ book) => this._book(book)),
      app.hub.on("book_state", (/** @type {any} */ body) => this._state(body)),
      app.hub.on("scenario", () => this._lookIfShown()),
      app.hub.on("live", () => this._lookIfShown()),
      app.paint.every(AGAIN_MS, () => (this.isLate || ["none", "loading", "syncing"].includes(this.state)) && this._look()),
    ];
    this.open(depth);
  }

  /** @param {number} depth */
  open(depth) {
    this.depth = depth;
    this.book = null;
    this.state = "loading";
    const before = this.release;
    this.release = this.app.hub.book(this.symbol, depth);
    before();
    this._look();
  }

  close() {
    clearTimeout(this.timer);
    this.abort.abort();
    this.release();
    for (const off of this.offs) off();
  }

  _lookIfShown() {
    this.isLate = document.hidden;
    if (!this.isLate) this._look();
  }

  /** Whether the book is kept, and its state until a message comes. */
  async _look() {
    this.isLate = false;
    const { signal } = this.abort;
    try {
      const { books } = await this.app.rest.get("book/states", {}, { signal });
      if (!signal.aborted) this._listed(books.find((/** @type {any} */ each) => each.symbol === this.symbol));
    } catch (error) {
      if (signal.aborted || this.book) return; // the hub has the book
      const { details, message } = /** @type {any} */ (error);
      this.problem = details?.scope ? `Your key lacks the scope \`${details.scope[0]}\`.` : message;
      this.changed();
    }
  }

  /** @param {any} row of `/book/states`; undefined: no book is kept */
  _listed(row) {
    this.problem = "";
    if (!row) {
      [this.state, this.book, this.about] = ["none", null, null];
      this.changed();
      return;
    }
    if (this.book) return;
    [this.state, this.reason] = [row.state === "live" ? "loading" : row.state, row.reason];
    this.about = { ...row, timestamp: row.since };
    this.changed();
    if (row.state === "live") this._again();
  }

  /** The book is live, but nothing has come: the hub may have refused it before. */
  _again() {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      if (this.book || this.state === "none") return;
      this.release();
      this.timer = window.setTimeout(() => (this.release = this.app.hub.book(this.symbol, this.depth)), RETRY_MS);
    }, RETRY_MS);
  }

  /** @param {any} book */
  _book(book) {
    if (book.instrument !== this.symbol || book.depth !== this.depth) return;
    [this.book, this.state, this.reason] = [book, book.state, book.reason];
    this.changed();
  }

  /** @param {any} body */
  _state(body) {
    if (body.instrument !== this.symbol) return;
    [this.state, this.reason, this.about] = [body.state, body.reason, body];
    if (body.state === "syncing") this.book = null; // no old prices
    this.changed();
  }
}
