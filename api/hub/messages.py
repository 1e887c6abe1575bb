"""Bytes from the bus become a `Message`: decoded once to learn what it is, and passed on as the very bytes they were."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from marshmallow import ValidationError

from api.hub.schemas.bus import SCHEMAS
from api.hub.schemas.quick_checks import is_plain_candle, is_plain_price
from api.hub.transport.wire import Frame, event
from db import topics
from db.timestamps import parse_time

MAX_MESSAGE_BYTES = 64 * 1024
_CONFLATED = (topics.PRICES, topics.CANDLES)  # channels whose messages replace the one before them on their topic


class BadMessage(Exception):
    """The bytes are not a message of their channel. `kind` is one word for counters and logs."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a channel. `rooms` is where it goes (none: to everyone); without `epoch` it is a foreign one.

    `body` is what Redis delivered, `frame` the event around it, for every receiver alike. `starts` is when a candle begins, `price` what
    a price says, checked: `bid`, `ask`, `mid`, `time`.
    """

    channel: str
    topic: str
    rooms: tuple[str, ...]
    body: bytes
    frame: Frame
    epoch: str | None
    seq: int
    starts: datetime | None = None
    price: Mapping[str, str] | None = None


def decode(channel: str, body: bytes, known: Container[str]) -> Message:
    """Read a message of `channel`; `known` are the instruments it may name. Raises `BadMessage`."""
    if len(body) > MAX_MESSAGE_BYTES:
        raise BadMessage("too_large", f"{len(body)} bytes")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadMessage("not_json", str(error)) from None
    if not isinstance(data, dict):
        raise BadMessage("not_an_object", type(data).__name__)
    if not ((plain := _PLAIN.get(channel)) and plain(data)):
        try:
            SCHEMAS[channel].load(data)
        except ValidationError as error:
            raise BadMessage("schema", str(error.messages)) from None
    topic, instruments, rooms = _addressee(channel, data)
    if not all(name in known for name in instruments):
        raise BadMessage("unknown_instrument", str(instruments))
    frame = event(topics.EVENTS[channel], body, key=topic if channel in _CONFLATED else None)
    starts = parse_time(data["candle"]["start_time"]) if channel == topics.CANDLES else None
    price = data["price"] if channel == topics.PRICES else None
    return Message(channel, topic, rooms, body, frame, data.get("epoch"), data.get("seq", 0), starts, price)


# channel -> the short way to accept its messages
_PLAIN = {topics.PRICES: is_plain_price, topics.CANDLES: is_plain_candle}


def _addressee(channel: str, data: dict[str, Any]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The topic that `seq` counts, the instruments that the message names, and the rooms where it is heard."""
    if channel == topics.CORRELATION_ALERTS:
        first, second = data["instrument1"], data["instrument2"]
        return f"{first}|{second}", (first, second), (topics.price_room(first), topics.price_room(second))
    if channel == topics.DATA_READY:
        return data["data_type"], (), ()
    name = data["instrument"]
    if channel == topics.CANDLES:
        interval = data["interval"]
        return topics.candle_topic(name, interval), (name,), (topics.candle_room(name, interval),)
    return name, (name,), (topics.price_room(name),)
