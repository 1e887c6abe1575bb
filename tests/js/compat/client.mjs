// Any version of socket.io-client from 2 on, driven from a test:
//   node client.mjs PACKAGE URL [OPTIONS]
// One JSON command a line on stdin, one JSON event a line on stdout:
//   {"emit": EVENT, "args": […], "ack": true}   emit; the ack comes as ["ack", EVENT, body]
//   {"follow": [PAIRS]}                         subscribe afresh now, and after each reconnect with the position reached, as users do it
//   {"transport": true}                         ["transport", the name of the one in use]
import { createInterface } from "node:readline";

const [name, url, options] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4] ?? "{}")];
const library = await import(name);
const io = library.io ?? library.default; // 3.0 and 2 have no named export
const socket = io(url, { reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
const say = (event, ...args) => process.stdout.write(JSON.stringify([event, ...args]) + "\n");

let since = {}; // instrument -> the last message seen
let followed = [];
const subscribe = () => socket.emit("subscribe", { pairs: followed, since });

socket.on("connect", () => say("connect", socket.io.engine.transport.name));
socket.on("disconnect", (reason) => say("disconnect", reason));
// The description is a number over polling and an event over WebSocket.
socket.on("connect_error", (error) => say("connect_error", error.message, error.data ?? error.description?.message ?? error.description ?? null));
socket.onAny?.((event, ...args) => say(event, ...args));
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
    } else if (transport) say("transport", socket.io.engine.transport.name);
    else if (ack) socket.emit(emit, ...args, (body) => say("ack", emit, body)); // versions before 4.4 have no timeout()
    else socket.emit(emit, ...args);
  })
  .on("close", () => socket.disconnect());
