// Compiled with `tsc --strict`: correct programs pass, wrong ones fail. Only `members` runs.
import { FXDataPipelineClient, TickwireError } from "tickwire-client";
import type { Book, BookTopic, Candle, Gap, KeptAlert, LatencySummary, Position, PriceUpdate } from "tickwire-client";

/** All members of the types, checked by the compiler; types.test.js compares them with the class. */
export const members: Record<keyof FXDataPipelineClient, true> = {
  url: true,
  connected: true,
  prices: true,
  positions: true,
  books: true,
  alertHistory: true,
  latency: true,
  connect: true,
  disconnect: true,
  subscribe: true,
  unsubscribe: true,
  getSubscriptions: true,
  requestPrice: true,
  requestBook: true,
  requestAllPrices: true,
  getServerStats: true,
  ping: true,
  setAlert: true,
  listAlerts: true,
  deleteAlert: true,
  publish: true,
  publishMany: true,
  report: true,
  metrics: true,
  acknowledgeAlert: true,
  unacknowledged: true,
  printPrices: true,
  onConnect: true,
  onDisconnect: true,
  onConnectionEstablished: true,
  onSubscriptionConfirmed: true,
  onUnsubscriptionConfirmed: true,
  onSubscriptionsInfo: true,
  onPriceUpdate: true,
  onPriceResponse: true,
  onAllPricesResponse: true,
  onCandleUpdate: true,
  onBook: true,
  onBookSnapshot: true,
  onBookUpdate: true,
  onBookResponse: true,
  onBookState: true,
  onHeartbeat: true,
  onScenarioChanged: true,
  onVolatilityAlert: true,
  onCorrelationAlert: true,
  onAlertTriggered: true,
  onObservabilityEvent: true,
  onDataReady: true,
  onInstrumentsChanged: true,
  onServerStats: true,
  onPong: true,
  onGapNotice: true,
  onCredentialsExpiring: true,
  onRefreshed: true,
  onGap: true,
  onError: true,
};

