import type { io } from "socket.io-client";

/** A number as text with the digits of the source: "1.0945". */
export type Decimal = string;
/** UTC, ISO 8601 with microseconds: "2025-11-18T12:34:56.789123Z". */
export type Time = string;
export type Interval = "1m" | "5m" | "15m" | "1h" | "4h" | "1d";
export type Severity = "warning" | "critical";

/**
 * The position of a message in its topic. `seq` rises by one. `epoch` changes when the Redis of the
 * hub has lost its data.
 */
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

/** A price without `seq` and `epoch` is foreign: published by another program, never replayed. */
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

/** The current state of a candle; replaces the one with the same `start_time`. */
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

export type BookDepth = 5 | 10 | 20 | 50;

export interface BookTopic {
  pair: string;
  depth: BookDepth;
}

/** `gap`, `resyncing` and `stale`: the levels are those of the last good book. */
export type BookStateName = "syncing" | "live" | "gap" | "resyncing" | "stale";

/** Price and quantity. In `book_update`, the quantity "0" removes the level. */
export type BookLevel = [price: Decimal, quantity: Decimal];

/** Number of proven levels a side, and the prices between which every level is known. */
export interface BookWindow {
  bids: number;
  asks: number;
  from: Decimal | null;
  to: Decimal | null;
}

/** The changed levels; `seq` is that of the message before plus 1. */
export interface BookUpdate extends Position {
  instrument: string;
  depth: BookDepth;
  /** The best one first. */
  bids: BookLevel[];
  asks: BookLevel[];
  update_id: number;
  /** Unsigned CRC32 of the first 10 levels a side, after this message. */
  checksum: number;
  /** The event time of the exchange. */
  time: Time;
  timestamp: Time;
  /** From the receipt of the exchange's message to the publication. */
  lag_ms: number;
}

export interface BookSnapshot extends BookUpdate {
  state: BookStateName;
  reason: string;
  complete: BookWindow;
}

/** The complete book after a message. `complete` is that of the last snapshot. */
export interface Book extends BookSnapshot {
  /**
   * Whether the checksum agrees and no message was missed. If not, the client has requested the book
   * again, and the levels are those of the last message that agreed.
   */
  verified: boolean;
}

/** The state of a book has changed. */
export interface BookState {
  instrument: string;
  state: BookStateName;
  previous: BookStateName | null;
  reason: string;
  update_id: number | null;
  /** Ids of the exchange around missing messages. */
  expected_id: number | null;
  received_id: number | null;
  timestamp: Time;
  /** null if the hub reports the loss or the return of the process that keeps the books. */
  seq: number | null;
  epoch: string | null;
}

/** Status of the process that keeps the books. */
export interface Heartbeat extends Position {
  type: "heartbeat";
  status: "healthy" | "degraded" | "unhealthy";
  uptime_seconds: number;
  total_messages_processed: number;
  current_queue_size: number;
  memory_usage_mb: number;
  active_clients: number;
  current_scenario: string;
  last_heartbeat: Time;
  lag_ms: number | null;
  queue_max: number;
  queue_peak: number;
  /** instrument -> state */
  books: Record<string, BookStateName>;
  timestamp: Time;
}

/** Another scenario plays, or the same one from its beginning. */
export interface ScenarioChanged extends Position {
  previous_scenario: string | null;
  current_scenario: string;
  run_id: string;
  timestamp: Time;
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
  /** Public id of the key; null without a key. */
  key_id?: string | null;
  /** Rights of the credential; null without one. */
  scopes?: string[] | null;
  /** Time at which the credential expires; null if it does not. */
  expires_at?: Time | null;
}

/** The credential expires soon. The client calls the function `auth`, if there is one. */
export interface CredentialsExpiring {
  expires_at: Time;
  in_seconds: number;
}

/** The hub has accepted another token of the same user. */
export interface Refreshed {
  expires_at: Time | null;
  scopes: string[];
  instruments: string[];
  /** Rooms that the client has left, since the new token has fewer rights. */
  removed: string[];
  timestamp: Time;
}

export interface Rejected {
  pair: unknown;
  interval?: unknown;
  depth?: unknown;
  code: string;
  message: string;
}

