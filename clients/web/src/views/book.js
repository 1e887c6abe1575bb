// @ts-check
/** The order book of one instrument, with its quote. */

import { h } from "../parts/h.js";
import { LadderPanel } from "../parts/ladder_panel.js";
import { quote } from "../parts/quote.js";
import { forbidden } from "../parts/unreadable.js";

/**
 * @param {import("../types.js").App} app @param {HTMLElement} root @param {import("../types.js").Route} route
 * @returns {import("../types.js").View}
 */
export function open(app, root, route) {
  let [symbol, page] = [route.symbol, show(app, root, route)];
  return {
    update(next) {
      if (next.symbol === symbol) return page.update(next);
      page.close();
      root.replaceChildren();
      [symbol, page] = [next.symbol, show(app, root, next)];
    },
    close: () => page.close(),
  };
}

/** @param {import("../types.js").App} app @param {HTMLElement} root @param {import("../types.js").Route} route */
function show(app, root, route) {
  const symbol = route.symbol ?? "";
  if (app.store.symbols.length > 0 && !app.store.rows.has(symbol)) return forbidden(app, root, symbol);
  const head = quote(app, symbol);
  const ladder = new LadderPanel(app, symbol, { always: true });
  const link = h("a", { href: app.router.href("instrument", symbol), text: "Chart and figures" });
  root.append(h("div", { class: "instrument" }, head.element, h("p", { class: "instrument-links" }, link), ladder.element));
  const release = app.hub.fullRate(symbol);
  ladder.update(route);
  return {
    /** @param {import("../types.js").Route} next */
    update: (next) => ladder.update(next),
    close() {
      release();
      head.close();
      ladder.close();
    },
  };
}
