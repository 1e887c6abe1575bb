// Compiled with `tsc --strict`: correct programs pass, wrong ones fail. Only `members` runs.
import { FXDataPipelineClient, TickwireError } from "tickwire-client";
import type { Candle, Gap, KeptAlert, LatencySummary, Position, PriceUpdate } from "tickwire-client";

/** All members of the types, checked by the compiler; types.test.js compares them with the class. */
export const members: Record<keyof FXDataPipelineClient, true> = {
  url: true,
  connected: true,
  prices: true,
  positions: true,
  alertHistory: true,
  latency: true,
  connect: true,
  disconnect: true,
  subscribe: true,
  unsubscribe: true,
  getSubscriptions: true,
  requestPrice: true,
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
  onVolatilityAlert: true,
  onCorrelationAlert: true,
  onAlertTriggered: true,
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
  // @ts-expect-error the option is maxRate
  await client.subscribe("all", { max_rate: 5 });
  // @ts-expect-error unknown operator
  await client.setAlert({ instrument: "EUR_USD", op: ">=", value: "1" });
  // @ts-expect-error seq may be missing
  client.onPriceUpdate(({ seq }) => seq + 1);
}
