/** Subscriptions that are too large for one request: their parts, and one answer for all. Pure. */

const MAX_PAIRS = 1000; // of one request to the hub
const PAIRS_PER_PART = 500; // with `since`, 1,000 would exceed the largest message
const MAX_SHOWN = 20; // rejected items of an answer

/** The `{ pairs, since }` of each request, in order. */
export function partsOf(pairs, since) {
  const positions = Object.keys(since ?? {});
  const listed = Array.isArray(pairs);
  const fits = positions.length ? PAIRS_PER_PART : MAX_PAIRS;
  if (positions.length <= PAIRS_PER_PART && !(listed && pairs.length > fits)) return [{ pairs, since }];
  const everything = pairs === "all" || (listed && pairs.includes("all"));
  const names = everything ? positions : [pairs].flat();
  const parts = [];
  for (let at = 0; at < names.length; at += PAIRS_PER_PART) {
    const some = names.slice(at, at + PAIRS_PER_PART);
    const known = some.filter((pair) => since && Object.hasOwn(since, pair)).map((pair) => [pair, since[pair]]);
    parts.push({ pairs: some, since: known.length ? Object.fromEntries(known) : undefined });
  }
  // `since` counts for instruments that are not held yet, so "all" comes last.
  return everything ? [...parts, { pairs: "all", since: undefined }] : parts;
}

/** One `subscription_confirmed` for the answers to all parts. */
export function joinedAnswer(answers) {
  if (answers.length === 1) return answers[0];
  const of = (name) => answers.map((answer) => answer[name]);
  const { candle_snapshot, book_snapshot } = answers[0]; // the first part has the other fields of the request
  return {
    ...answers.at(-1),
    ...(candle_snapshot && { candle_snapshot }),
    ...(book_snapshot && { book_snapshot }),
    added: of("added").flat(),
    rejected: of("rejected").flat().slice(0, MAX_SHOWN),
    rejected_count: of("rejected_count").reduce((sum, count) => sum + count, 0),
    snapshot: Object.assign({}, ...of("snapshot")),
    recovered: Object.assign({}, ...of("recovered")),
  };
}
