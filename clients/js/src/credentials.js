/**
 * The credential of the option `auth`: a key or a JWT, as a value or from a function. No text of
 * this client contains it: the value stays in private fields.
 */
import { TickwireError } from "./errors.js";
import { deadlineOf, limited } from "./limits.js";

const MAX_LENGTH = 4096;
const EXPECTED = "a key or a JWT: text, { api_key: text }, { token: text }, or a function that returns one of them";

export class Credentials {
  #source; // function, or null if the credential is a value
  #payload; // of CONNECT; null without a credential
  #pending = null; // promise of the running call of the function

  /** @throws {TypeError} if `auth` is not a credential */
  constructor(auth) {
    this.#source = typeof auth === "function" ? auth : null;
    this.#payload = this.#source ? null : checked(auth);
  }

  /** Whether `renew` may return another credential. */
  get renewable() {
    return this.#source !== null;
  }

  /** Whether there may be a credential. */
  get given() {
    return this.#source !== null || this.#payload !== null;
  }

  /** The payload of CONNECT that was used last, `{ api_key }` or `{ token }`; null without one. */
  get payload() {
    return this.#payload;
  }

  /**
   * Call the function, and return the new payload. Simultaneous calls share one call of it. A
   * timeout of 0 or Infinity means no limit.
   * @throws {TickwireError} `auth_failed` if the function fails or is late
   */
  renew(timeout) {
    if (!this.#source) return Promise.resolve(this.#payload);
    this.#pending ??= this.#call();
    const late = () => {
      this.#pending = null; // the next call does not wait for this one
      return failed(`it did not return within ${Math.round(timeout / 100) / 10} s`);
    };
    const running = this.#pending;
    return limited(deadlineOf(timeout), late, (resolve, reject) => {
      running.then(resolve, reject);
      return () => {};
    });
  }

  /** The headers of a request to REST. The function is called if it has not been called before. */
  async headers(timeout) {
    const payload = this.#payload ?? (await this.renew(timeout));
    const text = payload?.token ?? payload?.api_key;
    // Not X-API-Key: `fetch` removes Authorization alone if it follows a redirect to another origin.
    return text === undefined ? {} : { Authorization: `Bearer ${text}` };
  }

  #call() {
    const running = this.#called().finally(() => {
      if (this.#pending === running) this.#pending = null;
    });
    return running;
  }

  async #called() {
    try {
      this.#payload = checked(await this.#source());
    } catch (error) {
      throw failed(masked(String(error?.message ?? error)));
    }
    return this.#payload;
  }
}

/** The payload of CONNECT for a credential. A text with the prefix of keys is a key. */
function checked(credential) {
  if (credential === undefined || credential === null) return null;
  if (typeof credential === "string") {
    const text = checkedText(credential);
    return text.startsWith("tw_") ? { api_key: text } : { token: text };
  }
  if (typeof credential !== "object" || Array.isArray(credential)) throw new TypeError(`The credential must be ${EXPECTED}.`);
  const names = ["api_key", "token"].filter((name) => credential[name] !== undefined && credential[name] !== null);
  return { ...credential, ...Object.fromEntries(names.map((name) => [name, checkedText(credential[name])])) };
}

function checkedText(text) {
  const trimmed = typeof text === "string" ? text.trim() : "";
  if (!/^[\x21-\x7e]+$/.test(trimmed)) throw new TypeError(`The credential must be ${EXPECTED}; without spaces.`);
  if (trimmed.length > MAX_LENGTH) throw new TypeError(`The credential has more than ${MAX_LENGTH} characters.`);
  return trimmed;
}

function failed(cause) {
  const message = `The function \`auth\` failed: ${cause.replace(/\.$/, "")}.`;
  const error = new TickwireError("auth_failed", message, { event: "connect", details: { cause } });
  error.local = true;
  return error;
}

/** A text in which keys and JWTs are masked. The public id of a key stays. */
export function masked(text) {
  return text.replace(/\b(tw_[a-z0-9]{8}_)[\w-]+/g, "$1***").replace(/\bey[A-Z][\w-]*\.[\w-]*\.[\w-]*/g, "***");
}
