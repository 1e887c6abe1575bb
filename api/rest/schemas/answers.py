"""Answers of REST, except those of listings and figures.

One schema checks a request or writes an answer, and makes its part of the OpenAPI document.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from marshmallow import Schema, ValidationError, validates_schema
from marshmallow.fields import Bool, Dict, Float, Int, List, Nested, Str

from api.rest.schemas.arguments import OneSymbol, QuerySchema, SymbolList


def about(text: str, **more: Any) -> dict[str, Any]:
    """Return the metadata of a field: its description and more OpenAPI properties."""
    return {"description": text, **more}


class NullableText(Str):
    """Required text that may be null; apispec adds `null` to its type."""

    def __init__(self, text: str, **more: Any) -> None:
        super().__init__(required=True, allow_none=True, metadata=about(text, **more))


def output_time(text: str) -> Str:
    """Return the field of a time in an answer."""
    return Str(required=True, metadata=about(text, format="date-time"))


def output_number(text: str, **more: Any) -> Float:
    """Return the field of a number in an answer."""
    return Float(required=True, metadata=about(text), **more)


def output_decimal(text: str) -> Str:
    """Return the field of a price or quantity in an answer."""
    return Str(required=True, metadata=about(f"{text}, a decimal string with the source's own digits", example="1.38710"))


class ErrorDetailSchema(Schema):
    """The failure of a request."""

    code = Str(required=True, metadata=about("For programs", example="unknown_instrument"))
    message = Str(required=True, metadata=about("For people"))
    details = Dict(required=True, metadata=about("More about it; for invalid arguments, the name of each and its problems"))


class ErrorResponseSchema(Schema):
    """The one shape of every error."""

    error = Nested(ErrorDetailSchema, required=True)


ErrorResponseSchema.__name__ = "ErrorSchema"  # names the component `Error` of the OpenAPI document


class IndexSchema(Schema):
    """Summary of the service."""

    name = Str(required=True)
    version = Str(required=True)
    description = Str(required=True)
    documentation = Dict(keys=Str(), values=Str(), required=True)
    routes = List(Str(), required=True)
    metrics_socket = Str(required=True, metadata=about("URL of the plain WebSocket with metrics, at the hub"))
    book_socket = Str(required=True, metadata=about("URL of the plain WebSocket with order books, at the hub"))
    timestamp = output_time("Time of the answer")


class LiveSchema(Schema):
    """The process runs, and so do its loops."""

    status = Str(required=True, metadata=about("`alive`, or `silent` if a loop of the process has missed three rounds"))
    alive = Bool(required=True, metadata=about("False if a loop of the process is silent"))
    silent_loops = List(Str(), metadata=about("The silent loops; absent if there is none"))
    websocket_connections = Int(required=True, metadata=about("Clients of all hubs, as of their last reports"))
    uptime_seconds = Float(required=True)
    version = Str(required=True)
    timestamp = output_time("Time of the answer")


_DATABASE = "`connected`, `disconnected`, `impaired` (it answers and cannot do its work), or `not_migrated`"


class DatabaseHealthSchema(Schema):
    """PostgreSQL alone."""

    status = Str(required=True, metadata=about("`healthy` or `unhealthy`"))
    database = Str(required=True, metadata=about(_DATABASE))
    timestamp = output_time("Time of the answer")


class ReadySchema(Schema):
    """Ability to serve requests."""

    status = Str(required=True, metadata=about("`ready` or `not_ready`"))
    ready = Bool(required=True, metadata=about("True if both servers can be read"))
    database = Str(required=True, metadata=about("`connected`, `disconnected`, or `not_migrated`"))
    redis = Str(required=True, metadata=about("`connected` or `disconnected`"))
    collectors = Dict(
        keys=Str(), values=Bool(), required=True, metadata=about("Section of the metrics: true if its collector gives values")
    )
    timestamp = output_time("Time of the answer")


_OF_BOOKS = "Null without a heartbeat of the process `books`; needs the scope `observe`"


class WriterSchema(Schema):
    """Delay of the store behind the bus. All but `unstored` needs the scope `observe`."""

    unstored = Int(
        required=True, allow_none=True, metadata=about("Accepted prices that are not stored yet; null while the bus is unavailable")
    )
    oldest_age_seconds = Float(allow_none=True, metadata=about("Age of the oldest message that is not stored; null if there is none"))
    parked = Int(
        allow_none=True,
        metadata=about(
            "Malformed entries of the bus, moved to `tickwire:dead:CHANNEL` instead of the store; null while the bus is unavailable"
        ),
    )
    last_parked = Str(allow_none=True, metadata=about("Time of the last of them, null without one", format="date-time"))


class HealthSchema(Schema):
    """State of all parts."""

    status = Str(
        required=True,
        metadata=about(
            "`healthy`, `unhealthy`, or `degraded`: all parts work, but an entry was parked in the last hour, or `bus` is `unreplicated`"
        ),
    )
    service = Str(required=True, metadata=about("The name of the product: `tickwire`"))
    database = Str(required=True, metadata=about(_DATABASE))
    redis = Str(required=True, metadata=about("`connected`, `disconnected`, or `impaired` (it answers and cannot do its work)"))
    bus = Str(metadata=about("`unreplicated` while messages are accepted without confirmation by a replica; otherwise left out"))
    hub = Str(
        required=True,
        metadata=about("`connected`, `disconnected` (an expected hub is down or fails), or `unknown` (no hub, or Redis is unavailable)"),
    )
    failing = List(
        Str(),
        required=True,
        metadata=about(
            "Parts that cannot do their work: `database`, `bus`, `hub`, `jobs`, `writer`, `source:NAME`, `job:NAME`, or the name of a loop",
            example=["bus", "hub", "source:oanda"],
        ),
    )
    sources = Dict(
        keys=Str(),
        values=Dict(),
        required=True,
        metadata=about(
            "Last report of each source; without the scope `observe` its `state` alone. "
            "`refused` has the number of its records that were left out since its start, by kind: "
            "`unknown_instrument`, `not_a_decimal`, `time_too_old`, `time_in_future`, `bad_price`, `bad_trade`, `unreadable`. "
            "`failing_since` is the time since which it has not been live. "
            "`age_seconds` is the time since its last record was received, null without one. "
            "If its process has not reported for 15 s, the state is `stale`, and the last one is in `last_state`"
        ),
    )
    writer = Nested(WriterSchema, required=True)
    auth = Str(
        required=True,
        metadata=about("`optional` (callers without a credential have the anonymous rights), `required`, or `off` (none is checked)"),
    )
    access = Str(
        required=True,
        metadata=about("Table of keys in this process: `current`, `stale` (it cannot be read; the last one holds), or `unread` yet"),
    )
    uptime_seconds = Float(required=True)
    version = Str(required=True)
    timestamp = output_time("Time of the answer")
    total_messages_processed = Int(allow_none=True, metadata=about(f"As in `/status`. {_OF_BOOKS}"))
    current_queue_size = Int(allow_none=True, metadata=about(f"As in `/status`. {_OF_BOOKS}"))
    memory_usage_mb = Float(allow_none=True, metadata=about(f"As in `/status`. {_OF_BOOKS}"))
    active_clients = Int(allow_none=True, metadata=about(f"As in `/status`. {_OF_BOOKS}"))
    current_scenario = Str(allow_none=True, metadata=about(f"As in `/status`. {_OF_BOOKS}"))
    last_heartbeat = Str(allow_none=True, metadata=about(f"As in `/status`. {_OF_BOOKS}", format="date-time"))


class VenueHealthSchema(Schema):
    """The source of one venue."""

    status = Str(required=True, metadata=about("`not_configured`, `unknown` while the bus is unavailable, or the source's state"))
    source = Dict(
        required=True,
        allow_none=True,
        metadata=about("Last report of the source, with the fields of `sources` in `GET /health`; null without the scope `observe`"),
    )
    timestamp = output_time("Time of the answer")


@cache
def venue_health_schema(venue: str) -> type[Schema]:
    """Return the health schema of a venue, a component of its own in the OpenAPI document."""
    return type(f"{venue.title()}HealthSchema", (VenueHealthSchema,), {})


class SessionSchema(Schema):
    """A market's trading hours."""

    name = Str(required=True)
    zone = Str(required=True, metadata=about("Time zone of the hours", example="America/New_York"))
    opens = Str(required=True, metadata=about("Local time", example="08:00"))
    closes = Str(required=True, metadata=about("Local time", example="17:00"))
    weekdays = List(Int(), required=True, metadata=about("ISO: 1 is Monday"))
    open = Bool(required=True, metadata=about("True while it is open; holidays are not considered"))


