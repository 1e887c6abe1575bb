// @ts-check
/** The pane of the ladder: depth, table, depth chart. It holds its subscription only while open. */

import { DEFAULT_DEPTH, DEPTHS } from "../../instrument/book.js";
import { depth as depthChart } from "./depth.js";
import { h, write } from "../h.js";
import { ladder } from "../ladder.js";

/** @typedef {import("../../types.js").App} App */
/** @typedef {import("../../types.js").Route} Route */

/** The depth of an address. @param {Route} route */
function depthOf({ query }) {
  return DEPTHS.find((each) => String(each) === query.get("depth")) ?? DEFAULT_DEPTH;
}

/** Buttons of the depths; the address keeps the chosen one. @param {App} app */
function depthButtons(app) {
  const buttons = DEPTHS.map((each) => h("button", {
    class: "button", type: "button", text: String(each), "aria-pressed": "false", title: `${each} levels a side`,
    onclick: () => app.router.query({ depth: each === DEFAULT_DEPTH ? null : each }),
  }));
  return {
    element: h("div", { class: "ladder-depths", role: "group", "aria-label": "Levels" }, buttons),
    /** @param {number} depth */
    show: (depth) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === String(depth)))),
  };
}

export class LadderPanel {
  /** @param {App} app @param {string} symbol @param {{always?: boolean}} [how] `always`: it cannot be closed */
  constructor(app, symbol, { always = false } = {}) {
    this.app = app;
    this.symbol = symbol;
    this.always = always;
    /** @type {{table: ReturnType<typeof ladder>, chart: ReturnType<typeof depthChart>}|null} */
    this.shown = null;
    this.depths = depthButtons(app);
    this.body = h("div", { class: "panel-body ladder-body" });
    this.switch = h("button", { class: "button", type: "button", title: "Key b", "aria-expanded": "false", onclick: () => this.toggle() });
    const [view, text] = always ? ["instrument", "Chart"] : ["book", "Full view"];
    const link = h("a", { href: app.router.href(view, symbol), text });
    // The ladder inside has the states of the book.
    this.element = h("section", { class: "panel ladder-panel", "aria-label": "Ladder", "data-state": "ready" },
      h("div", { class: "panel-head" }, h("h2", { class: "panel-title", text: "Ladder" }),
        h("div", { class: "panel-actions" }, this.depths.element, link, always ? null : this.switch)),
      this.body);
  }

  /** Open or close the pane: the address keeps that. */
  toggle() {
    this.app.router.query({ ladder: this.shown ? null : 1 });
    if (this.shown) this.element.scrollIntoView({ block: "start" }); // it is below the fold
  }

  /** @param {Route} route */
  update(route) {
    const depth = depthOf(route);
    this.depths.show(depth);
    const wanted = this.always || route.query.get("ladder") === "1";
    if (wanted && !this.shown) this._open(depth);
    else if (!wanted) this._leave();
    this.shown?.table.depth(depth);
    write(this.switch, this.shown ? "Close" : "Open");
    this.switch.setAttribute("aria-expanded", String(this.shown !== null));
    this.depths.element.hidden = this.body.hidden = this.shown === null;
  }

  close() {
    this._leave();
  }

  /** @param {number} depth */
  _open(depth) {
    const chart = depthChart(this.app, { symbol: this.symbol });
    const table = ladder(this.app, { symbol: this.symbol, depth, painted: (figures) => {
      chart.element.hidden = figures === null;
      if (figures) chart.show(figures);
    } });
    chart.element.hidden = true;
    this.shown = { table, chart };
    this.body.replaceChildren(table.element, chart.element);
  }

  _leave() {
    this.shown?.table.close();
    this.shown?.chart.close();
    this.shown = null;
    this.body.replaceChildren();
  }
}
