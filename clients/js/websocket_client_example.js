#!/usr/bin/env node
// Live prices on a terminal, or as lines of JSON for other programs. A whole program on tickwire-client, to copy from.
// @ts-check
import { parseArgs } from "node:util";
import { FXDataPipelineClient } from "tickwire-client";

const HELP = `Live prices of a Tickwire hub.

  node websocket_client_example.js [options]

  --url URL        the hub; http://127.0.0.1:5001 unless told otherwise
  --pairs A,B      instruments, such as EUR_USD,GBP_USD; all of them unless told otherwise
  --max-rate HZ    at most so many prices of each instrument a second, 0.1 to 50
  --count N        end after N prices
  --json           one JSON object a line on standard output, for pipes; everything else goes to standard error
  --help           this text

Ctrl-C ends it. NO_COLOR=1 leaves the colours out.`;

const [GREEN, RED, DIM, BOLD, PLAIN] = process.env["NO_COLOR"]
  ? ["", "", "", "", ""]
  : ["\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"];
const REDRAW_MS = 100;
const PING_MS = 5000;

/**
 * @typedef {import("tickwire-client").PriceUpdate} PriceUpdate
 * @typedef {{ snapshot(bodies: PriceUpdate[]): void, note(text: string): void, end(): void }} Show a way to show prices, and words
 */

/** What goes wrong with an argument, in plain words. */
class Usage extends Error {}

/** @param {string[]} argv */
function argumentsOf(argv) {
  const values = parsed(argv);
  const pairs = values.pairs
    ?.split(",")
    .map((pair) => pair.trim().toUpperCase())
    .filter(Boolean);
  if (pairs?.length === 0) throw new Usage("--pairs takes instruments, such as EUR_USD,GBP_USD.");
  return {
    ...values,
    pairs: pairs ?? "all",
    maxRate: numberOf("--max-rate", values["max-rate"]),
    count: numberOf("--count", values.count) ?? Infinity,
  };
}

