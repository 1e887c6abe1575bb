import { io } from "socket.io-client";

function crc32(text) {
  let crc = -1;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}
function changed(side, levels, direction) {
  const after = new Map([...side, ...levels].map((level) => [Number(level[0]), level]));
  return [...after].sort(([a], [b]) => direction * (a - b)).flatMap(([, level]) => (Number(level[1]) ? [level] : []));
}
const hub = io("http://127.0.0.1:5001", { transports: ["websocket"] });
let [last, bids, asks] = [null, [], []]; // epoch and seq of the book while it is good; its sides, best first
function take(book, isUpdate) {
  [bids, asks] = [changed(isUpdate ? bids : [], book.bids, -1), changed(isUpdate ? asks : [], book.asks, 1)];
  const text = Array.from({ length: 10 }, (_, place) => [bids[place] ?? [], asks[place] ?? []]).flat(2).join(":");
  const good = crc32(text) === book.checksum && (!isUpdate || last === `${book.epoch} ${book.seq - 1}`);
  if (last && !good) hub.emit("request_book", { instrument: "BTCUSDT", depth: 20 });
  last = good ? `${book.epoch} ${book.seq}` : null;
  console.log(book.seq, bids[0], asks[0], good ? "verified" : "not verified");
}
hub.on("connection_established", () => hub.emit("subscribe", { books: [{ pair: "BTCUSDT", depth: 20 }] })); // after each reconnection too
hub.on("subscription_confirmed", ({ book_snapshot }) => book_snapshot.forEach((book) => take(book, false)));
for (const event of ["book_snapshot", "book_response"]) hub.on(event, (book) => take(book, false));
hub.on("book_update", (book) => take(book, true));
