// @ts-check
/** Times of the frame of the page. The views use zones.js. */

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** `21:14:08` in a zone; "browser" is the zone of the browser. @param {number} ms @param {string} zone */
export function clockText(ms, zone) {
  let format = formats.get(zone);
  if (!format) {
    const timeZone = zone === "browser" ? undefined : zone;
    format = new Intl.DateTimeFormat("en-GB", { timeZone, hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
    formats.set(zone, format);
  }
  return format.format(ms);
}
