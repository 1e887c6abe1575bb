#!/usr/bin/env node
// Live prices on a terminal, or as JSON lines for other programs. A complete example program.
// @ts-check
import { parseArgs } from "node:util";
import { FXDataPipelineClient } from "tickwire-client";

const HELP = `Live prices of a Tickwire hub.

  node websocket_client_example.js [options]

  --url URL        address of the hub (default: http://127.0.0.1:5001)
  --pairs A,B      instruments, such as EUR_USD,GBP_USD (default: all)
  --max-rate HZ    limit prices per second and instrument, 0.1 to 50
  --count N        exit after N prices
  --json           print one JSON object per line; other texts go to standard error
  --help           print this text

Ctrl-C ends it. NO_COLOR=1 switches colours off. TICKWIRE_API_KEY has the key or
token, if the hub needs one.`;

const [GREEN, RED, DIM, BOLD, PLAIN] = process.env["NO_COLOR"]
  ? ["", "", "", "", ""]
  : ["\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"];
const REDRAW_MS = 100;
const PING_MS = 5000;

/** @typedef {import("tickwire-client").PriceUpdate} PriceUpdate */

/**
 * @typedef {object} Display
 * @property {(bodies: PriceUpdate[]) => void} snapshot
 * @property {(text: string) => void} note
 * @property {() => void} end
 * @property {boolean} [clears] whether `end` removes the notes
 */

/** An invalid argument, with a message for the user. */
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

/** Print each event as a line of JSON. @param {FXDataPipelineClient} client @returns {Display} */
function asJson(client) {
  /** @type {(event: string) => (body: object) => unknown} */
  const print = (event) => (body) => process.stdout.write(JSON.stringify({ event, ...body }) + "\n");
  client.onPriceUpdate(print("price_update"));
  client.onVolatilityAlert(print("volatility_alert"));
  client.onCorrelationAlert(print("correlation_alert"));
  client.onDataReady(print("data_ready"));
  client.onGap((gap) => print("gap")({ of: gap.event, ...gap, event: "gap" }));
  return { snapshot: (bodies) => bodies.forEach(print("snapshot")), note: (text) => console.error(text), end: () => {} };
}

/** Print a line per price. @param {FXDataPipelineClient} client @returns {Display} */
function asLines(client) {
  /** @type {(update: PriceUpdate) => void} */
  const print = ({ instrument, price }) =>
    console.log(`${instrument.padEnd(10)} ${price.bid.padStart(12)} ${price.ask.padStart(12)}  ${price.time}`);
  client.onPriceUpdate(print);
  return { snapshot: (bodies) => bodies.forEach(print), note: (text) => console.error(text), end: () => {} };
}

/**
 * Redraw a table ten times per second, with the last notes below it.
 * @param {FXDataPipelineClient} client
 * @returns {Display}
 */
function asTable(client) {
  const colour = new Map(); // instrument -> colour of its last change
  const before = new Map(); // instrument -> previous mid
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
  process.stdout.write("\x1b[?1049h\x1b[?25l\x1b[?7l"); // alternate screen, no cursor, no line wrapping
  const timer = setInterval(draw, REDRAW_MS);
  const end = () => {
    clearInterval(timer);
    draw();
    process.stdout.write("\x1b[?7h\x1b[?25h\x1b[?1049l");
    client.printPrices();
  };
  return { snapshot: (bodies) => bodies.forEach(({ instrument, price }) => before.set(instrument, price.mid)), note, end, clears: true };
}

/** The text of a gap. @param {import("tickwire-client").Gap} gap */
function gapText({ topic, missed, reason }) {
  /** @type {Record<string, string>} */
  const causes = {
    not_recovered: "the hub no longer has them",
    sequence: "the hub skipped them",
    epoch: "the hub has started a new epoch",
    slow_consumer: "this program reads too slowly",
  };
  const many = missed === null ? "some messages are" : missed === 1 ? "1 message is" : `${missed} messages are`;
  return `${topic}: ${many} missing (${causes[reason] ?? reason})`;
}

async function main() {
  const options = argumentsOf(process.argv.slice(2));
  if (options.help) {
    console.log(HELP);
    return;
  }
  const client = makeClient(options.url);
  const display = (options.json ? asJson : process.stdout.isTTY ? asTable : asLines)(client);
  const pings = setInterval(() => client.connected && client.ping(), PING_MS);
  let ended = false;
  const end = (code = 0) => {
    if (ended) return;
    ended = true;
    clearInterval(pings);
    client.disconnect();
    display.end();
    process.exitCode = code;
  };
  process.once("SIGINT", () => end());
  process.once("SIGTERM", () => end());
  // The reader of the pipe has closed it (`… | head`); this is not an error.
  process.stdout.on("error", () => process.exit(0));
  let noted = "";
  addHandlers(client, (text) => ended || display.note((noted = text)));
  const refused = () => {
    if (ended) return;
    end(1);
    if (display.clears) console.error(noted);
  };
  client.onDisconnect(({ reconnecting }) => reconnecting || setImmediate(refused)); // for example, the key was revoked
  try {
    await watch(client, display, options, end);
  } catch (error) {
    if (ended) return; // Ctrl-C during a request
    end(1);
    if (display.clears || noted !== /** @type {Error} */ (error).message) throw error;
  }
}

/** @param {FXDataPipelineClient} client @param {(text: string) => void} note */
function addHandlers(client, note) {
  client.onError(({ message, details }) => {
    const wait = details["retry_in_ms"];
    note(typeof wait === "number" ? `${message} Trying again in ${(wait / 1000).toFixed(1)} s.` : message);
  });
  client.onDisconnect(({ reason, reconnecting }) => reconnecting && note(`The connection is lost (${reason}); connecting again …`));
  client.onConnect(({ reconnected }) => reconnected && note("Connected again."));
  client.onGap((gap) => note(gapText(gap)));
}

/**
 * @param {FXDataPipelineClient} client
 * @param {Display} display
 * @param {ReturnType<typeof argumentsOf>} options
 * @param {(code?: number) => void} end
 */
async function watch(client, display, { pairs, maxRate, count }, end) {
  // A handler, not code after `await`: no update arrives between the snapshot and this handler.
  const off = client.onSubscriptionConfirmed(({ rejected, snapshot }) => {
    off();
    for (const { message } of rejected) display.note(message);
    display.snapshot(Object.values(snapshot));
  });
  let seen = 0;
  client.onPriceUpdate(() => {
    seen += 1;
    if (seen === count) end();
  });
  await client.connect({ timeout: 0 });
  const { pair_count } = await client.subscribe(pairs, { maxRate });
  if (pair_count === 0) {
    display.note("None of these instruments exists. Omit --pairs for all instruments.");
    end(1);
  }
}

/** @param {string} url */
function makeClient(url) {
  try {
    return new FXDataPipelineClient(url, { auth: process.env["TICKWIRE_API_KEY"] || undefined });
  } catch (error) {
    throw new Usage(/** @type {Error} */ (error).message);
  }
}

main().catch((error) => {
  console.error(error instanceof Usage ? `${error.message}\nTry --help.` : error.message);
  process.exit(error instanceof Usage ? 2 : 1);
});
