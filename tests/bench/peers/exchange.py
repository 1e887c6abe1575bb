"""A stream of Binance messages, as fast as the client reads: `exchange PORT TRADES`.

Every WebSocket client receives the same trades of two symbols, with a book ticker after every tenth
trade. The connection then stays open without messages. Every REST request returns an empty list.
`GET /started` returns the start of the last stream (Unix seconds).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import Iterator

SYMBOLS = ("BTCUSDT", "ETHUSDT")
FIRST_ID = 1_000_001
FIRST_TIME = 1_723_161_253_000  # ms
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PIECE = 128 * 1024
_started = 0.0


def trades(count: int) -> Iterator[tuple[str, int, int, str, str, bool]]:
    """Yield (symbol, id, ms, price, quantity, buyer is maker), symbols in turn, one per 10 ms."""
    for number in range(count):
        symbol = number % 2
        cents = (6_183_763, 268_380)[symbol] + number * 7 % 1000
        price = f"{cents // 100}.{cents % 100:02}000000"
        yield SYMBOLS[symbol], FIRST_ID + number // 2, FIRST_TIME + number * 10, price, f"0.{number % 9 + 1}0000000", number % 3 == 0


def last_id(symbol: str, count: int) -> int:
    """Return the id of the symbol's last trade among the first `count`."""
    return FIRST_ID + (count - 1 - SYMBOLS.index(symbol)) // 2


def _messages(count: int) -> Iterator[str]:
    for number, (symbol, trade_id, ms, price, quantity, maker) in enumerate(trades(count)):
        flag = "true" if maker else "false"
        if number % 10 == 0 or number < 2:
            yield (
                f'{{"stream":"{symbol.lower()}@bookTicker","data":{{"u":{number},"s":"{symbol}","b":"{price}","B":"3.78826000",'
                f'"a":"{price}","A":"1.54698000"}}}}'
            )
        yield (
            f'{{"stream":"{symbol.lower()}@trade","data":{{"e":"trade","E":{ms + 1},"s":"{symbol}","t":{trade_id},"p":"{price}",'
            f'"q":"{quantity}","T":{ms},"m":{flag},"M":true}}}}'
        )


def _pieces(count: int) -> list[bytes]:
    """Return the whole stream as WebSocket frames, in pieces of about 128 KB."""
    pieces, piece = [], bytearray()
    for text in _messages(count):
        body = text.encode()
        piece += bytes((0x81, 126)) + len(body).to_bytes(2, "big") + body
        if len(piece) >= _PIECE:
            pieces.append(bytes(piece))
            piece.clear()
    return [*pieces, bytes(piece)]


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: list[bytes]) -> None:
    global _started
    head = await reader.readuntil(b"\r\n\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])}
    if b"sec-websocket-key" in fields:
        accept = base64.b64encode(hashlib.sha1(fields[b"sec-websocket-key"] + _GUID).digest())  # noqa: S324 - as RFC 6455 has it
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept
            + b"\r\n\r\n"
        )
        _started = time.time()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        while await reader.read(4096):
            pass
    else:
        body = json.dumps(_started if head.startswith(b"GET /started") else []).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()
    writer.close()


async def _main(port: int, count: int) -> None:
    pieces = _pieces(count)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve(reader, writer, pieces)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
