// FXDataPipelineClient, driven from a test: one JSON command a line on stdin, one JSON event a line on stdout.
//   {"id", "call": method, "args": […]}   ["answer", id, body] or ["rejected", id, error]
//   {"id", "get": property}               ["answer", id, value]
//   {"id", "throw": handler}              from now on a handler of the program's own throws
// and every handler's call as [handler, body, about].
import { createInterface } from "node:readline";
import { FXDataPipelineClient } from "../../clients/js/src/index.js";

const [url, options] = [process.argv[2], JSON.parse(process.argv[3] ?? "{}")];
const client = new FXDataPipelineClient(url, { reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
const say = (...what) => process.stdout.write(JSON.stringify(what) + "\n");
const plain = (value) => (value instanceof Map ? Object.fromEntries(value) : value);

for (const name of Object.getOwnPropertyNames(FXDataPipelineClient.prototype)) {
  if (name.startsWith("on")) client[name]((...told) => say(name, ...told));
}
process.on("uncaughtException", (error) => say("uncaught", error.message));

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, call, get, args = [], throw: handler } = JSON.parse(line);
    try {
      if (handler) {
        client[handler](() => {
          throw new Error(`${handler} threw`);
        });
        say("answer", id, null);
      } else if (call === "printPrices") client.printPrices((table) => say("answer", id, table));
      else say("answer", id, plain((call ? await client[call](...args) : client[get]) ?? null));
    } catch (error) {
      say("rejected", id, { name: error.name, isError: error instanceof Error, ...(error.toJSON?.() ?? { message: error.message }) });
    }
  })
  .on("close", () => client.disconnect());
