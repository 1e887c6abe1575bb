import type { io } from "socket.io-client";

/** A number as text, digit for digit as the source gave it: "1.0945". */
export type Decimal = string;
/** UTC, ISO 8601 with microseconds: "2025-11-18T12:34:56.789123Z". */
export type Time = string;
export type Interval = "1m" | "5m" | "15m" | "1h" | "4h" | "1d";
export type Severity = "warning" | "critical";

/** Where a message stands among those of its topic. `seq` rises by one; `epoch` changes when the hub's Redis has lost its data. */
export interface Position {
  epoch: string;
  seq: number;
}

export interface Price {
  bid: Decimal;
  ask: Decimal;
  mid: Decimal;
  time: Time;
}

/** Without `seq` and `epoch` it is foreign: published by a program of somebody's, and never sent again. */
export interface PriceUpdate extends Partial<Position> {
  instrument: string;
  price: Price;
  timestamp?: Time;
}

export interface Candle {
  start_time: Time;
  end_time: Time;
  open: Decimal;
  high: Decimal;
  low: Decimal;
  close: Decimal;
  volume: Decimal;
  trades?: number | null;
  complete: boolean;
}

/** The whole candle as it is now; replace the one of the same `start_time`. */
export interface CandleUpdate extends Partial<Position> {
  instrument: string;
  interval: Interval;
  candle: Candle;
  timestamp?: Time;
}

export interface CandleRoom {
  pair: string;
  interval: Interval;
}

export interface VolatilityAlert extends Partial<Position> {
  instrument: string;
  volatility: number;
  threshold?: number;
  severity: Severity;
  message?: string;
  timestamp?: Time;
}

export interface CorrelationAlert extends Partial<Position> {
  instrument1: string;
  instrument2: string;
  correlation: number;
  previous_correlation?: number;
  change?: number;
  threshold?: number;
  severity: Severity;
  message?: string;
  timestamp?: Time;
}

export interface DataReady extends Partial<Position> {
  data_type: "hourly_candles" | "volatility" | "correlation_matrix" | (string & {});
  instruments: string[];
  as_of: Time;
  timestamp?: Time;
}

export interface ConnectionEstablished {
  client_id: string;
  message: string;
  server_time: Time;
  available_pairs: string[];
  ping_interval: number;
  ping_timeout: number;
}

export interface Rejected {
  pair: unknown;
  interval?: unknown;
  code: string;
  message: string;
}

export interface SubscriptionConfirmed {
  /** All that is held now. */
  pairs: string[];
  pair_count: number;
  added: string[];
  rejected: Rejected[];
  /** The newest price of each pair asked for, as it was when the subscription began: the first `onPriceUpdate` is the one after it. */
  snapshot: Record<string, PriceUpdate>;
  recovered: Record<string, boolean>;
  max_rate: number | null;
  candles?: CandleRoom[];
  candle_snapshot?: CandleUpdate[];
  timestamp: Time;
}

export interface UnsubscriptionConfirmed {
  pairs: string[];
  pair_count: number;
  removed: string[];
  candles?: CandleRoom[];
  timestamp: Time;
}

export interface SubscriptionsInfo {
  pairs: string[];
  pair_count: number;
  candles?: CandleRoom[];
  timestamp: Time;
}

export interface AllPrices {
  prices: Record<string, Price>;
  count: number;
  timestamp: Time;
}

/** There is more in it; these are promised. */
export interface ServerStats {
  connected_clients: number;
  total_connections: number;
  total_subscriptions: number;
  subscriptions_by_pair: Record<string, number>;
  messages_relayed: number;
  messages_delivered: number;
  slow_clients: number;
  uptime_seconds: number;
  memory_usage_mb: number;
  redis_connected: boolean;
  last_message_age_seconds: number | null;
  timestamp: Time;
  [more: string]: unknown;
}

export interface Pong {
  timestamp: unknown;
  server_time: Time;
  /** ms there and back. */
  latency: number;
}

export interface GapNotice {
  /** How many messages were left out, by instrument, or by "INSTRUMENT|interval" for candles. */
  dropped: Record<string, number>;
  reason: string;
}

