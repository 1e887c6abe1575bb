"""A parser of WebSocket frames, and of their prices and books. Pure, with a cache of parsed bytes.

All receivers of a message receive the same bytes. Every distinct message and every distinct chunk
of messages is therefore parsed and checked once, then found in the cache. This verifies every byte
of every delivery at a low cost.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import orjson

PRICE_PREFIX, PLAIN_PREFIX = b'42["price_update",', b'{"instrument":'  # with and without Socket.IO
BOOK_PREFIX, BOOK_SNAPSHOT_PREFIX = b'42["book_update",', b'42["book_snapshot",'
_BODY_KEYS = {"instrument", "price", "timestamp", "seq", "epoch"}
_PRICE_KEYS = {"bid", "ask", "mid", "time"}
_TEXT, _COMPRESSED, _CLOSE = 0x81, 0xC1, 0x88
_MOST_CACHED = 4096
_Value = TypeVar("_Value")


class FrameError(Exception):
    """The server violated the protocol or closed the connection."""


@dataclass(frozen=True, slots=True)
class Price:
    """One `price_update`: its topic, sequence number and publish time (seconds since 1970)."""

    topic: str
    seq: int
    sent: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """The content of one read of a socket.

    A run is (topic, first seq, last seq), without a hole. A snapshot of a book is a run of its own
    that ends before it begins: the chain goes on with its first seq.
    """

    runs: tuple[tuple[str, int, int], ...]  # in order
    sent: tuple[tuple[float, int], ...]  # publish time, number of prices with it
    prices: int
    others: tuple[bytes, ...]  # the other payloads, in order
    rest: bytes  # the first bytes of an incomplete frame


def split_frames(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield (first byte, payload, end offset) of every complete frame.

    Frames of a server are unfragmented and unmasked.
    """
    at, size = 0, len(data)
    while size - at >= 2:
        first, length, start = data[at], data[at + 1], at + 2
        if length == 126:
            length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif length == 127:
            length, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        elif length > 127:
            raise FrameError("a masked frame from a server")
        end = start + length
        if end > size or start > size:
            return
        yield first, data[start:end], end
        at = end


def price_of(payload: bytes) -> Price:
    """Parse one complete `price_update`. Raises `FrameError` if its body violates the contract."""
    try:
        event, body = orjson.loads(payload[2:])
        if event != "price_update" or set(body) != _BODY_KEYS or set(body["price"]) != _PRICE_KEYS:
            raise FrameError(f"not the contract's body: {payload[:200]!r}")
        if not isinstance(body["seq"], int) or not isinstance(body["instrument"], str):
            raise FrameError(f"not a price_update (a wrong type): {payload[:200]!r}")
        return Price(body["instrument"], body["seq"], datetime.fromisoformat(body["timestamp"]).timestamp())
    except (ValueError, TypeError, KeyError) as error:
        raise FrameError(f"not a price_update ({error}): {payload[:200]!r}") from None


def price_in(payload: bytes) -> Price | None:
    """Parse a payload if it begins like a price, else return None. Raises `FrameError`."""
    if payload.startswith(PLAIN_PREFIX):
        return price_of(PRICE_PREFIX + payload + b"]")
    return price_of(payload) if payload.startswith(PRICE_PREFIX) else None


def book_of(payload: bytes) -> Price:
    """Parse one complete `book_update` or `book_snapshot`; its topic is `BTCUSDT|20`."""
    try:
        _, body = orjson.loads(payload[2:])
        sent = datetime.fromisoformat(body["timestamp"]).timestamp()
        return Price(f"{body['instrument']}|{body['depth']}", body["seq"], sent)
    except (ValueError, TypeError, KeyError) as error:
        raise FrameError(f"not a message of a book ({error}): {payload[:200]!r}") from None


class Walker:
    """Parses chunks and caches the results."""

    def __init__(self) -> None:
        self._prices: dict[bytes, Price] = {}  # payload -> its price
        self._chunks: dict[bytes, Chunk] = {}  # bytes of a chunk -> its content

    def walk(self, data: bytes) -> Chunk:
        """Return the content of bytes that begin with the first byte of a frame."""
        chunk = self._chunks.get(data)
        if chunk is None:
            chunk = self._parse([(first, payload) for first, payload, _ in split_frames(data)], rest=_rest(data))
            if not chunk.others:
                _keep(self._chunks, data, chunk)
        return chunk

    def walk_compressed(self, data: bytes, inflate: Inflate) -> Chunk:
        """Return the content of a chunk with compressed frames.

        Each client has its own compressed stream, so the chunk is not cached.
        """
        frames = [(_TEXT, inflate(payload)) if first == _COMPRESSED else (first, payload) for first, payload, _ in split_frames(data)]
        return self._parse(frames, rest=_rest(data))

    def _parse(self, frames: list[tuple[int, bytes]], rest: bytes) -> Chunk:
        runs: dict[str, list[list[int]]] = {}
        sent: dict[float, int] = {}
        others = []
        for first, payload in frames:
            if first == _CLOSE:
                raise FrameError(f"closed by the server: {payload[:100]!r}")
            if first != _TEXT:
                raise FrameError(f"unexpected first byte {first:#x} of a frame")
            if payload.startswith(BOOK_SNAPSHOT_PREFIX):
                snapshot = book_of(payload)
                runs.setdefault(snapshot.topic, []).append([snapshot.seq + 1, snapshot.seq])
                continue
            if not payload.startswith((PRICE_PREFIX, PLAIN_PREFIX, BOOK_PREFIX)):
                others.append(payload)
                continue
            price = self._price(payload)
            _extend(runs.setdefault(price.topic, []), price.seq)
            sent[price.sent] = sent.get(price.sent, 0) + 1
        flat = tuple((topic, first, last) for topic, pieces in runs.items() for first, last in pieces)
        return Chunk(flat, tuple(sent.items()), sum(sent.values()), tuple(others), rest)

    def _price(self, payload: bytes) -> Price:
        price = self._prices.get(payload)
        if price is None:
            price = price_in(payload) or book_of(payload)
            _keep(self._prices, payload, price)
        return price


class Inflate:
    """One client's permessage-deflate stream, with context takeover as for browsers."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def __call__(self, payload: bytes) -> bytes:
        return self._stream.decompress(payload + b"\x00\x00\xff\xff")


def client_frame(payload: bytes, mask: bytes = b"\x37\xfa\x21\x3d") -> bytes:
    """Return a masked text frame of a client."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([_TEXT]) + length + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def server_frame(payload: bytes) -> bytes:
    """Return an unmasked text frame of a server."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x7f" + size.to_bytes(8, "big")
    return bytes([_TEXT]) + length + payload


def _rest(data: bytes) -> bytes:
    ends = [end for _, _, end in split_frames(data)]
    return data[ends[-1] :] if ends else data


def _extend(pieces: list[list[int]], seq: int) -> None:
    if pieces and pieces[-1][0] <= pieces[-1][1] == seq - 1:
        pieces[-1][1] = seq
    else:
        pieces.append([seq, seq])


def _keep(cache: dict[bytes, _Value], key: bytes, value: _Value) -> None:
    if len(cache) >= _MOST_CACHED:
        cache.clear()
    cache[key] = value
