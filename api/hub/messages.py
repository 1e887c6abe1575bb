"""Bytes from the bus become a `Message`: decoded once to learn what it is, and passed on as the very bytes they were."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from marshmallow import ValidationError

from api.hub.wire import Frame, event
from api.schemas.bus import MOST_EPOCH, MOST_NAME, MOST_SEQ, SCHEMAS
from db import topics
from db.decimals import is_decimal

MOST_BYTES = 64 * 1024

fromisoformat = datetime.fromisoformat


class BadMessage(Exception):
    """The bytes are not a message of their channel. `kind` is one word for counters and logs."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a channel. `rooms` is where it goes (none: to everyone); without `epoch` it is a foreign one.

    `body` is what Redis delivered, `frame` the event around it, for every receiver alike.
    """

    channel: str
    topic: str
    rooms: tuple[str, ...]
    body: bytes
    frame: Frame
    epoch: str | None
    seq: int


def decode(channel: str, body: bytes, known: Container[str]) -> Message:
    """Read a message of `channel`; `known` are the instruments it may name. Raises `BadMessage`."""
    if len(body) > MOST_BYTES:
        raise BadMessage("too_large", f"{len(body)} bytes")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadMessage("not_json", str(error)) from None
    if not isinstance(data, dict):
        raise BadMessage("not_an_object", type(data).__name__)
    if channel != topics.PRICES or not is_plain_price(data):
        try:
            SCHEMAS[channel].load(data)
        except ValidationError as error:
            raise BadMessage("schema", str(error.messages)) from None
    topic, instruments = _addressee(channel, data)
    if not all(name in known for name in instruments):
        raise BadMessage("unknown_instrument", str(instruments))
    rooms = tuple(topics.price_room(name) for name in instruments)
    frame = event(topics.EVENTS[channel], body, key=topic if channel == topics.PRICES else None)
    return Message(channel, topic, rooms, body, frame, data.get("epoch"), data.get("seq", 0))


def is_plain_price(data: dict[str, Any]) -> bool:
    """Whether the schema of prices would surely accept this: what our own publisher sends passes here, without the schema's machinery.

    That machinery takes 20 µs when it has just run, and many times that once per message, cold, between two rounds of `send()`.
    """
    price = data.get("price")
    if type(price) is not dict or type(data.get("seq")) is not int or data["seq"] < 1 or data["seq"] > MOST_SEQ:
        return False
    name, epoch = data.get("instrument"), data.get("epoch")
    if type(name) is not str or type(epoch) is not str or not 0 < len(name) <= MOST_NAME or not 0 < len(epoch) <= MOST_EPOCH:
        return False
    try:
        if price["time"][-1:] != "Z" or data["timestamp"][-1:] != "Z":
            return False
        fromisoformat(price["time"])
        fromisoformat(data["timestamp"])
        return bool(is_decimal(price["bid"]) and is_decimal(price["ask"]) and is_decimal(price["mid"]))
    except (KeyError, TypeError, ValueError):
        return False


def _addressee(channel: str, data: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The topic that `seq` counts, and the instruments in whose rooms the message is heard."""
    if channel == topics.CORRELATION_ALERTS:
        first, second = data["instrument1"], data["instrument2"]
        return f"{first}|{second}", (first, second)
    if channel == topics.DATA_READY:
        return data["data_type"], ()
    return data["instrument"], (data["instrument"],)
