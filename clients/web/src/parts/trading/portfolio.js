// @ts-check
/** Sums over all strategies. */

import { figureList } from "../shared/figure_list.js";
import { h, write } from "../h.js";
import { amount, figure, listed } from "./figures.js";
import { sectionPanel } from "../shared/section.js";

/** @param {import("../../types.js").App} app */
export function portfolio(app) {
  const figures = figureList([
    { name: "total_pnl", title: "Total P&L" },
    { name: "daily_pnl", title: "P&L today" },
    { name: "open_positions", title: "Open positions" },
    { name: "signals_generated", title: "Signals" },
    { name: "currency", title: "Currency" },
  ]);
  const incomplete = h("p", { class: "trading-incomplete panels-warn", "data-name": "incomplete", hidden: true });
  const show = (/** @type {any} */ section) => {
    figures.show({
      total_pnl: amount("total_pnl", section.total_pnl),
      daily_pnl: amount("daily_pnl", section.daily_pnl),
      open_positions: figure("open_positions", section.open_positions),
      signals_generated: figure("signals_generated", section.signals_generated),
      currency: figure("currency", section.currency),
    });
    const text = incompleteText(section);
    incomplete.hidden = text === "";
    write(incomplete, text);
  };
  return sectionPanel(app, { title: "Portfolio", name: "strategy", none: noReport(), show, empty: nothing }, [figures.element, incomplete]);
}

/** What a panel shows if no bot has reported yet. */
export function noReport() {
  return ["No strategy has reported. See POST /reports. ", h("a", { href: "docs", text: "Documentation of reports" })];
}

/** @param {any} section whether no bot has reported yet */
export function nothing(section) {
  return Object.keys(section.strategies).length === 0;
}

/** @param {any} section */
function incompleteText(section) {
  const left = section.strategies_left_out ? ` ${section.strategies_left_out} strategies are not listed.` : "";
  if (!section.incomplete) return left.trim();
  const amounts = listed(section.by_currency);
  return `! incomplete${amounts ? `: not converted: ${amounts}.` : "."}${left}`;
}
