// @ts-check
/** The order book of one instrument, with its quote. */

import { h } from "../parts/h.js";
import { LadderPanel } from "../parts/ladder_panel.js";
import { quote } from "../parts/quote.js";

/**
 * @param {import("../types.js").App} app @param {HTMLElement} root @param {import("../types.js").Route} route
 * @returns {import("../types.js").View}
 */
export function open(app, root, route) {
  const symbol = route.symbol ?? "";
  const head = quote(app, symbol);
  const ladder = new LadderPanel(app, symbol, { always: true });
  root.append(h("div", { class: "instrument" }, head.element, ladder.element));
  const release = app.hub.fullRate(symbol);
  ladder.update(route);
  return {
    update: (next) => ladder.update(next),
    close() {
      release();
      head.close();
      ladder.close();
    },
  };
}
