import { masked } from "./credentials.js";

/** Options of the constructor with their defaults; times in ms. See index.d.ts. */
const DEFAULTS = {
  transports: ["websocket"],
  auth: undefined,
  io: undefined,
  socketOptions: {},
  requestTimeout: 10_000,
  connectTimeout: 20_000,
  attemptTimeout: 10_000,
  reconnection: true,
  reconnectionDelay: 500,
  reconnectionDelayMax: 10_000,
  alertHistory: 100,
  restUrl: undefined,
  fillTimeout: 5_000,
  bot: undefined,
};

/** The fields that are not undefined. */
export function defined(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

const REFUSED_ARGUMENTS = ["api_key", "token", "access_token"]; // a query string ends in logs

export function checkedUrl(url) {
  let parsed;
  const shown = masked(String(JSON.stringify(url)));
  try {
    parsed = new URL(url);
  } catch {
    throw new TypeError(`${shown} is no address; one is http://127.0.0.1:5001.`);
  }
  if (!/^(https?|wss?):$/.test(parsed.protocol)) throw new TypeError(`${shown} is no address of a hub: it begins with http:// or https://.`);
  const found = REFUSED_ARGUMENTS.find((name) => parsed.searchParams.has(name));
  if (found) throw new TypeError(`A credential must not be in the address: use the option auth, not ${found}.`);
  return String(url);
}

export function checkedOptions(options) {
  const unknown = Object.keys(options).filter((name) => !(name in DEFAULTS));
  if (unknown.length) throw new TypeError(`There is no option ${unknown.join(", ")}; there are ${Object.keys(DEFAULTS).join(", ")}.`);
  if (options.restUrl !== undefined) checkedUrl(options.restUrl);
  return { ...DEFAULTS, ...defined(options) };
}
