// @ts-check
/** The sign-in panel: one field. It covers the page while no credential is accepted. */
import { dialog } from "./dialog.js";
import { h, write } from "./h.js";

const ENDED = /** @type {Record<string, string>} */ ({
  expired: "Your session has ended: the token has expired.",
  revoked: "Your session has ended: the key or token was revoked.",
  key_changed: "Your session has ended: the signing keys of the tokens have changed.",
});

/** @param {import("../types.js").Session} session */
function sentence(session) {
  if (session.state === "refused") return "The key or token was refused.";
  if (session.state === "ended") return ENDED[session.reason ?? ""] ?? "Your session has ended.";
  return "This Tickwire needs an API key or token.";
}

/**
 * Ask for a credential. `enter(text)` receives it; the field is empty before that.
 * @param {string} text above the field
 * @param {string} label of the button
 * @param {(text: string) => void} enter
 */
export function credentialForm(text, label, enter) {
  const field = h("input", {
    class: "field",
    id: "credential",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 4096,
    required: true,
    "aria-describedby": "credential-error",
  });
  const error = h("p", { class: "signin-error", id: "credential-error", role: "alert", hidden: true });
  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    const value = field.value.trim();
    field.value = "";
    const fault = faultOf(value);
    error.textContent = fault;
    error.hidden = !fault;
    if (!fault) enter(value);
  }
  return h(
    "form",
    { class: "signin-form", onsubmit: submit },
    h("p", { class: "signin-text", text }),
    h("label", { for: "credential", text: "API key or token" }),
    field,
    error,
    h("button", { class: "button button-primary", type: "submit", text: label }),
  );
}

/** @param {string} value */
function faultOf(value) {
  if (!value) return "Enter an API key or a token.";
  return /^[\x21-\x7e]+$/.test(value) ? "" : "A key or token has no spaces and no accented letters.";
}

/** Ask for a credential while the page is open without one. @param {import("../types.js").App} app */
function askFor(app) {
  const form = credentialForm("A key or token gives you the rights of its owner.", "Sign in", (text) => {
    open.close();
    app.session.signIn(text);
  });
  const open = dialog({ title: "Sign in", body: form, actions: [] });
  form.querySelector("input")?.focus();
}

/** The button "Sign in" or "Sign out" of the top bar. @param {import("../types.js").App} app */
export function sessionButton(app) {
  const { session, config } = app;
  const button = h("button", { class: "button top-session", type: "button", onclick: () => (session.signedIn ? session.signOut() : askFor(app)) });
  const show = () => {
    write(button, session.signedIn ? "Sign out" : "Sign in");
    button.hidden = !session.signedIn && config.auth !== "optional";
  };
  session.on("change", show);
  show();
  return button;
}

/**
 * Show the panel while the session needs a credential.
 * @param {import("../types.js").App} app
 * @param {HTMLElement} root
 */
export function mountSignIn(app, root) {
  const { session } = app;
  const covered = ["top", "banner", "work", "foot", "skip"].map((id) => document.getElementById(id));
  function show() {
    const open = session.state !== "open";
    root.hidden = !open;
    root.dataset.over = session.state === "ended" ? "data" : "nothing";
    for (const element of covered) if (element) element.inert = open;
    if (!open) return root.replaceChildren();
    for (const each of document.querySelectorAll("dialog")) each.close(); // it would lie over the panel
    const title = h("h1", { class: "signin-title", text: "Tickwire" });
    const form = credentialForm(sentence(session), "Sign in", (text) => session.signIn(text));
    const card = { class: "signin-card", role: "dialog", "aria-label": "Sign in", "aria-modal": "true" };
    root.replaceChildren(h("div", card, title, form, app.config.auth === "optional" && without()));
    form.querySelector("input")?.focus();
  }
  const without = () => h("button", { class: "button", type: "button", text: "Continue without", onclick: () => session.open() });
  session.on("change", show);
  show();
}
