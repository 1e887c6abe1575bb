// Bun's own server with its own Redis client: each message is published to the topic of its instrument.
// A client names its instruments in the address: /?ids=EUR_USD,GBP_USD.
import { RedisClient, serve } from "bun";

const server = serve<{ ids: string[] }>({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const ids = new URL(request.url).searchParams.get("ids")?.split(",").filter(Boolean) ?? [];
    return server.upgrade(request, { data: { ids } }) ? undefined : new Response("a WebSocket server", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    sendPings: false,
    open(socket) {
      for (const id of socket.data.ids) socket.subscribe(id);
    },
    message() {},
  },
});

// The URL of the embedded Redis is unix://USER:PASSWORD@PATH?db=0; the client has another form of it.
const [, user, password, path] = process.env.REDIS_URL!.match(/^unix:\/\/(.*?):(.*?)@(.*?)(?:\?|$)/) ?? [];
const redis = new RedisClient(path ? `redis+unix://${user}:${password}@localhost${decodeURIComponent(path)}` : process.env.REDIS_URL);
await redis.connect();
await redis.subscribe("price_updates", (text) => {
  // The instrument is the first field of a body.
  const start = text.indexOf(':"') + 2;
  server.publish(text.slice(start, text.indexOf('"', start)), text);
});
