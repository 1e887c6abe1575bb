// @ts-check
/**
 * The credential and the state of the sign-in. The credential is kept in sessionStorage alone; no
 * text of the page contains it.
 */
import { Topics } from "./topics.js";

const KEY = "tickwire.credential";

/** @returns {import("./types.js").Session} */
export function createSession() {
  const topics = new Topics();
  let credential = read();
  /** @type {import("./types.js").SessionState} */
  let state = "open";
  /** @type {string | null} */
  let reason = null;
  /** @type {string[] | null} */
  let scopes = null;

  /** @param {import("./types.js").SessionState} next @param {string | null} [why] */
  function become(next, why = null) {
    [state, reason] = [next, why];
    topics.emit("change", next);
  }

  /** @param {string | null} text */
  function keep(text) {
    credential = text;
    scopes = null;
    try {
      if (text === null) sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, text);
    } catch {
      // Storage is blocked: the credential holds until the page is left.
    }
  }

  return {
    get state() {
      return state;
    },
    get reason() {
      return reason;
    },
    get scopes() {
      return scopes;
    },
    get signedIn() {
      return credential !== null;
    },
    credential: () => credential,
    signIn(text) {
      keep(text);
      become("open");
    },
    /** Continue without a credential. */
    open() {
      keep(null);
      become("open");
    },
    /** Exchange the token of a running session: the client fetches it at its next attempt. */
    renew: keep,
    signOut() {
      keep(null);
      become("needed");
    },
    unauthorized(sent) {
      if (sent !== credential) return; // the answer to an earlier credential
      if (state !== "open") return;
      keep(null);
      become(sent === null ? "needed" : "refused");
    },
    ended(why) {
      keep(null);
      become("ended", why);
    },
    setScopes(names) {
      scopes = names;
      topics.emit("scopes", names);
    },
    can: (scope) => scopes === null || scopes.includes(scope),
    on: (name, listener) => topics.on(name, listener),
  };
}

function read() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
