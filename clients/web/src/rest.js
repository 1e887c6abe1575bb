// @ts-check
/** Requests to REST with the credential. The only module that calls fetch. */

const TIMEOUT_MS = 20_000;
const CONFIG = "config.json"; // needs no credential

/** The refusal of a request. `status` 0: REST cannot be reached. */
export class RestError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {Record<string, any>} [details]
   * @param {number | null} [retryAfter] seconds
   */
  constructor(status, code, message, details = {}, retryAfter = null) {
    super(message);
    this.name = "RestError";
    this.status = status;
    this.code = code;
    this.details = details;
    this.retryAfter = retryAfter;
  }
}

/** @param {import("./types.js").Session} session @returns {import("./types.js").Rest} */
export function createRest(session) {
  let limitedUntil = 0; // on the monotonic clock: no request before the end of a Retry-After

  /**
   * @param {string} method
   * @param {string} path
   * @param {{params?: Record<string, any>, body?: any, signal?: AbortSignal, also?: number[]}} [more]
   */
  async function request(method, path, { params, body, signal, also = [] } = {}) {
    const credential = session.credential();
    if (session.state !== "open" && path !== CONFIG) throw new RestError(401, "unauthorized", "You are signed out.");
    const left = Math.ceil((limitedUntil - performance.now()) / 1000);
    if (left > 0) throw new RestError(429, "too_many_requests", "REST limits the requests of this browser.", {}, left);
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (credential !== null) headers.Authorization = `Bearer ${credential}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(address(path, params), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
        cache: "no-store",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new RestError(0, "unreachable", timeout.aborted ? "REST does not answer." : "REST cannot be reached.");
    }
    if (answer.status === 401) session.unauthorized(credential);
    if (!answer.ok && !also.includes(answer.status)) {
      const error = await errorOf(answer);
      if (error.status === 429 && error.retryAfter) limitedUntil = performance.now() + error.retryAfter * 1000;
      throw error;
    }
    return answer;
  }

  return {
    get: async (path, params, { signal, also } = {}) => (await request("GET", path, { params, signal, also })).json(),
    post: async (path, body) => parsed(await (await request("POST", path, { body: body ?? {} })).text()),
    text: async (path, params) => (await request("GET", path, { params })).text(),
    async download(path, params, filename) {
      const url = URL.createObjectURL(await (await request("GET", path, { params })).blob());
      const link = document.createElement("a");
      Object.assign(link, { href: url, download: filename });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    },
  };
}

/**
 * The address below the page. Values that are null or undefined are left out; lists are joined.
 * @param {string} path
 * @param {Record<string, any>} [params]
 */
function address(path, params = {}) {
  const url = new URL(path.replace(/^\/+/, ""), document.baseURI);
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, String(value));
  }
  return url;
}

/** @param {Response} answer */
async function errorOf(answer) {
  const { error } = parsed(await answer.text().catch(() => "")) ?? {};
  const seconds = Number(answer.headers.get("Retry-After") ?? NaN);
  const retryAfter = Number.isFinite(seconds) ? seconds : (error?.details?.retry_after ?? null);
  return new RestError(answer.status, error?.code ?? "http", sentence(error?.message ?? `REST answered ${answer.status}`), error?.details ?? {}, retryAfter);
}

/** The text with a capital letter at its begin and a full stop at its end. @param {string} text */
function sentence(text) {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
