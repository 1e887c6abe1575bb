// Socket.IO on Node with a Redis subscriber that emits every message to its instrument's room.
import { createServer } from "node:http";
import { createClient } from "@redis/client";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http);

io.on("connection", (socket) => {
  socket.on("subscribe", ({ pairs }) => {
    socket.join(pairs.map((pair) => `price_${pair}`));
    socket.emit("subscription_confirmed", { pairs });
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
http.listen(Number(process.argv[2]), "127.0.0.1");
