// Any version of socket.io-client from 2 on, driven by a test:
//   node client.mjs PACKAGE URL [OPTIONS]
// JSON commands on stdin, JSON events on stdout, one per line:
//   {"emit": EVENT, "args": […], "ack": true}   emit; the ack comes as ["ack", EVENT, body]
//   {"follow": [PAIRS]}                         subscribe from scratch, and after each reconnect
//                                               with the positions reached, as users do
//   {"transport": true}                         ["transport", NAME]
import { createInterface } from "node:readline";

const [name, url, options] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4] ?? "{}")];
const library = await import(name);
const io = library.io ?? library.default; // 3.0 and 2 have no named export
const socket = io(url, { reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
const print = (event, ...args) => process.stdout.write(JSON.stringify([event, ...args]) + "\n");

let since = {}; // instrument -> position of the last message
let followed = [];
const subscribe = () => socket.emit("subscribe", { pairs: followed, since });

socket.on("connect", () => print("connect", socket.io.engine.transport.name));
socket.on("disconnect", (reason) => print("disconnect", reason));
// The description is a number with polling and an event with WebSocket.
socket.on("connect_error", (error) => print("connect_error", error.message, error.data ?? error.description?.message ?? error.description ?? null));
socket.onAny?.((event, ...args) => print(event, ...args));
socket.on("connection_established", () => followed.length && subscribe());
socket.on("price_update", ({ instrument, seq, epoch }) => {
  if (seq) since[instrument] = { epoch, seq };
});

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { emit, args = [], ack = false, follow, transport } = JSON.parse(line);
    if (follow) {
      followed = follow;
      since = {};
      subscribe();
    } else if (transport) print("transport", socket.io.engine.transport.name);
    else if (ack) socket.emit(emit, ...args, (body) => print("ack", emit, body)); // versions before 4.4 lack timeout()
    else socket.emit(emit, ...args);
  })
  .on("close", () => socket.disconnect());
