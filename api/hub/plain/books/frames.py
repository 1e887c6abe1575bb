"""The frames of `/ws` as bytes, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import orjson

from api.hub.books.book import HubBook
from api.hub.plain.frames import binary_frame, of_type, type_of, unknown_frame
from api.hub.transport import wire
from api.hub.transport.wire import Frame
from db import topics
from db.timestamps import parse_time

_FRAMES = 'ping, auth:TOKEN, {"type":"ping"}'
_PING = "ping"
_POSITION = ("seq", "epoch")  # of a message of the bus
Command = Literal["text ping", "ping"]


def read(data: bytes, *, binary: bool) -> Command:
    """Return the command of a frame. Raises `Refusal` (`invalid_payload`)."""
    if binary:
        raise binary_frame()
    if data == b"ping":
        return "text ping"
    if type_of(data, _FRAMES) == _PING:
        return "ping"
    raise unknown_frame(_FRAMES)


def message(kind: str, at: str, data: Mapping[str, Any]) -> Frame:
    """Return a frame with this type, time and content; it is never dropped."""
    return of_type(kind, {"timestamp": at, "data": data})


def heartbeat(body: Mapping[str, Any]) -> Frame:
    """Return the frame of a heartbeat. A newer one replaces it in the outbox of a slow client."""
    data = {name: value for name, value in body.items() if name not in _POSITION}
    text = orjson.dumps({"type": "heartbeat", "timestamp": body["timestamp"], "data": data})
    return wire.text(text, topics.HEARTBEAT_TOPIC)


def orderbook(book: HubBook, at: str) -> Frame:
    """Return the frame of a book. A newer one replaces it in the outbox of a slow client."""
    text = orjson.dumps({"type": "orderbook", "timestamp": at, "data": internal_orderbook(book)})
    return wire.text(text, topics.book_topic(*book.topic))


def internal_orderbook(book: HubBook) -> dict[str, Any]:
    """Return the best levels of a book, with prices and quantities as the exchange wrote them."""
    body, meta = orjson.loads(book.snapshot), orjson.loads(book.meta)
    return {
        "symbol": book.instrument,
        "bids": _levels(body["bids"]),
        "asks": _levels(body["asks"]),
        "last_update_id": body["update_id"],
        "state": body["state"],
        "timestamp": body["time"],
        "received_at": meta["received_at"],
        "processed_at": meta["processed_at"],
        "processing_ms": _milliseconds(parse_time(meta["received_at"]), parse_time(meta["processed_at"])),
        "queue_size": meta["queue_size"],
    }


def _levels(side: list[list[str]]) -> list[dict[str, str]]:
    return [{"price": price, "quantity": quantity} for price, quantity in side]


def _milliseconds(begin: datetime, end: datetime) -> float:
    return round((end - begin).total_seconds() * 1_000, 3)