/** @param {string[]} argv */
function parsed(argv) {
  try {
    return parseArgs({
      args: argv,
      options: {
        url: { type: "string", default: "http://127.0.0.1:5001" },
        pairs: { type: "string" },
        "max-rate": { type: "string" },
        count: { type: "string" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new Usage(String(/** @type {Error} */ (error).message).split(".")[0] + ".");
  }
}

/** @param {string} name @param {string | undefined} text */
function numberOf(name, text) {
  if (text === undefined) return undefined;
  if (!(Number(text) > 0)) throw new Usage(`${name} takes a number above 0, not ${JSON.stringify(text)}.`);
  return Number(text);
}

/** Everything as a line of JSON, with the name of its event. @param {FXDataPipelineClient} client @returns {Show} */
function asJson(client) {
  /** @type {(event: string) => (body: object) => unknown} */
  const say = (event) => (body) => process.stdout.write(JSON.stringify({ event, ...body }) + "\n");
  client.onPriceUpdate(say("price_update"));
  client.onVolatilityAlert(say("volatility_alert"));
  client.onCorrelationAlert(say("correlation_alert"));
  client.onDataReady(say("data_ready"));
  client.onGap((gap) => say("gap")({ of: gap.event, ...gap, event: "gap" }));
  return { snapshot: (bodies) => bodies.forEach(say("snapshot")), note: (text) => console.error(text), end: () => {} };
}

/** A line for each price, where standard output is no terminal. @param {FXDataPipelineClient} client @returns {Show} */
function asLines(client) {
  /** @type {(update: PriceUpdate) => void} */
  const say = ({ instrument, price }) =>
    console.log(`${instrument.padEnd(10)} ${price.bid.padStart(12)} ${price.ask.padStart(12)}  ${price.time}`);
  client.onPriceUpdate(say);
  return { snapshot: (bodies) => bodies.forEach(say), note: (text) => console.error(text), end: () => {} };
}

/** A table that is drawn anew ten times a second, with what happened last below it. @param {FXDataPipelineClient} client @returns {Show} */
function asTable(client) {
  const colour = new Map(); // instrument -> whether it rose or fell last
  const before = new Map(); // instrument -> mid before this one
  /** @type {string[]} */
  const notes = [];
  let count = 0;
  client.onPriceUpdate(({ instrument, price }) => {
    const change = Number(price.mid) - Number(before.get(instrument) ?? price.mid);
    if (change) colour.set(instrument, change > 0 ? GREEN : RED);
    before.set(instrument, price.mid);
    count += 1;
  });
  const note = (/** @type {string} */ text) => {
    notes.push(`${new Date().toISOString().slice(11, 19)}  ${text}`);
    if (notes.length > 5) notes.shift();
  };
  client.onVolatilityAlert((alert) => note(`${BOLD}${alert.message}${PLAIN}`));
  client.onCorrelationAlert((alert) => note(`${BOLD}${alert.message}${PLAIN}`));
  const draw = () => {
    const rows = (process.stdout.rows || 40) - notes.length - 4;
    const prices = [...client.prices.values()].sort((a, b) => (a.instrument < b.instrument ? -1 : 1)).slice(0, Math.max(1, rows));
    const lines = prices.map(({ instrument, price }) => {
      const cells = [instrument.padEnd(10), price.bid.padStart(14), price.ask.padStart(14), ` ${price.time.slice(11, 23)}`];
      return `${colour.get(instrument) ?? ""}${cells.join(" ")}${PLAIN}`;
    });
    const { roundTrip, delivery } = client.latency;
    const ms = (/** @type {import("tickwire-client").Summary | null} */ summary) => (summary ? `${summary.p50.toFixed(1)} ms` : "–");
    const state = client.connected ? `${GREEN}live${PLAIN}` : `${RED}not connected${PLAIN}`;
    const figures = `${count} prices, round trip ${ms(roundTrip)}, bus to here ${ms(delivery)}`;
    const head = `${BOLD}Tickwire${PLAIN} ${client.url}  ${state}  ${figures}`;
    const title = `${DIM}${"instrument".padEnd(10)} ${"bid".padStart(14)} ${"ask".padStart(14)}  time (UTC)${PLAIN}`;
    process.stdout.write(`\x1b[H${[head, title, ...lines, "", ...notes].join("\x1b[K\n")}\x1b[K\x1b[J`);
  };
  process.stdout.write("\x1b[?1049h\x1b[?25l\x1b[?7l"); // another screen, no cursor, no wrapping
  const timer = setInterval(draw, REDRAW_MS);
  const end = () => {
    clearInterval(timer);
    draw();
    process.stdout.write("\x1b[?7h\x1b[?25h\x1b[?1049l");
    client.printPrices();
  };
  return { snapshot: (bodies) => bodies.forEach(({ instrument, price }) => before.set(instrument, price.mid)), note, end };
}

/** @param {import("tickwire-client").Gap} gap */
function gapInWords({ topic, missed, reason }) {
  /** @type {Record<string, string>} */
  const why = {
    not_recovered: "the hub no longer had them",
    sequence: "the hub left them out",
    epoch: "the hub has begun to count anew",
    slow_consumer: "this program read too slowly",
  };
  const many = missed === null ? "some messages are" : missed === 1 ? "1 message is" : `${missed} messages are`;
  return `${topic}: ${many} missing (${why[reason] ?? reason})`;
}

async function main() {
  const asked = argumentsOf(process.argv.slice(2));
  if (asked.help) {
    console.log(HELP);
    return;
  }
  const client = makeClient(asked.url);
  const show = (asked.json ? asJson : process.stdout.isTTY ? asTable : asLines)(client);
  const pings = setInterval(() => client.connected && client.ping(), PING_MS);
  let ended = false;
  const end = (code = 0) => {
    if (ended) return;
    ended = true;
    clearInterval(pings);
    client.disconnect();
    show.end();
    process.exitCode = code;
  };
  process.once("SIGINT", () => end());
  process.once("SIGTERM", () => end());
  // The other side of the pipe has had enough (`… | head`): that is no error.
  process.stdout.on("error", () => process.exit(0));
  tell(client, (text) => ended || show.note(text));
  try {
    await watch(client, show, asked, end);
  } catch (error) {
    if (ended) return; // Ctrl-C, while something was still waited for
    end(1);
    throw error;
  }
}

/** @param {FXDataPipelineClient} client @param {(text: string) => void} note */
function tell(client, note) {
  client.onError(({ message, details }) => {
    const wait = details["retry_in_ms"];
    note(typeof wait === "number" ? `${message} Trying again in ${(wait / 1000).toFixed(1)} s.` : message);
  });
  client.onDisconnect(({ reason, reconnecting }) => reconnecting && note(`The connection is lost (${reason}); connecting again …`));
  client.onConnect(({ reconnected }) => reconnected && note("Connected again."));
  client.onGap((gap) => note(gapInWords(gap)));
}

/**
 * @param {FXDataPipelineClient} client
 * @param {Show} show
 * @param {ReturnType<typeof argumentsOf>} asked
 * @param {(code?: number) => void} end
 */
async function watch(client, show, { pairs, maxRate, count }, end) {
  // Here and not behind `await`: no update comes between the handler's call and the snapshot it was given.
  const off = client.onSubscriptionConfirmed(({ rejected, snapshot }) => {
    off();
    for (const { message } of rejected) show.note(message);
    show.snapshot(Object.values(snapshot));
  });
  let seen = 0;
  client.onPriceUpdate(() => {
    seen += 1;
    if (seen === count) end();
  });
  await client.connect({ timeout: 0 });
  const { pair_count } = await client.subscribe(pairs, { maxRate });
  if (pair_count === 0) {
    show.note("None of these instruments exists; without --pairs you see all there are.");
    end(1);
  }
}

/** @param {string} url */
function makeClient(url) {
  try {
    return new FXDataPipelineClient(url);
  } catch (error) {
    throw new Usage(/** @type {Error} */ (error).message);
  }
}

main().catch((error) => {
  console.error(error instanceof Usage ? `${error.message}\nTry --help.` : error.message);
  process.exit(error instanceof Usage ? 2 : 1);
});