export async function use(): Promise<void> {
  const client = new FXDataPipelineClient("http://127.0.0.1:5001", { transports: ["polling"], requestTimeout: 500, alertHistory: 5 });
  for (const auth of ["tw_abcdefgh_x", { token: "a.b.c" }, () => null, async () => ({ api_key: "tw_abcdefgh_x" }), undefined])
    new FXDataPipelineClient("http://127.0.0.1:5001", { auth });
  client.onCredentialsExpiring(({ expires_at, in_seconds }) => console.log(expires_at.length, in_seconds + 1));
  client.onRefreshed(({ scopes, instruments, removed, expires_at }) => console.log([...scopes, ...instruments, ...removed], expires_at));
  const off: () => void = client.onPriceUpdate((update, { replayed }) => {
    const bid: string = update.price.bid;
    const position: Position | null =
      update.seq !== undefined && update.epoch !== undefined ? { epoch: update.epoch, seq: update.seq } : null;
    console.log(bid, position, replayed);
  });
  client.onGap((gap: Gap) => console.log(gap.instrument, gap.from?.seq, gap.to?.epoch, gap.missed, gap.reason));
  client.onError((error) => console.log(error.code, error.details["instrument"]));
  const hello = await client.connect({ timeout: 0 });
  console.log(hello.key_id ?? "no key", hello.scopes?.join(), hello.expires_at);
  const { accepted, rejected } = await client.publishMany([{ instrument: "EUR_USD", bid: "1.0945", ask: "1.0947", time: new Date() }]);
  console.log(accepted, rejected[0]?.code, (await client.publish({ instrument: "EUR_USD", mid: "1.0946" }, { timeout: 500 })).duplicates);
  // @ts-expect-error a price is text
  await client.publish({ instrument: "EUR_USD", mid: 1.0946 });
  const confirmed = await client.subscribe(hello.available_pairs, {
    maxRate: 5,
    since: client.positions,
    candles: [{ pair: "EUR_USD", interval: "1m" }],
    timeout: 100,
  });
  const snapshot: PriceUpdate | undefined = confirmed.snapshot["EUR_USD"];
  const candle: Candle | undefined = confirmed.candle_snapshot?.[0]?.candle;
  const books = [{ pair: "BTCUSDT", depth: 20 }] satisfies BookTopic[];
  const { book_snapshot } = await client.subscribe(null, { books, heartbeat: true, maxRate: 5 });
  client.onBook(({ bids, verified, state }: Book) => console.log(bids[0]?.[0].length, verified, state === "live"));
  client.onBookState(({ previous, expected_id }) => console.log(previous, expected_id));
  client.onHeartbeat((beat) => console.log(beat.queue_peak + 1, beat.books["BTCUSDT"], client.books.get("BTCUSDT|20")?.seq));
  client.onScenarioChanged(({ current_scenario }) => console.log(current_scenario.length));
  console.log(book_snapshot?.[0]?.complete.from, (await client.requestBook("BTCUSDT", 5, { timeout: 100 })).checksum + 1);
  await client.unsubscribe(null, { books: "all", heartbeat: true });
  const { alerts }: { alerts?: "all" | null } = await client.subscribe(null, { alerts: "all" });
  console.log(alerts ?? "none", (await client.unsubscribe(null, { alerts: "all" })).alerts, (await client.getSubscriptions()).alerts);
  client.onObservabilityEvent(({ event_type, details }) => console.log(event_type.length, details?.["state"]))();
  client.onObservabilityEvent(() => {}, (error) => console.log(error.code)); // prettier-ignore
  const reported = await client.report([
    { kind: "heartbeat", strategy: "trend", equity: "10000" },
    { kind: "fill", strategy: "trend", fill_id: "f-1", order_id: "o-1", symbol: "EUR_USD", side: "buy", quantity: "1", price: "1.1" },
  ]);
  console.log(reported.accepted, reported.rejected[0]?.code, client.unacknowledged.length);
  for await (const { seq, strategy } of client.metrics({ channels: ["strategy"], maxRate: 2 })) console.log(seq + 1, strategy?.["pnl"]);
  console.log((await client.acknowledgeAlert("system:disk:critical:1", { by: "ada", comment: "on it" })).acknowledged_by);
  const latency: LatencySummary = client.latency;
  const { alert } = await client.setAlert({ instrument: "EUR_USD", op: ">", value: "1.1" });
  await client.deleteAlert(alert.id);
  const kept: KeptAlert | undefined = client.alertHistory.at(-1);
  if (kept?.event === "alert_triggered") console.log(kept.body.current);
  console.log(snapshot, candle, latency.roundTrip?.p95, (await client.ping()).latency);
  try {
    await client.requestPrice("NOPE");
  } catch (error) {
    if (error instanceof TickwireError) console.log(error.code);
  }
  client.printPrices((table) => console.log(table));
  off();
  client.disconnect();
}

export async function misuse(client: FXDataPipelineClient): Promise<void> {
  // @ts-expect-error prices are text
  client.onPriceUpdate(({ price }) => price.bid * 2);
  // @ts-expect-error a credential is text
  new FXDataPipelineClient("http://127.0.0.1:5001", { auth: async () => 7 });
  // @ts-expect-error unknown interval
  await client.subscribe(null, { candles: [{ pair: "EUR_USD", interval: "2m" }] });
  // @ts-expect-error unknown depth
  await client.subscribe(null, { books: [{ pair: "BTCUSDT", depth: 7 }] });
  // @ts-expect-error alerts of single instruments come with their prices
  await client.subscribe(null, { alerts: ["EUR_USD"] });
  // @ts-expect-error a quantity is text
  client.onBookUpdate(({ bids }) => bids[0][1] * 2);
  // @ts-expect-error the option is maxRate
  await client.subscribe("all", { max_rate: 5 });
  // @ts-expect-error an amount is text
  await client.report({ kind: "heartbeat", strategy: "trend", equity: 10000 });
  // @ts-expect-error unknown section
  client.metrics({ channels: ["prices"] });
  // @ts-expect-error unknown operator
  await client.setAlert({ instrument: "EUR_USD", op: ">=", value: "1" });
  // @ts-expect-error seq may be missing
  client.onPriceUpdate(({ seq }) => seq + 1);
}
