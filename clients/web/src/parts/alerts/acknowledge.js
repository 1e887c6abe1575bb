// @ts-check
/** The dialog that acknowledges an alert. The row changes with the answer or the event, not before. */
import { alerts } from "../../alerts/alerts.js";
import { dialog } from "../dialog.js";
import { h } from "../h.js";
import { scopeText } from "../shared/panel.js";

/** @typedef {import("../../types.js").App} App */
/** @typedef {import("../../alerts/alerts.js").Alert} Alert */

const MAX_NAME = 64;
const MAX_COMMENT = 1000;

/** Why the caller may not acknowledge, or "" if it may. */
export function missingRight(/** @type {App} */ app) {
  return app.session.can("operate") ? "" : "Your key lacks the scope `operate`.";
}

/**
 * @param {App} app
 * @param {Alert} alert
 * @param {(text: string) => void} notice receives the reason if the alert is gone or resolved
 */
export function acknowledge(app, alert, notice) {
  const name = h("input", { class: "field", name: "by", maxlength: MAX_NAME, autocomplete: "name", value: app.settings.get("name") });
  const comment = h("textarea", { class: "field", name: "comment", maxlength: MAX_COMMENT, rows: "3" });
  const who = app.session.signedIn
    ? h("p", { class: "dim", text: "It is recorded under the name of your key or token." })
    : h("label", { class: "ack-label" }, h("span", { text: "Name" }), name);
  const body = h("div", { class: "ack" },
    h("p", { class: "ack-message", text: alert.message }), who,
    h("label", { class: "ack-label" }, h("span", { text: "Comment" }), comment));

  async function run() {
    const given = { comment: comment.value.trim() || null, ...(app.session.signedIn ? {} : { by: name.value.trim() || null }) };
    if ("by" in given) app.settings.set("name", given.by ?? "");
    try {
      const answer = await app.rest.post(`api/system/alerts/acknowledge/${encodeURIComponent(alert.alert_id)}`, given);
      await take(app, alert, answer, given.comment);
    } catch (error) {
      return refused(app, alert, /** @type {any} */ (error), notice);
    }
  }
  return dialog({ title: `Acknowledge ${alert.subject}`, body, actions: [{ label: "Acknowledge", primary: true, run }] });
}

/** The answer may be that of an earlier acknowledgement, whose comment only the list has. */
async function take(/** @type {App} */ app, /** @type {Alert} */ alert, /** @type {any} */ answer, /** @type {string | null} */ comment) {
  const { acknowledged_at, acknowledged_by } = answer;
  const read = await alerts(app).read(alert).catch(() => null);
  alerts(app).apply(read ?? { ...alert, state: "acknowledged", acknowledged_at, acknowledged_by, comment, updated_at: acknowledged_at });
}

/** The error that stays in the dialog; undefined if the alert itself is over. */
async function refused(/** @type {App} */ app, /** @type {Alert} */ alert, /** @type {any} */ error, /** @type {(text: string) => void} */ notice) {
  if (error.status === 404 && error.code === "not_found") {
    alerts(app).forget(alert.alert_id);
    notice("This alert no longer exists.");
    return undefined;
  }
  if (error.status === 409) {
    const read = await alerts(app).read(alert).catch(() => null);
    if (read) alerts(app).apply(read);
    notice("Already resolved");
    return undefined;
  }
  if (error.status === 403) return scopeText(error);
  if (error.status === 429 && error.retryAfter !== null) return `Too many requests. Try again in ${Math.ceil(error.retryAfter)} s.`;
  return error.message;
}
