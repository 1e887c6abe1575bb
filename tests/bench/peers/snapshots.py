"""Peers of `/ws/metrics`: each sends one text of `SIZE` bytes to all clients, 10 times per second.

    python -m tests.bench.peers.snapshots bare|websockets|fastapi PORT SIZE

`bare` has no handshake: it calls `send()` with a ready frame for each socket.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import sys
import time
from contextlib import suppress

from tests.bench.frames import server_frame

TICK_SECONDS = 0.1
_TYPE = b'"type": "metrics_update",'


def bare(port: int, text: bytes) -> None:
    """Accept sockets and send the frame to each. Each snapshot has its time, as ours do."""
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    listener.setblocking(False)
    watched = selectors.DefaultSelector()
    watched.register(listener, selectors.EVENT_READ)
    clients, due = list[socket.socket](), time.monotonic()
    while True:
        while watched.select(max(0.0, due - time.monotonic())):
            with suppress(BlockingIOError):
                while True:
                    client, _ = listener.accept()
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.setblocking(False)
                    clients.append(client)
        due += TICK_SECONDS
        frame = server_frame(_stamped(text))
        gone = False
        for client in clients:
            try:
                client.send(frame)
            except BlockingIOError:
                pass
            except OSError:
                gone = True
        if gone:
            clients = [client for client in clients if _is_open(client)]


def _is_open(client: socket.socket) -> bool:
    try:
        return client.getpeername() is not None
    except OSError:
        client.close()
        return False


def _stamped(text: bytes) -> bytes:
    """Return the text with the time in place of the last bytes of its padding."""
    stamp = f'"type": "metrics_update","timestamp":{time.time():.6f},'.encode()
    return b"{" + stamp + text[len(_TYPE) + 1 : -2 - (len(stamp) - len(_TYPE))] + b'"}'


async def websockets(port: int, text: bytes) -> None:
    """Send with `broadcast` of the package websockets."""
    from websockets.asyncio.server import broadcast, serve

    async def stay(connection: object) -> None:
        await asyncio.Future()

    async with serve(stay, "127.0.0.1", port, compression=None, ping_interval=None) as server:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            broadcast(server.connections, text.decode())


def fastapi(port: int, text: bytes) -> None:
    """Send with `send_json` to each client, as the documented API did."""
    import uvicorn
    from fastapi import FastAPI, WebSocket

    app, content = FastAPI(), json.loads(text)

    async def metrics(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await socket.send_json(content)

    metrics.__annotations__["socket"] = WebSocket  # FastAPI reads it, and the name is local
    app.websocket("/ws/metrics")(metrics)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", ws_per_message_deflate=False, ws_ping_interval=None)


def payload(size: int) -> bytes:
    """Return a JSON text of this many bytes: prices of symbols in the form of a snapshot."""
    symbols: dict[str, object] = {}
    while len(json.dumps({"type": "metrics_update", "symbols": symbols, "padding": ""})) < size - 250:
        price = 1 + len(symbols) / 7
        figures = {"last_price": price, "bid": price, "ask": price, "vwap": None, "volume": None, "trades": 0, "spread_bps": price * 2}
        symbols[f"SYMBOL_{len(symbols)}"] = {**figures, "state": "live"}
    start = json.dumps({"type": "metrics_update", "symbols": symbols, "padding": ""})
    return (start[:-2] + "x" * (size - len(start)) + '"}').encode()


def main(kind: str, port: int, size: int) -> None:
    """Serve until the process is killed."""
    text = payload(size)
    if kind == "websockets":
        asyncio.run(websockets(port, text))
    else:
        {"bare": bare, "fastapi": fastapi}[kind](port, text)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