export interface SubscriptionConfirmed {
  /** All subscribed instruments. */
  pairs: string[];
  pair_count: number;
  added: string[];
  /** The first 20 items that were not served. */
  rejected: Rejected[];
  /** Number of all of them. */
  rejected_count: number;
  /**
   * The newest price of each requested pair at the start of the subscription. The first
   * `onPriceUpdate` is the next price.
   */
  snapshot: Record<string, PriceUpdate>;
  recovered: Record<string, boolean>;
  /** The positions before the first message, of instruments that have none yet. */
  positions?: Record<string, Position>;
  max_rate: number | null;
  candles?: CandleRoom[];
  candle_snapshot?: CandleUpdate[];
  /** All subscribed books. */
  books?: BookTopic[];
  heartbeat?: boolean;
  /** "all": the alerts of all instruments are subscribed. Missing unless that is so or was requested. */
  alerts?: "all" | null;
  /** The newest snapshots of the requested books. */
  book_snapshot?: BookSnapshot[];
  timestamp: Time;
}

export interface UnsubscriptionConfirmed {
  pairs: string[];
  pair_count: number;
  removed: string[];
  candles?: CandleRoom[];
  books?: BookTopic[];
  heartbeat?: boolean;
  alerts?: "all" | null;
  timestamp: Time;
}

export interface SubscriptionsInfo {
  pairs: string[];
  pair_count: number;
  candles?: CandleRoom[];
  books?: BookTopic[];
  heartbeat?: boolean;
  alerts?: "all" | null;
  timestamp: Time;
}

export interface AllPrices {
  prices: Record<string, Price>;
  count: number;
  timestamp: Time;
}

/** These fields are guaranteed; there may be more. */
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
  /** Round-trip time in ms. */
  latency: number;
}

/** Instruments were added or removed while the hub runs. */
export interface InstrumentsChanged {
  /** A subscription to "all" has them: the client repeats it. */
  added: string[];
  /** The client is no longer subscribed to them. */
  removed: string[];
  /** Number of instruments now. */
  count: number;
  timestamp: Time;
}

export interface GapNotice {
  /**
   * Number of dropped messages by instrument, by "INSTRUMENT|interval" for candles, or by
   * "INSTRUMENT|depth" for books, of which a snapshot has replaced the dropped messages.
   */
  dropped: Record<string, number>;
  reason: string;
}

/** Messages that were missed for good. Both ends are exclusive. */
export interface Gap {
  event: "price_update" | "candle_update" | "volatility_alert" | "correlation_alert" | "data_ready";
  /** null for correlations and data_ready; see `topic`. */
  instrument: string | null;
  /** The series that `seq` counts: instrument, "INSTRUMENT|interval", "A|B", or data type. */
  topic: string;
  /** Only for candles. */
  interval?: Interval;
  /** The last message before the gap; null if there was none or it is unknown. */
  from: Position | null;
  /** The first message after the gap, which follows; null if it is not yet known. */
  to: Position | null;
  /** Number of missed messages; null if unknown. */
  missed: number | null;
  /**
   * `not_recovered`: after a reconnect, the hub could not send all missed messages.
   * `not_stored`: so many prices of such a gap are not stored either (`restUrl`).
   * `sequence`: the hub continued with a later seq.
   * `epoch`: the hub started a new epoch.
   * `slow_consumer`: this client read too slowly, and no `sequence` gap has reported it.
   */
  reason: "not_recovered" | "not_stored" | "sequence" | "epoch" | "slow_consumer" | (string & {});
}

export interface AlertRequest {
  instrument: string;
  /** Default: "price". */
  metric?: "price" | "volatility" | undefined;
  op: ">" | "<" | "crosses";
  value: Decimal | number;
  /** Default: true. The alert is deleted after it fires. */
  once?: boolean | undefined;
}

