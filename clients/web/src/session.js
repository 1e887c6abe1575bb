// @ts-check
/**
 * The credential and the state of the sign-in. The credential is kept in sessionStorage alone; no
 * text of the page contains it.
 */
import { Topics } from "./topics.js";

const KEY = "tickwire.credential";

/** @returns {import("./types.js").Session} */
export function createSession() {
  return new Session();
}

class Session {
  #topics = new Topics();
  #credential = read();
  /** @type {import("./types.js").SessionState} */
  state = "open";
  /** @type {string | null} */
  reason = null;
  /** @type {string[] | null} */
  scopes = null;

  get signedIn() {
    return this.#credential !== null;
  }

  credential() {
    return this.#credential;
  }

  /** @param {string} text */
  signIn(text) {
    this.#keep(text);
    this.#become("open");
  }

  /** Continue without a credential. */
  open() {
    this.#keep(null);
    this.#become("open");
  }

  /** Exchange the token of a running session: the client fetches it at its next attempt. @param {string} text */
  renew(text) {
    this.#keep(text);
  }

  signOut() {
    this.#keep(null);
    this.#become("needed");
  }

  /** A request was refused. @param {string | null} sent the credential that it had */
  unauthorized(sent) {
    if (sent !== this.#credential) return; // the answer to an earlier credential
    if (this.state !== "open") return;
    this.#keep(null);
    this.#become(sent === null ? "needed" : "refused");
  }

  /** @param {string} reason */
  ended(reason) {
    this.#keep(null);
    this.#become("ended", reason);
  }

  /** @param {string[] | null} names */
  setScopes(names) {
    this.scopes = names;
    this.#topics.emit("scopes", names);
  }

  /** @param {string} scope */
  can(scope) {
    return this.scopes === null || this.scopes.includes(scope);
  }

  /** @param {string} name @param {(...values: any[]) => void} listener */
  on(name, listener) {
    return this.#topics.on(name, listener);
  }

  /** @param {import("./types.js").SessionState} next @param {string | null} [reason] */
  #become(next, reason = null) {
    [this.state, this.reason] = [next, reason];
    this.#topics.emit("change", next);
  }

  /** @param {string | null} text */
  #keep(text) {
    this.#credential = text;
    this.scopes = null;
    try {
      if (text === null) sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, text);
    } catch {
      // Storage is blocked: the credential holds until the page is left.
    }
  }
}

function read() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
