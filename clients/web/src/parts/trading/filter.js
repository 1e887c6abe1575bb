// @ts-check
/** The filter of the tables by strategy and bot. It is in the address. */

import { h } from "../h.js";

/** @typedef {{strategy: string|null, bot: string|null}} Filter null: all of them */

const ALL = "";

/**
 * The selects have the names of the stream, and the chosen ones.
 * @param {import("../../types.js").App} app
 * @param {Filter} filter
 */
export function filterBar(app, filter) {
  const strategies = select(app, "strategy", "All strategies", filter.strategy);
  const bots = select(app, "bot", "All bots", filter.bot);
  const element = h("form", { class: "trading-filter", "aria-label": "Filter of the tables" },
    labelled("Strategy", strategies.element), labelled("Bot", bots.element));
  element.addEventListener("submit", (event) => event.preventDefault());
  return {
    element,
    /** After a change of the filter. */
    show() {
      strategies.choose(filter.strategy);
      bots.choose(filter.bot);
    },
    /** @param {any} section `strategy` of a snapshot */
    offer(section) {
      const entries = Object.entries(section?.strategies ?? {});
      strategies.offer(entries.map(([name]) => name));
      bots.offer(entries.flatMap(([, entry]) => /** @type {any} */ (entry).bots));
    },
  };
}

/** @param {string} text @param {HTMLElement} control */
function labelled(text, control) {
  return h("label", {}, h("span", { text }), control);
}

/** @param {import("../../types.js").App} app @param {string} name @param {string} all @param {string|null} chosen */
function select(app, name, all, chosen) {
  const element = h("select", { class: "field", name }, h("option", { value: ALL, text: all }));
  /** @type {Set<string>} */
  const known = new Set();
  const offer = (/** @type {string[]} */ names) => {
    const added = names.filter((each) => !known.has(each)).sort();
    for (const each of new Set(added)) element.append(h("option", { value: each, text: each }));
    added.forEach((each) => known.add(each));
  };
  const choose = (/** @type {string|null} */ one) => {
    if (one !== null) offer([one]);
    element.value = one ?? ALL;
  };
  choose(chosen);
  element.addEventListener("change", () => app.router.query({ [name]: element.value || null }));
  return { element, offer, choose };
}

/**
 * The answer of a list for the present filter: again if the filter has changed meanwhile.
 * @param {Filter} filter
 * @param {() => Promise<any>} load
 * @returns {Promise<any>}
 */
export async function filtered(filter, load) {
  const before = JSON.stringify(filter);
  const body = await load();
  return before === JSON.stringify(filter) ? body : filtered(filter, load);
}
