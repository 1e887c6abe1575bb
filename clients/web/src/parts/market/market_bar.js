// @ts-check
/** The controls above the market list: kind, named list, compact rows. */

import { kinds } from "../../market/listing.js";
import { STARRED, listNames } from "../../market/lists.js";
import { h, write } from "../h.js";

/** @type {Record<string, string>} */
const KINDS = { fx: "FX", metal: "Metals", commodity: "Commodities", index: "Indices", bond: "Bonds", crypto: "Crypto", equity: "Equities", other: "Other" };

/** @typedef {{kind: string | null, list: string | null}} Choice `list`: name of a list, null: all instruments */

/**
 * @param {import("../../types.js").App} app
 * @param {(choice: Partial<Choice>) => void} choose
 */
export function marketBar(app, choose) {
  const buttons = h("div", { class: "grid-kinds", role: "group", "aria-label": "Kinds of instruments" });
  const select = h("select", { class: "field grid-lists", "aria-label": "List", onchange: () => choose({ list: select.value || null }) });
  const edit = h("button", { class: "button grid-edit", type: "button", title: "Edit or create a list", "aria-label": "Edit lists" }, "✎");
  const compact = h("button", { class: "button grid-compact", type: "button", title: "Compact rows" }, "≡");
  const count = h("span", { class: "grid-count dim" }, "");
  compact.setAttribute("aria-label", "Compact rows");
  /** @type {Choice} */
  let current = { kind: null, list: null };

  edit.addEventListener("click", async () => {
    const { editList } = await import("./list_editor.js"); // not part of the first view
    const name = await editList(app, current.list);
    if (name !== undefined) choose({ list: name });
  });
  compact.addEventListener("click", () => app.settings.set("density", app.settings.get("density") === "compact" ? "normal" : "compact"));
  const density = () => compact.setAttribute("aria-pressed", String(app.settings.get("density") === "compact"));
  density();

  function showKinds() {
    const names = kinds(app.store.rows.values());
    const wanted = names.length > 1 || current.kind ? [null, ...names] : [];
    buttons.replaceChildren(...wanted.map((kind) => kindButton(kind)));
  }

  /** @param {string | null} kind null: all kinds */
  function kindButton(kind) {
    const label = kind === null ? "All" : (KINDS[kind] ?? kind);
    const pressed = String(kind === current.kind);
    return h("button", { class: "chip grid-kind", type: "button", "data-kind": kind ?? "", "aria-pressed": pressed, onclick: () => choose({ kind }) }, label);
  }

  function showLists() {
    const options = listNames(app.settings).map((name) => h("option", { value: name }, name === STARRED ? "★ Starred" : name));
    select.replaceChildren(h("option", { value: "" }, "All instruments"), ...options);
    select.value = current.list ?? "";
  }

  const offs = [
    app.store.on("instruments", showKinds),
    app.settings.on("lists", showLists),
    app.settings.on("density", density),
  ];
  return {
    element: h("div", { class: "grid-bar", role: "group", "aria-label": "Filter of the list" }, buttons, select, edit, compact, count),
    /** @param {Choice} choice @param {string} numbers */
    show(choice, numbers) {
      write(count, numbers);
      if (choice.kind === current.kind && choice.list === current.list && select.options.length) return;
      current = { ...choice };
      showKinds();
      showLists();
    },
    close: () => offs.forEach((off) => off()),
  };
}
