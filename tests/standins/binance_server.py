"""The process of the stand-in: `python -m tests.standins.binance_server OPTIONS`.

OPTIONS is the JSON of `BinanceStandIn`. The REST API, `/_control`, `/_state` and `/_trades` are on
one port, the streams on another. The server writes both ports to a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from websockets.asyncio.server import Server

from tests.standins.binance_control import CONTROL_ROUTES
from tests.standins.binance_exchange import ApiError, Call, Exchange
from tests.standins.binance_market import generated, recorded
from tests.standins.binance_streams import Streams

_FOREVER = 3600.0  # seconds; longer than any test


async def _serve_http(exchange: Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
        while (call := await _read_call(reader)) is not None:
            if exchange.away.is_set() and call.path not in CONTROL_ROUTES:
                writer.transport.abort()
                return
            try:
                status, body, headers = (
                    (200, CONTROL_ROUTES[call.path](exchange, call), {}) if call.path in CONTROL_ROUTES else exchange.answer(call)
                )
            except (ApiError, KeyError) as error:
                status, body, headers = 400, {"error": str(error)}, {}
            delay = exchange.take_delay()
            await asyncio.sleep(_FOREVER if delay is None else delay)
            text = body.encode() if isinstance(body, str) else orjson.dumps(body)
            lines = [f"HTTP/1.1 {status} {_phrase(status)}", "Content-Type: application/json;charset=UTF-8", f"Content-Length: {len(text)}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + text)
            await writer.drain()
            if call.headers.get("connection", "").lower() == "close":
                return


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"


async def _read_call(reader: asyncio.StreamReader) -> Call | None:
    first = await reader.readline()
    if not first:
        return None
    method, target, _ = first.decode().split(" ", 2)
    headers = {}
    while (line := (await reader.readline()).strip()) != b"":
        name, _, value = line.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    url = urlsplit(target)
    return Call(method, url.path, dict(parse_qsl(url.query)), headers, body)


async def _keep_streams(exchange: Exchange, server: Server, port: int) -> None:
    """Serve the streams; while the exchange is away, drop all links and refuse connections."""
    while True:
        await exchange.away.wait()
        exchange.streams.drop()
        server.close()
        await server.wait_closed()
        while exchange.away.is_set():
            await asyncio.sleep(0.01)
        server = await exchange.streams.listen(port)


async def _exit_with(parent: int) -> None:
    """End this process when its parent ends."""
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    os._exit(0)


async def run(options: dict[str, Any]) -> None:
    """Serve until killed."""
    gc.disable()  # a recording is 75,000 messages, none of which is garbage
    market = recorded(**options["recorded"]) if "recorded" in options else generated(**options["generated"])
    gc.freeze()
    gc.enable()
    exchange = Exchange(market, Streams(market, **options["streams"]), options["weight_window"])
    server = await exchange.streams.listen(options["stream_port"])
    rest = await asyncio.start_server(lambda *pair: _serve_http(exchange, *pair), "127.0.0.1", 0)
    ports = [next(iter(each.sockets)).getsockname()[1] for each in (server, rest)]
    file = Path(options["file"])
    file.with_suffix(".new").write_bytes(orjson.dumps(ports))
    file.with_suffix(".new").rename(file)
    await asyncio.gather(_keep_streams(exchange, server, ports[0]), exchange.streams.play(), _exit_with(options["parent"]))


if __name__ == "__main__":
    asyncio.run(run(orjson.loads(sys.argv[1])))