export interface OwnAlert {
  /** Stays the same when the client sets the alert again on another connection. */
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

/** A price to publish: `bid` and `ask`, or `mid` alone. */
export interface OwnPrice {
  instrument: string;
  bid?: Decimal | null | undefined;
  ask?: Decimal | null | undefined;
  /** Default: halfway. */
  mid?: Decimal | null | undefined;
  /** RFC 3339. Default: now. */
  time?: Time | Date | null | undefined;
  volume?: Decimal | null | undefined;
}

export interface PublishResult {
  accepted: number;
  /** Prices that were published before, in the last 15 minutes. */
  duplicates: number;
  /** The others; `index` is the place among the prices. */
  rejected: { index: number; code: string; message: string }[];
}

/** Fields of every report. A report is identified by (bot, kind, id): it takes effect once. */
export interface ReportFields {
  strategy: string;
  /** Default: a new one; of a fill, its `fill_id`. A program that may be killed gives it itself. */
  id?: string | null | undefined;
  /** Default: now. */
  time?: Time | Date | null | undefined;
  /** Default: the option `bot` of the client. */
  bot?: string | null | undefined;
  /** At most 2 KiB as JSON. */
  metadata?: Record<string, unknown> | null | undefined;
}

export interface OrderReport extends ReportFields {
  kind: "order";
  order_id: string;
  symbol: string;
  side: "buy" | "sell";
  quantity: Decimal;
  order_type: string;
  status: "new" | "accepted" | "partially_filled" | "filled" | "cancelled" | "rejected" | "expired";
  client_order_id?: string | null | undefined;
  price?: Decimal | null | undefined;
  reason?: string | null | undefined;
  decision_price?: Decimal | null | undefined;
  decision_time?: Time | Date | null | undefined;
  arrival_price?: Decimal | null | undefined;
}

export interface FillReport extends ReportFields {
  kind: "fill";
  fill_id: string;
  order_id: string;
  symbol: string;
  side: "buy" | "sell";
  quantity: Decimal;
  price: Decimal;
  /** Positive: paid. Negative: received. Default: 0. */
  fee?: Decimal | null | undefined;
  fee_currency?: string | null | undefined;
  liquidity?: "maker" | "taker" | null | undefined;
  currency?: string | null | undefined;
  multiplier?: Decimal | null | undefined;
}

export interface SignalReport extends ReportFields {
  kind: "signal";
  symbol: string;
  signal: "buy" | "sell" | "hold";
  outcome: "generated" | "approved" | "rejected";
  price?: Decimal | null | undefined;
  confidence?: number | null | undefined;
}

export interface HeartbeatReport extends ReportFields {
  kind: "heartbeat";
  equity?: Decimal | null | undefined;
  cash?: Decimal | null | undefined;
}

export interface CorrectionReport extends ReportFields {
  kind: "correction";
  fill_id: string;
  action: "cancel" | "replace";
  quantity?: Decimal | null | undefined;
  price?: Decimal | null | undefined;
  fee?: Decimal | null | undefined;
}

export type Report = OrderReport | FillReport | SignalReport | HeartbeatReport | CorrectionReport;

export interface ReportResult {
  accepted: number;
  /** Reports that were accepted before. */
  duplicates: number;
  /** The others; `index` is the place among the reports. */
  rejected: { index: number; id: string | null; code: string; message: string }[];
}

export type Section = "market_data" | "strategy" | "execution" | "system";

/** Prices, quantities and amounts in the sections are text. Absent figures are null. */
export interface MetricsSnapshot {
  timestamp: Time;
  seq: number;
  epoch: string;
  market_data?: Record<string, any>;
  strategy?: Record<string, any>;
  execution?: Record<string, any>;
  system?: Record<string, any>;
}

export interface MetricsOptions {
  /** Default: all four. */
  channels?: Section | Section[] | undefined;
  /**
   * Maximum number of snapshots per second. If several iterators are open, the highest rate applies
   * to all.
   */
  maxRate?: number | undefined;
}

/** Ends with `return()`, which `break` in a `for await` calls, and with `disconnect()`. */
export interface MetricsIterator extends AsyncIterableIterator<MetricsSnapshot> {
  return(): Promise<IteratorResult<MetricsSnapshot>>;
}

/** The cause of a change: `trade_executed`, `position_opened`, `system_alert`, …; with fields of its type. */
export interface ObservabilityEvent extends Partial<Position> {
  event_id: string;
  event_type: string;
  source: string;
  metadata: Record<string, unknown>;
  timestamp: Time;
  details?: Record<string, any>;
  [more: string]: unknown;
}

export interface AlertAcknowledged {
  status: "acknowledged";
  alert_id: string;
  acknowledged_at: Time;
  acknowledged_by: string | null;
}

export type KeptAlert = { receivedAt: string } & (
  | { event: "volatility_alert"; body: VolatilityAlert }
  | { event: "correlation_alert"; body: CorrelationAlert }
  | { event: "alert_triggered"; body: AlertTriggered }
);

/** Times in ms. `count` includes all samples, the rest only the last 1,000. */
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
  /** Round-trip time of `ping()`. */
  roundTrip: Summary | null;
  /** From the `time` of a price to its arrival, without replays, corrected by `clockOffset`. */
  price: Summary | null;
  /** From the `timestamp` of a price (its publication on the bus) to its arrival. */
  delivery: Summary | null;
  /** ms by which the clock of the hub is ahead, from the shortest ping; null before the first. */
  clockOffset: number | null;
}

