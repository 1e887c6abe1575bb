// The stock socket.io-client, driven by a test: JSON commands on stdin, JSON events on stdout, one
// per line.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, options] = [process.argv[2], JSON.parse(process.argv[3] ?? "{}")];
const socket = io(url, { reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
const print = (event, ...args) => process.stdout.write(JSON.stringify([event, ...args]) + "\n");

socket.on("connect", () => print("connect", socket.io.engine.transport.name));
socket.on("disconnect", (reason) => print("disconnect", reason));
socket.on("connect_error", (error) => print("connect_error", error.message, error.data ?? null));
socket.onAny((event, ...args) => print(event, ...args));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { emit, args = [], ack = false } = JSON.parse(line);
    if (ack) socket.timeout(10_000).emit(emit, ...args, (error, body) => print("ack", emit, error ? String(error) : body));
    else socket.emit(emit, ...args);
  })
  .on("close", () => socket.disconnect());
