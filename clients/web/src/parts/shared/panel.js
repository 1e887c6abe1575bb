// @ts-check
/** A panel with its own data, its own states and its own retries. */
import { h, write } from "../h.js";

const FIRST_RETRY_S = 1;
const LAST_RETRY_S = 30;

/**
 * @param {import("../../types.js").App} app
 * @param {import("../../types.js").PanelAbout} about
 * @returns {import("../../types.js").Panel}
 */
export function panel(app, about) {
  return new Panel(app, about);
}

class Panel {
  #about;
  #note = h("p", { class: "panel-note", role: "status", hidden: true });
  #abort = new AbortController();
  #retryIn = 0; // s until the next attempt
  #wait = FIRST_RETRY_S;
  #loading = false;
  #wanted = false; // a reload waits
  #failed = "";
  #closed = false;
  #offs;
  content = h("div", { class: "panel-content" });
  element;

  /** @param {import("../../types.js").App} app @param {import("../../types.js").PanelAbout} about */
  constructor(app, about) {
    this.#about = about;
    const title = h("h2", { class: "panel-title", text: about.title });
    this.element = h(
      "section",
      { class: "panel", "aria-label": about.title, "data-state": "loading" },
      h("header", { class: "panel-head" }, title, h("div", { class: "panel-actions" }, about.actions ?? [])),
      h("div", { class: "panel-body" }, this.#note, this.content),
    );
    this.content.append(skeleton());
    this.#offs = [app.paint.every(1000, () => this.#second())];
    if (about.every) this.#offs.push(app.paint.every(about.every, () => this.#failed || this.#loading || this.reload()));
    if (about.load) this.reload();
  }

  /** Load again: after the answer that is awaited, and in a hidden tab when it is shown. */
  async reload() {
    if (this.#closed || !this.#about.load) return;
    if (this.#retryIn && this.element.dataset.state === "limited") return; // the countdown ends with a reload
    this.#wanted = this.#loading || document.hidden;
    if (this.#wanted) return;
    this.#loading = true;
    try {
      const body = await this.#about.load(this.#abort.signal);
      if (!this.#closed) this.#loaded(body);
    } catch (error) {
      if (!this.#closed) this.#refused(error);
    } finally {
      this.#loading = false;
      if (this.#wanted && !this.#retryIn) this.reload();
    }
  }

  /** @param {import("../../types.js").PanelState} state @param {string} [text] */
  set(state, text = "") {
    this.element.dataset.state = state;
    write(this.#note, text);
    this.#note.hidden = !text;
    if (state !== "loading") this.content.querySelector(".skeleton")?.remove();
  }

  close() {
    this.#closed = true;
    this.#abort.abort();
    for (const off of this.#offs) off();
  }

  /** @param {any} body */
  #loaded(body) {
    [this.#failed, this.#wait, this.#retryIn] = ["", FIRST_RETRY_S, 0];
    const empty = this.#about.empty?.(body) ?? null;
    this.set(empty === null ? "ready" : "empty", empty ?? "");
    this.content.hidden = empty !== null;
    this.#about.show?.(body, this.content);
  }

  /** @param {any} error */
  #refused(error) {
    if (error.status === 403) return this.#stop("forbidden", scopeText(error));
    if (error.status === 429) {
      this.#retryIn = Math.ceil(error.retryAfter ?? LAST_RETRY_S);
      this.#failed = "Too many requests";
      return this.#countdown("limited");
    }
    this.#retryIn = Math.max(this.#wait, Math.ceil(error.retryAfter ?? 0));
    this.#wait = Math.min(LAST_RETRY_S, this.#wait * 2);
    this.#failed = error.message.replace(/\.$/, "");
    this.#countdown("error");
  }

  /** @param {import("../../types.js").PanelState} state @param {string} text */
  #stop(state, text) {
    this.#failed = text;
    this.#retryIn = 0;
    this.set(state, text);
  }

  #second() {
    if (this.#wanted && !this.#loading && !this.#retryIn) this.reload();
    if (!this.#retryIn) return;
    this.#retryIn -= 1;
    if (this.#retryIn) this.#countdown(/** @type {any} */ (this.element.dataset.state));
    else this.reload();
  }

  /** @param {import("../../types.js").PanelState} state */
  #countdown(state) {
    this.set(state, `${this.#failed}. Next attempt in ${this.#retryIn} s.`);
  }
}

/** The sentence for a missing right, from the details of a refusal. @param {any} error */
export function scopeText({ details, message }) {
  const [scope] = details?.scope ?? [];
  if (scope) return `Your key lacks the scope \`${scope}\`.`;
  const symbols = details?.symbol ?? details?.symbols;
  return symbols?.length ? `Your key has no right to ${symbols.join(", ")}.` : message;
}

/** Rows in place of data that are not there yet. @param {number} [rows] */
export function skeleton(rows = 3) {
  return h(
    "div",
    { class: "skeleton", "aria-hidden": "true" },
    Array.from({ length: rows }, () => h("span", { class: "skeleton-row" })),
  );
}