/** Something that the user will not be given. Both ends are outside of it. */
export interface Gap {
  event: "price_update" | "candle_update" | "volatility_alert" | "correlation_alert" | "data_ready";
  /** null for correlations and data_ready, which `topic` names. */
  instrument: string | null;
  /** What `seq` counts: the instrument, "INSTRUMENT|interval", "A|B", or the data type. */
  topic: string;
  /** Of candles alone. */
  interval?: Interval;
  /** The last message before it; null where there was none, or nobody knows. */
  from: Position | null;
  /** The first message behind it, which comes next; null where it is not known yet. */
  to: Position | null;
  /** How many messages it is; null where nobody knows. */
  missed: number | null;
  /**
   * `not_recovered`: after a reconnect the hub could not send all that was missed. `sequence`: it went on with a later number.
   * `epoch`: it began to count anew. `slow_consumer`: this client did not read fast enough (and no `sequence` told of it already).
   */
  reason: "not_recovered" | "sequence" | "epoch" | "slow_consumer" | (string & {});
}

export interface AlertRequest {
  instrument: string;
  /** "price" unless said otherwise. */
  metric?: "price" | "volatility" | undefined;
  op: ">" | "<" | "crosses";
  value: Decimal | number;
  /** true unless said otherwise: the alert fires once and is gone. */
  once?: boolean | undefined;
}

export interface OwnAlert {
  /** Stays what it is when the client sets the alert again on another connection. */
  id: string;
  instrument: string;
  metric: "price" | "volatility";
  op: ">" | "<" | "crosses";
  value: Decimal | number;
  once: boolean;
}

export interface AlertTriggered extends OwnAlert {
  current: Decimal | number;
  time: Time;
  timestamp: Time;
  seq: number | null;
  epoch: string | null;
}

export type KeptAlert = { receivedAt: string } & (
  | { event: "volatility_alert"; body: VolatilityAlert }
  | { event: "correlation_alert"; body: CorrelationAlert }
  | { event: "alert_triggered"; body: AlertTriggered }
);

/** ms; `count` is of all there were, the rest of the last thousand. */
export interface Summary {
  count: number;
  last: number;
  min: number;
  mean: number;
  p50: number;
  p95: number;
  max: number;
}

export interface LatencySummary {
  /** Of `ping()`. */
  roundTrip: Summary | null;
  /** From a price's own `time` to its arrival here. Replays left out, and set right by `clockOffset`. */
  price: Summary | null;
  /** From its `timestamp`, when it was published on the bus, to its arrival here. */
  delivery: Summary | null;
  /** How far the hub's clock is ahead of ours, by the quickest ping; null before the first. */
  clockOffset: number | null;
}

export interface Options {
  /** `["websocket"]` unless said otherwise; `["polling", "websocket"]` gets through proxies that know no WebSocket. */
  transports?: string[] | undefined;
  /** Sent with the connection, for proxies and hubs that ask for it. */
  auth?: Record<string, unknown> | undefined;
  /** How long an answer may take, in ms, a reconnect meanwhile included: 10,000. */
  requestTimeout?: number | undefined;
  /** How long `connect()` tries, in ms: 20,000. 0: for ever. */
  connectTimeout?: number | undefined;
  /** How long one attempt may take, in ms: 10,000. */
  attemptTimeout?: number | undefined;
  /** Whether to connect again, and again: true. */
  reconnection?: boolean | undefined;
  /** ms before the second attempt, doubled for each after it, less up to half by chance: 500. */
  reconnectionDelay?: number | undefined;
  /** ms between attempts at most: 10,000. */
  reconnectionDelayMax?: number | undefined;
  /** How many alerts `alertHistory` keeps: 100. */
  alertHistory?: number | undefined;
  /** More options of socket.io-client's `io()`: `path`, `extraHeaders`, … */
  socketOptions?: Record<string, unknown> | undefined;
  /** `io` of another copy of socket.io-client than the one that is imported. */
  io?: typeof io | undefined;
}

export interface TimeLimit {
  /** ms until the promise is rejected with code `timeout`; 0: never. */
  timeout?: number | undefined;
}

export interface SubscribeOptions extends TimeLimit {
  candles?: CandleRoom[] | undefined;
  /** At most so many prices of each pair a second, 0.1 to 50; those in between are left out. */
  maxRate?: number | undefined;
  /** Go on after these: `positions` of another time or program, or of REST's `/ticks`. */
  since?: Record<string, Position> | undefined;
}

export interface UnsubscribeOptions extends TimeLimit {
  candles?: CandleRoom[] | "all" | undefined;
}

export type Off = () => void;

