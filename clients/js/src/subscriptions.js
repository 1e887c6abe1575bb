/**
 * The subscriptions and the position of each topic. Pure: takes messages of the hub and returns
 * steps for the user, in order: `{ gap }` or `{ event, body, replayed }`.
 */
import { Books } from "./books.js";
import { NOTHING_YET, judge, judgeReturn, positionOf } from "./sequence.js";

const PAIRS_PER_REQUEST = 500; // pairs or candles; the hub accepts 1,000

/** event -> topic that its seq counts, and the instruments of which one must be subscribed */
const ALERTS = {
  volatility_alert: (body) => ({ topic: body.instrument, instruments: [body.instrument] }),
  correlation_alert: (body) => ({ topic: `${body.instrument1}|${body.instrument2}`, instruments: [body.instrument1, body.instrument2] }),
  data_ready: (body) => ({ topic: body.data_type, instruments: null }),
};

export class Subscriptions {
  /**
   * instrument -> { position, rate, caughtUp, start, reported }
   * caughtUp: position up to which messages are replays
   * start: epoch of an instrument that had no message at the join
   * reported: number of missing messages reported since the last gap_notice
   */
  #prices = new Map();
  /** "PAIR|interval" -> { pair, interval, position, reported } */
  #candles = new Map();
  /** "event topic" -> { instruments, position } */
  #alerts = new Map();
  books = new Books();
  #allAlerts = false; // whether the alerts of all instruments are subscribed
  /** `{ rate }` if all instruments are subscribed, else null */
  #everything = null;
  #epoch = null;