class SessionsSchema(Schema):
    """Market sessions, in the order of the trading day."""

    sessions = List(Nested(SessionSchema), required=True)
    count = Int(required=True)
    timestamp = output_time("Time of the answer")


@dataclass(frozen=True, slots=True)
class LatestPriceQuery:
    """A request for the latest price of `symbol`, or of all `symbols`; the other is None."""

    symbol: str | None = None
    symbols: tuple[str, ...] | None = None


class LatestPriceQuerySchema(QuerySchema):
    """One instrument or several."""

    makes = LatestPriceQuery

    symbol = Str(validate=OneSymbol("one symbol; several: symbols=A,B"), metadata=about("One instrument", example="EUR_USD"))
    symbols = SymbolList(metadata=about("Several instruments, separated by commas, instead of `symbol`", example="EUR_USD,BTCUSDT"))

    @validates_schema
    def _one_of_them(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("Missing: use symbol or symbols.", "symbol")
        if len(data) > 1:
            raise ValidationError("Not together with symbol.", "symbols")


class LatestPriceSchema(Schema):
    """The latest price of one instrument."""

    symbol = Str(required=True)
    price = output_decimal("Mid")
    bid = output_decimal("Bid")
    ask = output_decimal("Ask")
    timestamp = output_time("Source time of the price")
    received = output_time("Time at which the bus accepted it")
    seq = Int(required=True, metadata=about("Its number on the bus; with `epoch`, the position for `subscribe … since`"))
    epoch = Str(required=True)


class LatestSchema(Schema):
    """For `symbol` its latest price; for `symbols` the field `prices` only."""

    symbol = Str()
    price = Str(metadata=about("Mid, a decimal string", example="1.38710"))
    bid = Str()
    ask = Str()
    timestamp = Str(metadata=about("Source time of the price", format="date-time"))
    received = Str(metadata=about("Time at which the bus accepted it", format="date-time"))
    seq = Int(metadata=about("Its number on the bus; with `epoch`, the position for `subscribe … since`"))
    epoch = Str()
    prices = Dict(
        keys=Str(), values=Nested(LatestPriceSchema), metadata=about("Symbol to latest price, of those in `symbols` that have one")
    )