/**
 * A key (`tw_…`) or a JWT: as text or as one of these objects. Further fields are sent to the hub
 * unchanged.
 */
export type Credential = string | { api_key?: string; token?: string; [more: string]: unknown };

export type Auth =
  | Credential
  | null
  | undefined
  | (() => Credential | null | undefined | Promise<Credential | null | undefined>);

export interface Options {
  /**
   * Default: `["websocket"]`. Use `["polling", "websocket"]` behind proxies without WebSocket
   * support.
   */
  transports?: string[] | undefined;
  /**
   * The credential, or a function that returns it or a promise of it. The function is called on each
   * connect, on `credentials_expiring`, and after REST has refused the credential. Requests to REST
   * send it as `Authorization: Bearer`.
   */
  auth?: Auth;
  /** Time limit of a request in ms, including reconnections. Default: 10,000. */
  requestTimeout?: number | undefined;
  /** Time limit of `connect()` in ms. Default: 20,000; 0 means no limit. */
  connectTimeout?: number | undefined;
  /** Time limit of one attempt in ms. Default: 10,000. */
  attemptTimeout?: number | undefined;
  /** Whether to reconnect. Default: true. */
  reconnection?: boolean | undefined;
  /** First delay in ms; doubles with each attempt, minus up to half as jitter. Default: 500. */
  reconnectionDelay?: number | undefined;
  /** Longest delay between attempts in ms. Default: 10,000. */
  reconnectionDelayMax?: number | undefined;
  /**
   * Address of REST. With it, gaps after a reconnect are filled from `GET /ticks`. Default: none;
   * for `publish`, port 5000 of the same host if the hub has port 5001.
   */
  restUrl?: string | undefined;
  /** Longest wait for the stored prices of a gap in ms. Default: 5,000. */
  fillTimeout?: number | undefined;
  /** Name of the bot whose reports this client sends. */
  bot?: string | undefined;
  /** Number of alerts in `alertHistory`. Default: 100. */
  alertHistory?: number | undefined;
  /** Further options of `io()` of socket.io-client: `path`, `extraHeaders`, … */
  socketOptions?: Record<string, unknown> | undefined;
  /** `io` of another copy of socket.io-client. Default: the imported one. */
  io?: typeof io | undefined;
}

export interface TimeLimit {
  /** ms until the promise is rejected with code `timeout`; 0 means no limit. */
  timeout?: number | undefined;
}

export interface SubscribeOptions extends TimeLimit {
  candles?: CandleRoom[] | undefined;
  books?: BookTopic[] | undefined;
  /** `true` subscribes to `onHeartbeat` and `onScenarioChanged`; it needs the scope `observe`. */
  heartbeat?: boolean | undefined;
  /** The volatility and correlation alerts of all instruments that the credential may read. */
  alerts?: "all" | undefined;
  /** Maximum number of prices per second and pair, 0.1 to 50; the hub skips the others. */
  maxRate?: number | undefined;
  /** Resume after these positions, from `positions` of an earlier run or from `/ticks` of REST. */
  since?: Record<string, Position> | undefined;
}

