// FXDataPipelineClient, driven by a test: JSON commands on stdin, JSON events on stdout, one per
// line.
//   {"id", "call": method, "args": […]}   ["answer", id, body] or ["rejected", id, error]
//   {"id", "get": property}               ["answer", id, value]
//   {"id", "throw": handler}              registers a handler that throws
// Each call of a handler is printed as [handler, body, about].
import { createInterface } from "node:readline";
import { FXDataPipelineClient } from "../../clients/js/src/index.js";

const [url, options] = [process.argv[2], JSON.parse(process.argv[3] ?? "{}")];
const client = new FXDataPipelineClient(url, { reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
const print = (...values) => process.stdout.write(JSON.stringify(values) + "\n");
const plain = (value) => (value instanceof Map ? Object.fromEntries(value) : value);

for (const name of Object.getOwnPropertyNames(FXDataPipelineClient.prototype)) {
  if (name.startsWith("on")) client[name]((...values) => print(name, ...values));
}
process.on("uncaughtException", (error) => print("uncaught", error.message));

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, call, get, args = [], throw: handler } = JSON.parse(line);
    try {
      if (handler) {
        client[handler](() => {
          throw new Error(`${handler} threw`);
        });
        print("answer", id, null);
      } else if (call === "printPrices") client.printPrices((table) => print("answer", id, table));
      else print("answer", id, plain((call ? await client[call](...args) : client[get]) ?? null));
    } catch (error) {
      print("rejected", id, { name: error.name, isError: error instanceof Error, ...(error.toJSON?.() ?? { message: error.message }) });
    }
  })
  .on("close", () => client.disconnect());
