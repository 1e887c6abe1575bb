/**
 * Which message follows which. Knows no socket, no clock.
 *
 * A position is `{epoch, seq}` of the last message that the user was given of a topic. Two are special: `NOTHING_YET`, where the hub
 * said that there had been none, so that the first has to be number 1; and `null`, where nobody knows, so that any may come.
 */

export const NOTHING_YET = Object.freeze({ epoch: null, seq: 0 });

/** The position of a message or snapshot; null where it has none (a foreign one, or no message at all). */
export function positionOf(body) {
  return body?.seq === undefined || body.seq === null ? null : { epoch: body.epoch, seq: body.seq };
}

/**
 * Judge a message that comes after `position`.
 *
 * @returns {{ fresh: boolean, gap: { from, to, missed, reason } | null }} fresh: the user has not had it; gap: what lies between,
 *   both ends exclusive. `gapless: false` is for topics of which the hub leaves out messages by agreement (`max_rate`).
 */
export function judge(position, body, { gapless = true } = {}) {
  const at = positionOf(body);
  if (at === null || position === null) return { fresh: true, gap: null };
  if (position.epoch === null || position.epoch === at.epoch) {
    if (at.seq <= position.seq) return { fresh: false, gap: null };
    return { fresh: true, gap: gapless ? between(position, at, "sequence") : null };
  }
  return { fresh: true, gap: gapOf(position, at, "epoch") };
}

/**
 * Judge the snapshot of a topic that was joined again after `from`, where the hub did not send what was missed: as `judge`, and the
 * `position` to go on from.
 * A hub that is behind what the user has had already (one of several) is no gap: what it sends twice is left out later.
 */
export function judgeReturn(from, snapshot) {
  const at = positionOf(snapshot);
  if (at === null) {
    const lost = from !== null && from.seq > 0;
    return { fresh: false, gap: lost ? gapOf(from, null, "not_recovered") : null, position: lost ? null : from };
  }
  if (from === null) return { fresh: true, gap: gapOf(null, at, "not_recovered"), position: at };
  const { fresh, gap } = judge(from, snapshot);
  const said = gap?.reason === "sequence" ? { ...gap, reason: "not_recovered" } : gap;
  return { fresh, gap: said, position: fresh ? at : from };
}

function between(position, at, reason) {
  return at.seq === position.seq + 1 ? null : gapOf(position, at, reason);
}

function gapOf(from, to, reason) {
  const known = from !== null && to !== null && (from.epoch === null || from.epoch === to.epoch);
  return { from: from?.epoch ? from : null, to, missed: known ? to.seq - from.seq - 1 : null, reason };
}