export interface UnsubscribeOptions extends TimeLimit {
  candles?: CandleRoom[] | "all" | undefined;
  books?: BookTopic[] | "all" | undefined;
  heartbeat?: boolean | undefined;
  alerts?: "all" | undefined;
}

export type Off = () => void;

export class TickwireError extends Error {
  readonly name: "TickwireError";
  /**
   * Codes of the hub: invalid_payload, unknown_instrument, no_price, too_many_requests,
   * server_full, unauthorized, forbidden, unavailable, internal.
   * Codes of the client: timeout, unreachable, not_connected, disconnected, auth_failed.
   */
  readonly code: string;
  /** Name of the request; null if there was none. */
  readonly event: string | null;
  readonly details: Record<string, unknown>;
  /** The message without the code and the details, which `message` contains. */
  readonly reason: string;
  toJSON(): { code: string; message: string; event: string | null; details: Record<string, unknown> };
}

/**
 * Client of a Tickwire hub. It reconnects automatically, resumes its subscriptions and sets its
 * alerts again. The user receives each message once, in order per instrument, and a report of every
 * gap.
 *
 * Requests resolve to the body of the answer and reject with a `TickwireError`, which `onError`
 * receives as well. An ignored rejection does not end the program.
 */
export class FXDataPipelineClient {
  /** @throws {TypeError} if the address or `auth` is invalid, or an option is unknown. */
  constructor(url?: string, options?: Options);

  readonly url: string;
  /** Whether the client is connected, with all subscriptions and alerts restored. */
  readonly connected: boolean;
  /** instrument -> newest known price, from snapshots, updates and answers. */
  readonly prices: Map<string, PriceUpdate>;
  /** "INSTRUMENT|depth" -> newest book, as `onBook` received it, with its present state. */
  readonly books: Map<string, Book>;
  /** instrument -> position of the last message passed to the user, in the form of `since`. */
  readonly positions: Record<string, Position>;
  /** The last alerts of all three kinds, oldest first. */
  readonly alertHistory: KeptAlert[];
  readonly latency: LatencySummary;
  /** The reports without an ack, as they are sent. */
  readonly unacknowledged: Record<string, unknown>[];

  /**
   * Try until connected, until `connectTimeout`, or until a permanent refusal. After a
   * `disconnect()`, resume the subscriptions.
   */
  connect(options?: TimeLimit): Promise<ConnectionEstablished>;
  disconnect(): void;

  subscribe(pairs: string[] | string | null, options?: SubscribeOptions): Promise<SubscriptionConfirmed>;
  unsubscribe(pairs: string[] | string | null, options?: UnsubscribeOptions): Promise<UnsubscriptionConfirmed>;
  getSubscriptions(options?: TimeLimit): Promise<SubscriptionsInfo>;
  requestPrice(instrument: string, options?: TimeLimit): Promise<PriceUpdate>;
  /** The newest book; no subscription is needed. Default: depth 20. Rejects with `no_book` without one. */
  requestBook(instrument: string, depth?: BookDepth, options?: TimeLimit): Promise<Book>;
  requestAllPrices(options?: TimeLimit): Promise<AllPrices>;
  getServerStats(options?: TimeLimit): Promise<ServerStats>;
  ping(options?: TimeLimit): Promise<Pong>;
  setAlert(alert: AlertRequest & TimeLimit): Promise<{ alert: OwnAlert; count: number; timestamp: Time }>;
  listAlerts(options?: TimeLimit): Promise<{ alerts: OwnAlert[]; count: number; timestamp: Time }>;
  deleteAlert(id: string, options?: TimeLimit): Promise<{ deleted: string[]; count: number; timestamp: Time }>;
  /**
   * Publish one price with `POST /prices` of REST. Rejects if it is not accepted. A request without
   * an answer is sent up to three times.
   */
  publish(price: OwnPrice, options?: TimeLimit): Promise<PublishResult>;
  /** Publish prices in this order. More than 500 are sent in several requests. */
  publishMany(prices: OwnPrice[], options?: TimeLimit): Promise<PublishResult>;
  /**
   * Send reports of a bot. Resolves when the hub has stored them; single rejections are in the
   * result. Rejects with the refusal of a whole batch (500 reports at most), which is not kept.
   *
   * Reports without an ack are kept, at most 100,000, and sent again after a reconnect, with the
   * same ids. `too_many_requests` and `unavailable` are waited for. If that takes longer than the
   * timeout, the promise is rejected with `timeout`, and the client continues.
   */
  report(reports: Report | Report[], options?: TimeLimit): Promise<ReportResult>;
  /**
   * An async iterator over snapshots of the metrics, the newest one first. It continues after
   * reconnections. A slow program receives the newest snapshot in place of those that it missed.
   *
   * @throws {TypeError} if there is no such section
   */
  metrics(options?: MetricsOptions): MetricsIterator;
  /** Acknowledge a firing alert. `by` counts only without a credential. */
  acknowledgeAlert(
    alertId: string,
    options?: { by?: string | undefined; comment?: string | undefined } & TimeLimit,
  ): Promise<AlertAcknowledged>;
  /** Print the newest known prices as a table. Default: `console.log`. */
  printPrices(print?: (table: string) => void): void;