  /** instrument -> position, in the form of `since` */
  get positions() {
    const known = [...this.#prices].filter(([, track]) => track.position?.epoch);
    return Object.fromEntries(known.map(([pair, track]) => [pair, { ...track.position }]));
  }

  /**
   * The subscribe requests for a new connection, with the positions to resume from. `available` are
   * the instruments of the hub.
   */
  resumption(available) {
    const groups = new Map(); // rate -> pairs
    for (const [pair, { rate }] of this.#prices) groups.set(rate, [...(groups.get(rate) ?? []), pair]);
    if (this.#everything) {
      const { rate } = this.#everything;
      const added = available.filter((pair) => !this.#prices.has(pair));
      if (added.length) groups.set(rate, [...(groups.get(rate) ?? []), ...added]);
    }
    const prices = [...groups].flatMap(([rate, pairs]) => chunks(pairs).map((some) => this.#resume(some, rate)));
    const candles = chunks([...this.#candles.values()].map(({ pair, interval }) => ({ pair, interval })));
    const others = [...candles.map((some) => ({ candles: some })), ...(this.#allAlerts ? [{ alerts: "all" }] : [])];
    return [...prices, ...others.map((payload) => ({ payload, resumed: true })), ...this.books.resumption()];
  }

  #resume(pairs, rate) {
    if (rate !== null) return { payload: { pairs, max_rate: rate }, resumed: true };
    const since = pairs.map((pair) => [pair, this.#since(this.#prices.get(pair))]).filter(([, position]) => position);
    return { payload: { pairs, since: Object.fromEntries(since) }, resumed: true };
  }

  /**
   * The `since` of an instrument. One without messages resumes at seq 0 of the epoch that the hub
   * has sent for it. Older hubs send none, and have one epoch for all instruments.
   */
  #since(track) {
    if (!track?.position) return null;
    const { position, start } = track;
    const epoch = position.epoch ?? start ?? this.#epoch;
    return epoch === null ? null : { epoch, seq: position.seq };
  }

  /** `subscription_confirmed`, the answer to `{ payload, resumed }`. */
  confirmed(request, body) {
    const { payload, resumed } = request;
    const held = new Set(body.pairs);
    const named = [payload.pairs ?? []].flat();
    const everything = named.includes("all");
    if (everything) this.#everything = { rate: body.max_rate };
    if (payload.alerts) this.#allAlerts = body.alerts === "all";
    const steps = [];
    for (const pair of new Set(everything ? body.pairs : named)) {
      if (held.has(pair)) steps.push(...this.#joined(pair, payload, resumed, body));
      else this.#prices.delete(pair);
    }
    return [...steps, ...this.#candlesJoined(payload.candles ?? [], resumed, body), ...this.books.confirmed(request, body)];
  }

  #joined(pair, payload, resumed, { snapshot, recovered, positions, max_rate: rate }) {
    const [track, latest] = [this.#prices.get(pair), snapshot[pair]];
    this.#note(latest);
    if (track && !resumed) return this.#heldAlready(track, latest, rate);
    const from = track ? track.position : payload.since?.[pair];
    const fresh = { position: from, rate, caughtUp: null, reported: 0, start: positions?.[pair]?.epoch ?? track?.start };
    this.#prices.set(pair, fresh);
    if (from === undefined) {
      fresh.position = latest ? positionOf(latest) : NOTHING_YET;
      return [];
    }
    if (recovered[pair]) {
      fresh.caughtUp = positionOf(latest);
      return [];
    }
    const { position, ...verdict } = judgeReturn(from, latest);
    fresh.position = position;
    // At a rate, the number is unknown: the hub would have skipped some of them.
    if (verdict.gap && rate !== null) verdict.gap = { ...verdict.gap, missed: null };
    if (verdict.gap) verdict.gap = { ...verdict.gap, resumed: true };
    return stepsOf("price_update", latest, { instrument: pair }, verdict, true);
  }

  /**
   * Subscribed again on the same connection, perhaps at another rate. A price that the old rate
   * delayed is only in the snapshot.
   */
  #heldAlready(track, latest, rate) {
    const [at, gapless] = [positionOf(latest), track.rate === null];
    track.rate = rate;
    if (at === null || track.position === null) return [];
    const verdict = judge(track.position, latest, { gapless });
    if (verdict.fresh) track.position = at;
    return stepsOf("price_update", latest, { instrument: latest.instrument }, verdict, false);
  }

  #candlesJoined(asked, resumed, body) {
    const held = candlesHeld(body);
    const steps = [];
    for (const { pair, interval } of asked) {
      const key = `${pair}|${interval}`;
      if (!held.has(key)) {
        this.#candles.delete(key);
        continue;
      }
      const bodies = (body.candle_snapshot ?? []).filter((each) => each.instrument === pair && each.interval === interval);
      const numbered = bodies.filter((each) => positionOf(each)).sort((a, b) => a.seq - b.seq);
      const track = this.#candles.get(key);
      if (track && resumed) steps.push(...this.#candlesMissed(track, numbered));
      else if (!track) {
        const position = bodies.length ? positionOf(numbered.at(-1)) : NOTHING_YET;
        this.#candles.set(key, { pair, interval, position, reported: 0 });
      }
    }
    return steps;
  }

  #candlesMissed(track, numbered) {
    const about = { instrument: track.pair, interval: track.interval };
    return (numbered.length ? numbered : [undefined]).flatMap((body) => {
      const verdict = judgeReturn(track.position, body);
      track.position = verdict.position;
      return stepsOf("candle_update", body, about, verdict, true);
    });
  }

  /**
   * The payloads that subscribe to all instruments again, and then to those with another rate than
   * that of "all"; none without a subscription to all.
   */
  allAgain() {
    if (!this.#everything) return [];
    const all = this.#everything.rate;
    const others = new Map(); // rate -> pairs
    for (const [pair, { rate }] of this.#prices) if (rate !== all) others.set(rate, [...(others.get(rate) ?? []), pair]);
    const again = [...others].flatMap(([rate, pairs]) => chunks(pairs).map((some) => ({ pairs: some, ...rated(rate) })));
    return [{ pairs: "all", ...rated(all) }, ...again];
  }

  /** Drop the topics of instruments that are gone: the hub has ended their subscriptions. */
  dropped(instruments) {
    const gone = new Set(instruments);
    for (const pair of gone) this.#prices.delete(pair);
    this.books.dropped(gone);
    for (const [key, { pair }] of [...this.#candles]) if (gone.has(pair)) this.#candles.delete(key);
  }

  /** `refreshed`: the client has left these rooms, since the new credential has fewer rights. */
  left(rooms) {
    for (const room of rooms) {
      this.books.left(room);
      if (room === "alerts") this.#allAlerts = false;
      const [, kind, name] = /^(price|candle)_(.+)$/.exec(room) ?? [];
      if (kind === "price") this.#prices.delete(name);
      if (kind === "candle") this.#candles.delete(name.replace(/_([^_]+)$/, "|$1"));
    }
  }

  /** `unsubscription_confirmed`: drop all topics that are no longer subscribed. */
  unsubscribed(body) {
    const held = new Set(body.pairs);
    const candles = candlesHeld(body);
    this.books.unsubscribed(body);
    this.#allAlerts &&= body.alerts === "all";
    if (body.removed.length) this.#everything = null;
    for (const pair of [...this.#prices.keys()]) if (!held.has(pair)) this.#prices.delete(pair);
    for (const key of [...this.#candles.keys()]) if (!candles.has(key)) this.#candles.delete(key);
    for (const [key, { instruments }] of [...this.#alerts])
      if (instruments && !this.#allAlerts && !instruments.some((pair) => held.has(pair))) this.#alerts.delete(key);
  }

  /** The steps of a broadcast; none if the user has received it before. */
  received(event, body) {
    this.#note(body);
    if (event === "price_update") return this.#priced(body);
    if (event === "candle_update") {
      const track = this.#candles.get(`${body.instrument}|${body.interval}`);
      return this.#follow(track, event, body, { instrument: body.instrument, interval: body.interval });
    }
    const { topic, instruments } = ALERTS[event](body);
    const key = `${event} ${topic}`;
    if (!this.#alerts.has(key)) this.#alerts.set(key, { instruments, position: null, reported: 0 });
    return this.#follow(this.#alerts.get(key), event, body, { instrument: event === "volatility_alert" ? body.instrument : null, topic });
  }

  #priced(body) {
    const track = this.#prices.get(body.instrument);
    const { caughtUp } = track ?? {};
    const replayed = Boolean(caughtUp && body.epoch === caughtUp.epoch && body.seq <= caughtUp.seq);
    return this.#follow(track, "price_update", body, { instrument: body.instrument }, { replayed, gapless: track?.rate === null });
  }

  #follow(track, event, body, about, { replayed = false, gapless = true } = {}) {
    if (!track) return [{ event, body, replayed }];
    const verdict = judge(track.position, body, { gapless });
    if (verdict.fresh && positionOf(body)) track.position = positionOf(body);
    if (verdict.gap?.reason === "sequence") track.reported += verdict.gap.missed;
    return stepsOf(event, body, about, verdict, replayed);
  }

  /** `gap_notice`: gaps for the messages that no jump of seq has reported. */
  noticed({ dropped, reason }) {
    return Object.entries(dropped).flatMap(([key, count]) => {
      if (Books.isKey(key)) return []; // a snapshot has replaced the updates
      const [instrument, interval] = key.split("|");
      const track = interval ? this.#candles.get(key) : this.#prices.get(key);
      const missed = count - (track?.reported ?? 0);
      if (track) track.reported = 0;
      if (missed <= 0) return [];
      const about = interval ? { event: "candle_update", instrument, interval } : { event: "price_update", instrument };
      return [{ gap: named(about, { from: null, to: null, missed, reason }) }];
    });
  }

  #note(body) {
    if (body?.epoch) this.#epoch = body.epoch;
  }
}

function stepsOf(event, body, about, { fresh, gap }, replayed) {
  const steps = gap ? [{ gap: named({ event, ...about }, gap) }] : [];
  return fresh ? [...steps, { event, body, replayed }] : steps;
}

function named({ event, instrument, interval, topic }, gap) {
  return {
    event,
    instrument,
    topic: topic ?? (interval ? `${instrument}|${interval}` : instrument),
    ...(interval && { interval }),
    ...gap,
  };
}

/** The subscribed candles in an answer, as "PAIR|interval". */
function candlesHeld({ candles }) {
  return new Set((candles ?? []).map(({ pair, interval }) => `${pair}|${interval}`));
}

/** The field of a payload that names its rate in Hz; null is without one. */
function rated(rate) {
  return rate === null ? {} : { max_rate: rate };
}

function chunks(items) {
  const some = [];
  for (let start = 0; start < items.length; start += PAIRS_PER_REQUEST) some.push(items.slice(start, start + PAIRS_PER_REQUEST));
  return some;
}
