/**
 * The order of messages. Pure: no socket, no clock.
 *
 * A position is `{epoch, seq}` of the last message of a topic that was passed to the user. Two
 * values are special. `NOTHING_YET` means that the topic had no message, so the first must have
 * seq 1. `null` means unknown, so any message may follow.
 */

export const NOTHING_YET = Object.freeze({ epoch: null, seq: 0 });

/** The position of a message or snapshot; null for a foreign or missing message. */
export function positionOf(body) {
  return body?.seq === undefined || body.seq === null ? null : { epoch: body.epoch, seq: body.seq };
}

/**
 * Compare a message with the `position` before it.
 *
 * `gapless: false` is for topics whose messages the hub skips on request (`max_rate`).
 *
 * @returns {{ fresh: boolean, gap: { from, to, missed, reason } | null }} fresh: the user has not
 *   received it; gap: the missing messages, both ends exclusive.
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
 * Compare the snapshot of a topic that was joined again after `from`, if the hub did not send the
 * missed messages. Returns the result of `judge` and the new `position`.
 *
 * If the hub (one of several) is behind `from`, there is no gap; its repetitions are skipped later.
 */
export function judgeReturn(from, snapshot) {
  const at = positionOf(snapshot);
  if (at === null) {
    const lost = from !== null && from.seq > 0;
    return { fresh: false, gap: lost ? gapOf(from, null, "not_recovered") : null, position: lost ? null : from };
  }
  if (from === null) return { fresh: true, gap: gapOf(null, at, "not_recovered"), position: at };
  const { fresh, gap } = judge(from, snapshot);
  const known = gap?.reason === "sequence" ? { ...gap, reason: "not_recovered" } : gap;
  return { fresh, gap: known, position: fresh ? at : from };
}

function between(position, at, reason) {
  return at.seq === position.seq + 1 ? null : gapOf(position, at, reason);
}

function gapOf(from, to, reason) {
  const known = from !== null && to !== null && (from.epoch === null || from.epoch === to.epoch);
  return { from: from?.epoch ? from : null, to, missed: known ? to.seq - from.seq - 1 : null, reason };
}
