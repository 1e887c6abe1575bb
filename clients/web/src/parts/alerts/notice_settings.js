// @ts-check
/** Sound and notification of the desktop for new alerts: both are off until they are chosen. */
import { notices } from "../../alerts/alert_notices.js";
import { h, write } from "../h.js";

/** @typedef {import("../../types.js").App} App */

/** @param {App} app @returns {{element: HTMLElement, close: () => void}} */
export function noticeSettings(app) {
  const problem = h("p", { class: "dim", role: "status" });
  const box = (/** @type {string} */ name, /** @type {(on: boolean) => any} */ chosen) =>
    h("input", { type: "checkbox", name, onchange: (/** @type {any} */ event) => chosen(event.target.checked) });
  const sound = box("sound", (on) => {
    app.settings.set("sound", on);
    if (on) notices(app).beep(); // the click permits the browser to play it later
  });
  const notify = box("notify", async (on) => {
    const refusal = on ? await permission() : "";
    write(problem, refusal);
    app.settings.set("notify", on && !refusal);
    show();
  });
  function show() {
    sound.checked = app.settings.get("sound");
    notify.checked = app.settings.get("notify");
  }
  const offs = [app.settings.on("sound", show), app.settings.on("notify", show)];
  const element = h("section", { class: "panel alerts-notices", "aria-label": "Notices", "data-state": "ready" },
    h("header", { class: "panel-head" }, h("h2", { class: "panel-title", text: "Notices of new alerts" })),
    h("div", { class: "panel-body" },
      h("label", { class: "alerts-choice" }, sound, " Sound"),
      h("label", { class: "alerts-choice" }, notify, " Notification of the desktop"), problem));
  show();
  return { element, close: () => offs.forEach((off) => off()) };
}

/** Ask for the permission; returns the reason if there is none. */
async function permission() {
  if (!globalThis.Notification) return "This browser has no notifications, or the page is not loaded by https or from this machine.";
  const answer = await Notification.requestPermission();
  return answer === "granted" ? "" : "The browser refuses notifications of this page. Allow them in its settings of the site.";
}
