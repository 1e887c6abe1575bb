"""The hub's half of the channel table; `db/topics.py` has the half of the bus.

A new channel takes one row in each half, a schema and a publish function. No other module of the
hub compares the name of a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import orjson
from marshmallow import Schema

from api.access.model import OBSERVE, READ
from api.hub.schemas import books, bus
from api.hub.schemas.metrics import EVENTS, METRICS_SPACE, MetricsUpdateSchema
from api.hub.schemas.quick_checks import is_plain_book, is_plain_candle, is_plain_price, is_plain_price_body, is_plain_snapshot
from db import topics
from db.book_bodies import cut_book
from db.timestamps import parse_time
from db.topics import STREAMS, Stream

ALL_SECTIONS_ROOM = "metrics"  # of the namespace `/metrics`; the room of events has the name of its channel
MAX_MESSAGE_BYTES = 64 * 1024
_MAX_SNAPSHOT_BYTES = 2 * 2**20  # 3,000 instruments, twice


class Address(NamedTuple):
    """The destination of a message. A tuple, because one is made per message."""

    topic: str  # `seq` counts per channel and topic
    instruments: tuple[str, ...]  # all MUST be known instruments
    rooms: tuple[str, ...]  # empty: every client of the namespace


def _timestamp(data: Mapping[str, Any]) -> str | None:
    return data.get("timestamp")


def _no_stamp(_: Mapping[str, Any]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Channel:
    """One row: how the hub checks, addresses, keeps and sends the messages of a channel.

    A message for one room goes to all its members: joining was the check of their rights. Every
    other message is checked for each receiver (`api/hub/rights/audience.py`).

    `log` is the content of the topic log:
    * `tail`: the last bodies of each topic, from which clients catch up, and the latest one;
    * `newest`: the body with the latest `starts`, and the last one;
    * `position`: only `epoch` and `seq` of the last message.

    A channel without a stream has no catch-up. If `broadcast` is False, the messages have no
    position, and a listener of the relay makes the frames, with bodies of `sent`. The figures of
    the relay are about market data: messages that are not `counted` are in none.

    Messages of a channel with a `lazy_head` may be kept undecoded. In the form of our own publisher
    they begin with this text, which the topic and a quotation mark follow. One that passes
    `lazy_check` may also be sent undecoded.
    """

    stream: Stream
    event: str
    schema: Schema
    addressee: Callable[[Mapping[str, Any]], Address]
    scope: str  # of the receivers
    conflated: bool = False  # the topic is the conflation key; requires at most one room
    log: Literal["tail", "newest", "position"] = "position"
    quick_check: Callable[[dict[str, Any]], bool] | None = None  # True: the schema would accept it
    starts: Callable[[Mapping[str, Any]], datetime] | None = None  # required by `newest`
    namespace: str = "/"
    audience: str = ""  # receivers, for the AsyncAPI document
    cut: bool = False  # the list `instruments` of a body is reduced to those that the receiver may read
    broadcast: bool = True
    counted: bool = True
    read: Callable[[bytes], Any] = orjson.loads  # the content of the bytes; raises ValueError
    sent: type[Schema] | None = None  # body for clients; None: that of the bus
    max_bytes: int = MAX_MESSAGE_BYTES
    lazy_head: bytes = b""  # requires log `tail` and one room
    lazy_check: Callable[[bytes], bool] = lambda body: False  # True: the schema would accept a body of a known topic
    stamp: Callable[[Mapping[str, Any]], str | None] = _timestamp  # the time of publication; None: the message has none

    def __post_init__(self) -> None:
        if (self.log == "newest") is (self.starts is None):
            raise ValueError(f"{self.stream.name}: `starts` goes with log `newest`")
        if self.lazy_head and self.log != "tail":
            raise ValueError(f"{self.stream.name}: `lazy_head` goes with log `tail`")

    @property
    def name(self) -> str:
        """The name of the Redis channel."""
        return self.stream.name

    @property
    def answer_schema(self) -> type[Schema]:
        """The schema of the body that clients receive."""
        return self.sent or type(self.schema)


def _instrument(data: Mapping[str, Any]) -> Address:
    name = data["instrument"]
    return Address(name, (name,), (topics.price_room(name),))


def _alerts_of_instrument(data: Mapping[str, Any]) -> Address:
    name = data["instrument"]
    return Address(name, (name,), (topics.price_room(name), topics.ALERTS_ROOM))


def _candle_series(data: Mapping[str, Any]) -> Address:
    name, interval = data["instrument"], data["interval"]
    return Address(topics.candle_topic(name, interval), (name,), (topics.candle_room(name, interval),))


def _pair_of_instruments(data: Mapping[str, Any]) -> Address:
    first, second = data["instrument1"], data["instrument2"]
    return Address(f"{first}|{second}", (first, second), (topics.price_room(first), topics.price_room(second), topics.ALERTS_ROOM))


def _data_type(data: Mapping[str, Any]) -> Address:
    return Address(data["data_type"], (), ())


def _book_topic(data: Mapping[str, Any]) -> Address:
    name, depth = data["snapshot"]["instrument"], data["snapshot"]["depth"]
    return Address(topics.book_topic(name, depth), (name,), (topics.book_room(name, depth),))


def _book_rooms(data: Mapping[str, Any]) -> Address:
    name = data["instrument"]
    return Address(name, (name,), tuple(topics.book_room(name, depth) for depth in topics.BOOK_DEPTHS))


def _heartbeat(data: Mapping[str, Any]) -> Address:
    return Address(topics.HEARTBEAT_TOPIC, (), (topics.HEARTBEAT_ROOM,))


def _scenario(data: Mapping[str, Any]) -> Address:
    return Address(topics.SCENARIO_TOPIC, (), (topics.HEARTBEAT_ROOM,))


def _all_sections(data: Mapping[str, Any]) -> Address:
    return Address("", (), (ALL_SECTIONS_ROOM,))


def _observability_event(data: Mapping[str, Any]) -> Address:
    return Address(topics.EVENTS_TOPIC, (), (EVENTS,))


def _read_book(body: bytes) -> Any:
    """Return the decoded parts of a message, each as it is cut out for clients."""
    try:
        parts = cut_book(body)
    except ValueError:
        if isinstance(data := orjson.loads(body), dict):
            raise
        return data
    update = None if parts.update is None else orjson.loads(parts.update)
    return {"update": update, "snapshot": orjson.loads(parts.snapshot), "meta": orjson.loads(parts.meta)}


def _book_stamp(data: Mapping[str, Any]) -> str:
    return str(data["snapshot"]["timestamp"])


def _candle_start(data: Mapping[str, Any]) -> datetime:
    return parse_time(data["candle"]["start_time"])


_ROWS = (
    Channel(
        STREAMS[topics.PRICES],
        "price_update",
        bus.PriceUpdateSchema(),
        _instrument,
        READ,
        conflated=True,
        log="tail",
        quick_check=is_plain_price,
        audience="Clients that hold the instrument",
        lazy_head=b'{"instrument":"',
        lazy_check=is_plain_price_body,
    ),
    Channel(
        STREAMS[topics.CANDLES],
        "candle_update",
        bus.CandleUpdateSchema(),
        _candle_series,
        READ,
        conflated=True,
        log="newest",
        quick_check=is_plain_candle,
        starts=_candle_start,
        audience="Clients that hold the candles",
    ),
    Channel(
        STREAMS[topics.VOLATILITY_ALERTS],
        "volatility_alert",
        bus.VolatilityAlertSchema(),
        _alerts_of_instrument,
        READ,
        audience="Clients that hold the instrument, or `alerts` and may read it, once",
    ),
    Channel(
        STREAMS[topics.CORRELATION_ALERTS],
        "correlation_alert",
        bus.CorrelationAlertSchema(),
        _pair_of_instruments,
        READ,
        audience="Clients that hold either instrument or `alerts`, and may read both, once",
    ),
    Channel(
        STREAMS[topics.DATA_READY],
        "data_ready",
        bus.DataReadySchema(),
        _data_type,
        READ,
        audience="Every client that may read; `instruments` has those that the client may read",
        cut=True,
    ),
    Channel(
        STREAMS[topics.METRICS],
        "metrics_update",
        bus.SnapshotMessageSchema(),
        _all_sections,
        OBSERVE,
        namespace=METRICS_SPACE,
        audience="Clients that hold a section: the sections that they hold",
        quick_check=is_plain_snapshot,
        broadcast=False,
        counted=False,
        stamp=_no_stamp,
        sent=MetricsUpdateSchema,
        max_bytes=_MAX_SNAPSHOT_BYTES,
    ),
    Channel(
        STREAMS[topics.OBSERVABILITY_EVENTS],
        "observability_event",
        bus.ObservabilityEventSchema(),
        _observability_event,
        OBSERVE,
        namespace=METRICS_SPACE,
        audience="Clients that hold `events`",
        stamp=_no_stamp,
    ),
    Channel(
        STREAMS[topics.BOOKS],
        "book_update",
        books.BookMessageSchema(),
        _book_topic,
        READ,
        quick_check=is_plain_book,
        audience="Clients that hold the book, after a `book_snapshot`",
        broadcast=False,
        read=_read_book,
        stamp=_book_stamp,
        sent=books.BookUpdateSchema,
    ),
    Channel(
        STREAMS[topics.BOOK_STATES],
        "book_state",
        books.BookStateSchema(),
        _book_rooms,
        READ,
        audience="Clients that hold a book of the instrument, of any depth, once",
    ),
    Channel(
        STREAMS[topics.HEARTBEATS],
        "heartbeat",
        books.HeartbeatSchema(),
        _heartbeat,
        OBSERVE,
        conflated=True,
        audience="Clients that hold `heartbeat`",
        counted=False,
    ),
    Channel(
        STREAMS[topics.SCENARIO_CHANGES],
        "scenario_changed",
        books.ScenarioChangedSchema(),
        _scenario,
        OBSERVE,
        audience="Clients that hold `heartbeat`",
    ),
)

# Redis channel -> row
CHANNELS: dict[str, Channel] = {row.name: row for row in _ROWS}
