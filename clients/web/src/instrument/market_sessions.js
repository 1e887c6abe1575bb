// @ts-check
/** The opening hours of the sessions of `GET /sessions` as spans of time. Pure. */

import { date, offset } from "../zones.js";

const DAY = 86_400_000;

/**
 * @typedef {{name: string, zone: string, opens: string, closes: string, weekdays: number[]}} Session
 *   `weekdays`: 1 is Monday
 * @typedef {{name: string, row: number, from: number, to: number}} Span ms; `row`: place of the session
 */

/**
 * The spans of all sessions that overlap [from, to), by session and time.
 * @param {Session[]} sessions @param {number} from @param {number} to ms
 * @returns {Span[]}
 */
export function spans(sessions, from, to) {
  return sessions.flatMap((session, row) => {
    /** @type {Span[]} */
    const found = [];
    for (let day = from - 2 * DAY; day < to + 2 * DAY; day += DAY) {
      const span = daySpan(session, date(day, session.zone));
      if (span && span.to > from && span.from < to) found.push({ name: session.name, row, ...span });
    }
    return found.filter((each, index) => index === 0 || each.from !== found[index - 1].from);
  });
}

/** @param {Session} session @param {string} day "2025-11-18" in the zone of the session */
function daySpan({ zone, opens, closes, weekdays }, day) {
  const weekday = new Date(`${day}T00:00:00Z`).getUTCDay() || 7;
  if (!weekdays.includes(weekday)) return null;
  const begin = moment(`${day}T${opens}:00Z`, zone);
  const end = moment(`${day}T${closes}:00Z`, zone);
  return { from: begin, to: end > begin ? end : end + DAY };
}

/** The time at which the zone's clock shows the text. @param {string} shown @param {string} zone */
function moment(shown, zone) {
  const wall = Date.parse(shown);
  const guess = wall - offset(wall, zone);
  return wall - offset(guess, zone);
}
