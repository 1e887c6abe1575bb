// Socket.IO on Node with a Redis subscriber that emits every message to its room.
import { createServer } from "node:http";
import { createClient } from "@redis/client";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http);

io.on("connection", (socket) => {
  socket.on("subscribe", ({ pairs = [], books = [] }) => {
    socket.join(pairs.map((pair) => `price_${pair}`));
    socket.join(books.map(({ pair, depth }) => `book_${pair}_${depth}`));
    socket.emit("subscription_confirmed", { pairs, books });
  });
});

const url = process.env.REDIS_URL;
// `new URL` refuses a user without a host.
const [, username, password, path] = url.match(/^unix:\/\/(.*?):(.*?)@(.*?)(?:\?|$)/) ?? [];
const redis = createClient(path ? { username, password, socket: { path: decodeURIComponent(path) } } : { url });
await redis.connect();
await redis.subscribe("price_updates", (text) => {
  const body = JSON.parse(text);
  io.to(`price_${body.instrument}`).emit("price_update", body);
});
await redis.subscribe("book_updates", (text) => {
  const { update, snapshot } = JSON.parse(text);
  const room = io.to(`book_${snapshot.instrument}_${snapshot.depth}`);
  if (update) room.emit("book_update", update);
  else room.emit("book_snapshot", snapshot);
});
http.listen(Number(process.argv[2]), "127.0.0.1");
