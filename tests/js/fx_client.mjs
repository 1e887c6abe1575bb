// FXDataPipelineClient, driven by a test: JSON commands on stdin, JSON events on stdout, one per
// line.
//   {"id", "call": method, "args": […]}   ["answer", id, body] or ["rejected", id, error]
//   {"id", "get": property}               ["answer", id, value]
//   {"id", "throw": handler}              registers a handler that throws
//   {"id", "metrics": options, "count"}   ["answer", id, the first snapshots]
//   {"id", "events": true or false}       registers a handler of events with `refused`, or removes it
//   {"id", "inspect": true}               ["answer", id, everything that Node shows of the client]
// Each call of a handler is printed as [handler, body, about]. The option `tokens` is a list for the
// function `auth`: each call returns the next one, and the last one stays; it throws those with "!".
import { createInterface } from "node:readline";
import { inspect } from "node:util";
import { FXDataPipelineClient } from "../../clients/js/src/index.js";

const [url, { tokens, ...options }] = [process.argv[2], JSON.parse(process.argv[3] ?? "{}")];
if (tokens)
  options.auth = async () => {
    const token = tokens.length > 1 ? tokens.shift() : tokens[0];
    if (token.startsWith("!")) throw new Error(token.slice(1));
    return token;
  };
const client = new FXDataPipelineClient(url, { reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
const print = (...values) => process.stdout.write(JSON.stringify(values) + "\n");
const snapshots = async (options, count) => {
  const found = [];
  for await (const snapshot of client.metrics(options)) if (found.push(snapshot) === count) break;
  return found;
};
let leave = () => {};
const follow = (wanted) => {
  leave();
  const refused = (error) => print("refused", error.toJSON());
  if (wanted) leave = client.onObservabilityEvent((body) => print("onObservabilityEvent", body), refused);
  return wanted;
};
const plain = (value) => (value instanceof Map ? Object.fromEntries(value) : value);

for (const name of Object.getOwnPropertyNames(FXDataPipelineClient.prototype)) {
  if (name.startsWith("on") && name !== "onObservabilityEvent") client[name]((...values) => print(name, ...values));
}
process.on("uncaughtException", (error) => print("uncaught", error.message));

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, call, get, args = [], throw: handler, inspect: all, metrics, count, events } = JSON.parse(line);
    try {
      if (handler) {
        client[handler](() => {
          throw new Error(`${handler} threw`);
        });
        print("answer", id, null);
      } else if (all) print("answer", id, inspect(client, { depth: 20, showHidden: true }) + JSON.stringify(client));
      else if (events !== undefined) print("answer", id, follow(events));
      else if (metrics) print("answer", id, await snapshots(metrics, count));
      else if (call === "printPrices") client.printPrices((table) => print("answer", id, table));
      else print("answer", id, plain((call ? await client[call](...args) : client[get]) ?? null));
    } catch (error) {
      print("rejected", id, { name: error.name, isError: error instanceof Error, ...(error.toJSON?.() ?? { message: error.message }) });
    }
  })
  .on("close", () => client.disconnect());
