"""Decode a message of the bus once; clients receive the bytes that Redis delivered."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from marshmallow import ValidationError

from api.hub.channels import CHANNELS, Channel
from api.hub.transport.wire import Frame, event

_NO_FRAME = Frame(b"", b"")


class BadMessage(Exception):
    """The bytes are not a message of their channel. `kind` is one word for counters and logs."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a channel.

    `rooms` are its destination; without rooms, every client of the namespace receives it. `body`
    has the bytes from Redis, `data` their checked content. All receivers share `frame`, which is
    empty if a listener makes the frames of the channel. A message without `epoch` comes from a
    foreign program and has no `seq`. `starts` is set if the topic log keeps the newest message of
    the channel.
    """

    row: Channel
    topic: str
    rooms: tuple[str, ...]
    body: bytes
    frame: Frame
    epoch: str | None
    seq: int
    starts: datetime | None
    data: Mapping[str, Any]
    instruments: tuple[str, ...]  # that the message is about

    @property
    def channel(self) -> str:
        """The name of the Redis channel."""
        return self.row.stream.name


def decode(channel: str, body: bytes, known: Container[str]) -> Message:
    """Return the message in `body`. Raises `BadMessage`.

    `known` are the instruments that the message may name.
    """
    row = CHANNELS[channel]
    if len(body) > row.max_bytes:
        raise BadMessage("too_large", f"{len(body)} bytes")
    try:
        data = row.read(body)
    except ValueError as error:
        raise BadMessage("not_json" if isinstance(error, orjson.JSONDecodeError) else "schema", str(error)) from None
    if not isinstance(data, dict):
        raise BadMessage("not_an_object", type(data).__name__)
    if row.quick_check is None or not row.quick_check(data):
        try:
            row.schema.load(data)
        except ValidationError as error:
            raise BadMessage("schema", str(error.messages)) from None
    topic, instruments, rooms = row.addressee(data)
    for name in instruments:
        if name not in known:
            raise BadMessage("unknown_instrument", str(instruments))
    frame = event(row.event, body, topic if row.conflated else None, row.namespace) if row.broadcast else _NO_FRAME
    starts = None if row.starts is None else row.starts(data)
    return Message(row, topic, rooms, body, frame, data.get("epoch"), data.get("seq", 0), starts, data, instruments)