export class TickwireError extends Error {
  readonly name: "TickwireError";
  /**
   * The hub's: invalid_payload, unknown_instrument, no_price, too_many_requests, server_full, unauthorized, unavailable, internal.
   * The client's: timeout, unreachable, not_connected, disconnected.
   */
  readonly code: string;
  /** What was asked; null where nothing was. */
  readonly event: string | null;
  readonly details: Record<string, unknown>;
  toJSON(): { code: string; message: string; event: string | null; details: Record<string, unknown> };
}

/**
 * A client of a Tickwire hub. It reconnects by itself, subscribes again since where it was and sets its alerts again: the user is given
 * each message once, in order for each instrument, and told of every gap.
 *
 * Every method that asks resolves to the body of the answer and rejects with a `TickwireError`; `onError` is told of it too. A promise
 * that nobody looks at does not end the program.
 */
export class FXDataPipelineClient {
  /** @throws {TypeError} for what is no address, and for an option that there is not. */
  constructor(url?: string, options?: Options);

  readonly url: string;
  /** Whether there is a connection, with all that was held held again. */
  readonly connected: boolean;
  /** instrument -> the newest price known of it: from snapshots, updates and answers. */
  readonly prices: Map<string, PriceUpdate>;
  /** instrument -> the last message given to the user; keep it, and `subscribe(pairs, { since })` goes on there. */
  readonly positions: Record<string, Position>;
  /** The last alerts of all three kinds, oldest first. */
  readonly alertHistory: KeptAlert[];
  readonly latency: LatencySummary;

  /** Tries until there is a connection, `connectTimeout` is over, or there is no hope. After a `disconnect()`, goes on where it was. */
  connect(options?: TimeLimit): Promise<ConnectionEstablished>;
  disconnect(): void;

  subscribe(pairs: string[] | string | null, options?: SubscribeOptions): Promise<SubscriptionConfirmed>;
  unsubscribe(pairs: string[] | string | null, options?: UnsubscribeOptions): Promise<UnsubscriptionConfirmed>;
  getSubscriptions(options?: TimeLimit): Promise<SubscriptionsInfo>;
  requestPrice(instrument: string, options?: TimeLimit): Promise<PriceUpdate>;
  requestAllPrices(options?: TimeLimit): Promise<AllPrices>;
  getServerStats(options?: TimeLimit): Promise<ServerStats>;
  ping(options?: TimeLimit): Promise<Pong>;
  setAlert(alert: AlertRequest & TimeLimit): Promise<{ alert: OwnAlert; count: number; timestamp: Time }>;
  listAlerts(options?: TimeLimit): Promise<{ alerts: OwnAlert[]; count: number; timestamp: Time }>;
  deleteAlert(id: string, options?: TimeLimit): Promise<{ deleted: string[]; count: number; timestamp: Time }>;
  /** Print the newest prices known, as a table; `console.log` unless told otherwise. */
  printPrices(print?: (table: string) => void): void;

  onConnect(handler: (about: { id: string; transport: string; reconnected: boolean }) => void): Off;
  onDisconnect(handler: (about: { reason: string; reconnecting: boolean; retryInMs: number | null }) => void): Off;
  onConnectionEstablished(handler: (body: ConnectionEstablished) => void): Off;
  onSubscriptionConfirmed(handler: (body: SubscriptionConfirmed) => void): Off;
  onUnsubscriptionConfirmed(handler: (body: UnsubscriptionConfirmed) => void): Off;
  onSubscriptionsInfo(handler: (body: SubscriptionsInfo) => void): Off;
  /** `replayed`: it was missed and is told late, after a reconnect or with `since`. */
  onPriceUpdate(handler: (body: PriceUpdate, about: { replayed: boolean }) => void): Off;
  onPriceResponse(handler: (body: PriceUpdate) => void): Off;
  onAllPricesResponse(handler: (body: AllPrices) => void): Off;
  onCandleUpdate(handler: (body: CandleUpdate, about: { replayed: boolean }) => void): Off;
  onVolatilityAlert(handler: (body: VolatilityAlert) => void): Off;
  onCorrelationAlert(handler: (body: CorrelationAlert) => void): Off;
  onAlertTriggered(handler: (body: AlertTriggered) => void): Off;
  onDataReady(handler: (body: DataReady) => void): Off;
  onServerStats(handler: (body: ServerStats) => void): Off;
  onPong(handler: (body: Pong) => void): Off;
  onGapNotice(handler: (body: GapNotice) => void): Off;
  onGap(handler: (gap: Gap) => void): Off;
  onError(handler: (error: TickwireError) => void): Off;
}
