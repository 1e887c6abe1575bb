import zlib

import socketio


def changed(side: list[list[str]], levels: list[list[str]], *, is_bid: bool) -> list[list[str]]:
    after = {float(level[0]): level for level in [*side, *levels]}
    return [after[price] for price in sorted(after, reverse=is_bid) if float(after[price][1])]


with socketio.SimpleClient() as hub:
    hub.connect("http://127.0.0.1:5001", transports=["websocket"])
    last, bids, asks = None, [], []  # epoch and seq of the book while it is good; its sides, best first
    while True:
        event, *bodies = hub.receive()
        if event == "connection_established":  # after each reconnection too
            hub.emit("subscribe", {"books": [{"pair": "BTCUSDT", "depth": 20}]})
        for book in bodies[0].get("book_snapshot", bodies if "checksum" in bodies[0] else []):
            is_update = event == "book_update"
            bids, asks = changed(bids * is_update, book["bids"], is_bid=True), changed(asks * is_update, book["asks"], is_bid=False)
            text = ":".join(":".join(level) for place in range(10) for side in (bids, asks) for level in side[place : place + 1])
            good = zlib.crc32(text.encode()) == book["checksum"] and (not is_update or last == (book["epoch"], book["seq"] - 1))
            if last and not good:
                hub.emit("request_book", {"instrument": "BTCUSDT", "depth": 20})
            last = (book["epoch"], book["seq"]) if good else None
            print(book["seq"], bids[:1], asks[:1], "verified" if good else "not verified", flush=True)
