// @ts-check
/** The configuration of the server, and the address of the hub that follows from it. */

/**
 * Read /config.json. @param {import("./types.js").Rest} rest
 * @returns {Promise<import("./types.js").Config>}
 */
export function loadConfig(rest) {
  return rest.get("config.json");
}

/**
 * The origin of the hub and the path of Socket.IO there. The server computes connect-src by the
 * same rule.
 *
 * @param {{hub: {url: string | null, port: number}, api_port: number}} config
 * @param {string} baseURI of the document
 * @returns {{origin: string, path: string}}
 */
export function hubAddress(config, baseURI) {
  const page = new URL(baseURI);
  if (config.hub.url) {
    const hub = new URL(config.hub.url);
    return { origin: hub.origin, path: `${hub.pathname.replace(/\/$/, "")}/socket.io` };
  }
  if (effectivePort(page) === config.api_port) {
    return { origin: `${page.protocol}//${page.hostname}:${config.hub.port}`, path: "/socket.io" };
  }
  return { origin: page.origin, path: new URL("socket.io", page).pathname };
}

/** The port of an address; `port` is empty for 80 and 443. @param {URL} url */
function effectivePort(url) {
  return Number(url.port) || (url.protocol === "https:" ? 443 : 80);
}
