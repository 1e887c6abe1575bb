// @ts-check
/** The market: the list of all instruments, and the overview at `#/`. */

import { MarketList } from "../parts/market/market_list.js";
import { Overview } from "../parts/market/overview.js";

/** The list pane, mounted once. @param {import("../types.js").App} app @param {HTMLElement} root */
export function list(app, root) {
  const pane = new MarketList(app);
  root.append(pane.element);
  return { close: () => pane.close() };
}

/** The pane beside the list. @param {import("../types.js").App} app @param {HTMLElement} root */
export function open(app, root) {
  const overview = new Overview(app);
  root.append(overview.element);
  return { close: () => overview.close() };
}
