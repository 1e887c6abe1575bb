// @ts-check
/** The dialog that creates, renames, orders and deletes a named list. */

import { STARRED, nameProblem, removeList, saveList, symbolsOf } from "../../market/lists.js";
import { dialog } from "../dialog.js";
import { h } from "../h.js";

let made = 0; // datalists, for their ids

/**
 * Edit the list, or a new one. Resolves with the name of the list to show; null: all instruments,
 * undefined: nothing was changed.
 * @param {import("../../types.js").App} app @param {string | null} current
 * @returns {Promise<string | null | undefined>}
 */
export async function editList(app, current) {
  const editor = new Editor(app, current);
  /** @type {string | null | undefined} */
  let result;
  let another = false;
  const actions = [
    { label: "Delete list", run: () => void (result = editor.remove()) },
    { label: "New list", run: () => void (another = true) },
    { label: "Save", primary: true, run: () => editor.save() ?? void (result = editor.name) },
  ].slice(current === null ? 2 : current === STARRED ? 1 : 0);
  const title = current === null ? "New list" : `List ${current}`;
  await dialog({ title, body: editor.element, actions }).closed;
  return another ? editList(app, null) : result;
}

class Editor {
  #app;
  #current;
  /** @type {string[]} */
  #symbols;
  #list = h("ol", { class: "list-symbols", "aria-label": "Instruments of the list" });
  #name = h("input", { class: "field", maxlength: "40", autocomplete: "off" });
  #add = h("input", { class: "field", autocomplete: "off", spellcheck: "false" });
  element;

  /** @param {import("../../types.js").App} app @param {string | null} current */
  constructor(app, current) {
    this.#app = app;
    this.#current = current;
    this.#symbols = symbolsOf(app.settings, current);
    this.#name.value = current ?? "";
    this.#name.disabled = current === STARRED;
    const id = `list-symbols-${(made += 1)}`;
    this.#add.setAttribute("list", id);
    this.#add.addEventListener("keydown", (event) => event.key === "Enter" && (event.preventDefault(), this.#append()));
    const options = h("datalist", { id }, app.store.symbols.map((symbol) => h("option", { value: symbol })));
    this.element = h(
      "div",
      { class: "list-editor" },
      h("label", {}, "Name", this.#name),
      h("div", { class: "list-add" }, h("label", {}, "Add instrument", this.#add), h("button", { class: "button", type: "button", onclick: () => this.#append() }, "Add")),
      options,
      this.#list,
    );
    this.#show();
  }

  get name() {
    return this.#name.value.trim();
  }

  /** The problem, null if the list is saved. */
  save() {
    const { settings } = this.#app;
    const problem = nameProblem(settings, this.name, this.#current);
    if (problem) return problem;
    if (this.#add.value.trim() && !this.#append()) return `There is no instrument ${this.#add.value.trim()}.`;
    if (this.#current !== null && this.#current !== this.name) removeList(settings, this.#current);
    saveList(settings, this.name, this.#symbols);
    return null;
  }

  remove() {
    if (this.#current !== null) removeList(this.#app.settings, this.#current);
    return null;
  }

  #append() {
    const wanted = this.#add.value.trim().toLowerCase();
    const symbol = this.#app.store.symbols.find((each) => each.toLowerCase() === wanted);
    this.#add.setAttribute("aria-invalid", String(!symbol));
    if (!symbol) return false;
    this.#add.value = "";
    if (!this.#symbols.includes(symbol)) this.#symbols.push(symbol);
    this.#show();
    return true;
  }

  #show() {
    const items = this.#symbols.map((symbol, index) => this.#item(symbol, index));
    this.#list.replaceChildren(...(items.length ? items : [h("li", { class: "dim" }, "No instrument yet")]));
  }

  /** @param {string} symbol @param {number} index */
  #item(symbol, index) {
    /** @param {string} label @param {string} sign @param {number} step @param {boolean} disabled */
    const move = (label, sign, step, disabled) =>
      h("button", { class: "button", type: "button", disabled, "aria-label": `Move ${symbol} ${label}`, onclick: () => this.#move(index, index + step, label) }, sign);
    const remove = () => {
      this.#symbols.splice(index, 1);
      this.#show();
    };
    return h(
      "li",
      {},
      h("span", { class: "list-symbol" }, symbol),
      move("up", "↑", -1, index === 0),
      move("down", "↓", 1, index === this.#symbols.length - 1),
      h("button", { class: "button", type: "button", "aria-label": `Remove ${symbol}`, onclick: remove }, "✕"),
    );
  }

  /** @param {number} from @param {number} to @param {string} label */
  #move(from, to, label) {
    const [symbol] = this.#symbols.splice(from, 1);
    this.#symbols.splice(to, 0, symbol);
    this.#show();
    const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (this.#list.querySelectorAll("button:enabled"));
    [...buttons].find((button) => button.getAttribute("aria-label") === `Move ${symbol} ${label}`)?.focus();
  }
}