  onConnect(handler: (about: { id: string; transport: string; reconnected: boolean }) => void): Off;
  onDisconnect(handler: (about: { reason: string; reconnecting: boolean; retryInMs: number | null }) => void): Off;
  onConnectionEstablished(handler: (body: ConnectionEstablished) => void): Off;
  onSubscriptionConfirmed(handler: (body: SubscriptionConfirmed) => void): Off;
  onUnsubscriptionConfirmed(handler: (body: UnsubscriptionConfirmed) => void): Off;
  onSubscriptionsInfo(handler: (body: SubscriptionsInfo) => void): Off;
  /** `replayed`: the price was missed and arrives late, after a reconnect or with `since`. */
  onPriceUpdate(handler: (body: PriceUpdate, about: { replayed: boolean }) => void): Off;
  onPriceResponse(handler: (body: PriceUpdate) => void): Off;
  onAllPricesResponse(handler: (body: AllPrices) => void): Off;
  onCandleUpdate(handler: (body: CandleUpdate, about: { replayed: boolean }) => void): Off;
  /** A subscribed book after each of its messages. */
  onBook(handler: (book: Book) => void): Off;
  onBookSnapshot(handler: (body: BookSnapshot) => void): Off;
  onBookUpdate(handler: (body: BookUpdate) => void): Off;
  onBookResponse(handler: (body: BookSnapshot) => void): Off;
  onBookState(handler: (body: BookState) => void): Off;
  onHeartbeat(handler: (body: Heartbeat) => void): Off;
  onScenarioChanged(handler: (body: ScenarioChanged) => void): Off;
  onVolatilityAlert(handler: (body: VolatilityAlert) => void): Off;
  onCorrelationAlert(handler: (body: CorrelationAlert) => void): Off;
  onAlertTriggered(handler: (body: AlertTriggered) => void): Off;
  /**
   * Events of the namespace `/metrics`; needs the scope `observe`. The first handler joins the
   * channel, again after each reconnect, and the removal of the last one leaves it. Missed events do
   * not follow. `refused` receives the refusal of the hub, beside `onError`; the next connection, or
   * another handler, tries again.
   */
  onObservabilityEvent(handler: (body: ObservabilityEvent) => void, refused?: (error: TickwireError) => void): Off;
  onDataReady(handler: (body: DataReady) => void): Off;
  onServerStats(handler: (body: ServerStats) => void): Off;
  onPong(handler: (body: Pong) => void): Off;
  onInstrumentsChanged(handler: (body: InstrumentsChanged) => void): Off;
  onGapNotice(handler: (body: GapNotice) => void): Off;
  onCredentialsExpiring(handler: (body: CredentialsExpiring) => void): Off;
  onRefreshed(handler: (body: Refreshed) => void): Off;
  onGap(handler: (gap: Gap) => void): Off;
  onError(handler: (error: TickwireError) => void): Off;
}
