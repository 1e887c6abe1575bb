// @ts-check
/** A modal dialog: the native element keeps the focus inside and returns it. */
import { h } from "./h.js";

/** @typedef {{title: string, body: Node, actions: import("../types.js").DialogAction[]}} About */

/**
 * @param {About} about
 * @returns {import("../types.js").Dialog}
 */
export function dialog(about) {
  const opener = document.activeElement;
  const { element } = new Dialog(about);
  const closed = new Promise((resolve) => {
    element.addEventListener("close", () => {
      element.remove();
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
      resolve(undefined);
    });
  });
  document.body.append(element);
  element.showModal();
  return { close: () => element.close(), closed };
}

class Dialog {
  #actions;
  #buttons;
  #error = h("p", { class: "dialog-error", role: "alert", hidden: true });
  element;

  /** @param {About} about */
  constructor({ title, body, actions }) {
    this.#actions = actions;
    this.#buttons = actions.map((action) => this.#button(action));
    const leave = h("button", { class: "button", type: "button", text: actions.length ? "Cancel" : "Close", onclick: () => this.element.close() });
    // Without an action of its own, the body may be a form itself.
    const form = h(actions.length ? "form" : "div", { class: "dialog-form", onsubmit: (/** @type {Event} */ event) => this.#submit(event) },
      h("div", { class: "dialog-body" }, body), this.#error, h("div", { class: "dialog-foot" }, leave, this.#buttons));
    this.element = h("dialog", { class: "dialog", "aria-label": title }, h("h2", { class: "dialog-title", text: title }), form);
  }

  /** @param {import("../types.js").DialogAction} action */
  #button({ label, primary = false, run }) {
    const made = h("button", { class: primary ? "button button-primary" : "button", type: primary ? "submit" : "button", text: label });
    if (!primary) made.addEventListener("click", () => this.#act(run));
    return made;
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    const primary = this.#actions.find((action) => action.primary);
    if (primary) this.#act(primary.run);
  }

  /** Run an action. A text that it returns is its error, which stays in the dialog. @param {() => any} run */
  async #act(run) {
    for (const each of this.#buttons) each.disabled = true;
    this.element.setAttribute("aria-busy", "true");
    this.#error.hidden = true;
    let text;
    try {
      text = await run();
    } catch (failure) {
      text = failure instanceof Error ? failure.message : String(failure);
    }
    for (const each of this.#buttons) each.disabled = false;
    this.element.removeAttribute("aria-busy");
    if (typeof text !== "string") return this.element.close();
    this.#error.textContent = text;
    this.#error.hidden = false;
  }
}
