// @ts-check
/** The banner below the top bar, only while something is wrong, or while painting is paused. */
import { h, write } from "./h.js";

/** @param {HTMLElement} root */
export function mountBanner(root) {
  /** key -> element, in the order of arrival @type {Map<string, {line: HTMLElement, text: HTMLElement, more: HTMLElement, action: string}>} */
  const lines = new Map();

  /**
   * Show a line, or remove it with null.
   * @param {string} key
   * @param {import("../types.js").Notice | null} notice
   */
  function set(key, notice) {
    const old = lines.get(key);
    if (!notice) {
      old?.line.remove();
      lines.delete(key);
      return;
    }
    const action = notice.action?.label ?? "";
    if (old && old.action === action) {
      write(old.text, notice.text);
      write(old.more, notice.countdown ?? "");
      old.line.dataset.tone = notice.tone ?? "warn";
      return;
    }
    const text = h("span", { class: "banner-text", text: notice.text });
    // A screen reader does not repeat the line each second.
    const more = h("span", { class: "banner-more num", "aria-hidden": "true", text: notice.countdown ?? "" });
    const button = notice.action && h("button", { class: "button", type: "button", text: action, onclick: notice.action.run });
    const line = h("div", { class: "banner-line", "data-key": key, "data-tone": notice.tone ?? "warn" }, text, more, button);
    if (old) old.line.replaceWith(line);
    else root.append(line);
    lines.set(key, { line, text, more, action });
  }
  return { set };
}
