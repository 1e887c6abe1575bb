// @ts-check
/** A modal dialog: the native element keeps the focus inside and returns it. */
import { h } from "./h.js";

/**
 * @param {import("../types.js").App} app
 * @param {{title: string, body: Node, actions: import("../types.js").DialogAction[]}} about
 * @returns {import("../types.js").Dialog}
 */
export function dialog(app, { title, body, actions }) {
  const opener = document.activeElement;
  const error = h("p", { class: "dialog-error", role: "alert", hidden: true });
  const buttons = actions.map((action) => button(action));
  const cancel = h("button", { class: "button", type: "button", text: "Cancel", onclick: () => element.close() });
  const element = h(
    "dialog",
    { class: "dialog", "aria-label": title },
    h("h2", { class: "dialog-title", text: title }),
    // Without an action of its own, the body may be a form itself.
    h(actions.length ? "form" : "div", { class: "dialog-form", onsubmit: submit }, h("div", { class: "dialog-body" }, body), error, foot()),
  );

  function foot() {
    return h("div", { class: "dialog-foot" }, actions.length ? cancel : closing(), buttons);
  }

  function closing() {
    return h("button", { class: "button", type: "button", text: "Close", onclick: () => element.close() });
  }

  /** @param {import("../types.js").DialogAction} action */
  function button({ label, primary = false, run }) {
    const made = h("button", { class: primary ? "button button-primary" : "button", type: primary ? "submit" : "button", text: label });
    if (!primary) made.addEventListener("click", () => act(run));
    return made;
  }

  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    const primary = actions.find((action) => action.primary);
    if (primary) act(primary.run);
  }

  /** Run an action. A text that it returns is its error, which stays in the dialog. @param {() => any} run */
  async function act(run) {
    for (const each of buttons) each.disabled = true;
    element.setAttribute("aria-busy", "true");
    error.hidden = true;
    let text;
    try {
      text = await run();
    } catch (failure) {
      text = failure instanceof Error ? failure.message : String(failure);
    }
    for (const each of buttons) each.disabled = false;
    element.removeAttribute("aria-busy");
    if (typeof text !== "string") return element.close();
    error.textContent = text;
    error.hidden = false;
  }

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
