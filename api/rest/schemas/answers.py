"""What REST takes and gives. The same schemas check requests, write answers and make the OpenAPI document."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, validates_schema
from marshmallow.fields import Bool, Dict, Float, Int, List, Nested, Str

from api.rest.schemas.arguments import PRINTABLE, SymbolList


def about(text: str, **more: Any) -> dict[str, Any]:
    """What the OpenAPI document says about a field."""
    return {"description": text, **more}


class NullableText(Str):
    """Text that an answer may lack: apispec writes `null` into its type."""

    def __init__(self, text: str, **more: Any) -> None:
        super().__init__(required=True, allow_none=True, metadata=about(text, **more))


def time_text(text: str) -> Str:
    """A time in an answer."""
    return Str(required=True, metadata=about(text, format="date-time"))


def decimal_text(text: str) -> Str:
    """A price or quantity in an answer."""
    return Str(required=True, metadata=about(f"{text}, a decimal string with the source's own digits", example="1.38710"))


class ErrorDetailSchema(Schema):
    """What went wrong."""

    code = Str(required=True, metadata=about("For programs", example="unknown_instrument"))
    message = Str(required=True, metadata=about("For people"))
    details = Dict(required=True, metadata=about("More about it; where arguments are wrong, each one's name and what is wrong with it"))


class ErrorResponseSchema(Schema):
    """The one shape of every error."""

    error = Nested(ErrorDetailSchema, required=True)


class IndexSchema(Schema):
    """The service in a few words."""

    name = Str(required=True)
    version = Str(required=True)
    description = Str(required=True)
    documentation = Dict(keys=Str(), values=Str(), required=True)
    routes = List(Str(), required=True)
    timestamp = time_text("Now")


class LiveSchema(Schema):
    """The process answers."""

    status = Str(required=True, metadata=about("`alive`"))
    uptime_seconds = Float(required=True)
    version = Str(required=True)
    timestamp = time_text("Now")


class DatabaseHealthSchema(Schema):
    """PostgreSQL alone."""

    status = Str(required=True, metadata=about("`healthy` or `unhealthy`"))
    database = Str(required=True, metadata=about("`connected`, `disconnected`, or `not_migrated`"))
    timestamp = time_text("Now")


class ReadySchema(Schema):
    """Whether requests can be served."""

    status = Str(required=True, metadata=about("`ready` or `not_ready`"))
    database = Str(required=True, metadata=about("`connected`, `disconnected`, or `not_migrated`"))
    redis = Str(required=True, metadata=about("`connected` or `disconnected`"))
    timestamp = time_text("Now")


class WriterSchema(Schema):
    """How far the store is behind the bus."""

    unstored = Int(required=True, allow_none=True, metadata=about("Accepted prices that are not stored yet; null while the bus is away"))


class HealthSchema(Schema):
    """Everything at once."""

    status = Str(required=True, metadata=about("`healthy` or `unhealthy`"))
    database = Str(required=True, metadata=about("`connected`, `disconnected`, or `not_migrated`"))
    redis = Str(required=True, metadata=about("`connected` or `disconnected`"))
    sources = Dict(
        keys=Str(),
        values=Dict(),
        required=True,
        metadata=about(
            "What each source last reported of itself. A report older than 15 s has the state `stale`, and `last_state` is what it said"
        ),
    )
    writer = Nested(WriterSchema, required=True)
    uptime_seconds = Float(required=True)
    version = Str(required=True)
    timestamp = time_text("Now")


class BinanceHealthSchema(Schema):
    """The Binance source alone."""

    status = Str(required=True, metadata=about("`not_configured`, `unknown` while the bus is away, or the source's state"))
    source = Dict(required=True, allow_none=True, metadata=about("What the source last reported of itself"))
    timestamp = time_text("Now")


class SymbolSchema(Schema):
    """One instrument."""

    symbol = Str(required=True, metadata=about("Its name everywhere", example="EUR_USD"))
    name = Str(required=True)
    kind = Str(required=True, metadata=about("`fx`, `crypto` or `equity`"))
    precision = Int(required=True, metadata=about("Decimals of its prices"))
    source = Str(required=True, metadata=about("The source that feeds it in production"))
    market_open = Bool(required=True, metadata=about("Whether its market is open now; holidays are not known"))
    last_price_time = NullableText("The source's time of its latest price, null without one", format="date-time")


class SymbolsSchema(Schema):
    """Every instrument."""

    symbols = List(Nested(SymbolSchema), required=True)
    count = Int(required=True)


class SessionSchema(Schema):
    """A market's trading hours."""

    name = Str(required=True)
    zone = Str(required=True, metadata=about("The zone whose wall clock the hours are on", example="America/New_York"))
    opens = Str(required=True, metadata=about("Local time", example="08:00"))
    closes = Str(required=True, metadata=about("Local time", example="17:00"))
    weekdays = List(Int(), required=True, metadata=about("ISO: 1 is Monday"))
    open = Bool(required=True, metadata=about("Whether it is open now; holidays are not known"))


class SessionsSchema(Schema):
    """Market sessions, in the order the trading day meets them."""

    sessions = List(Nested(SessionSchema), required=True)
    count = Int(required=True)
    timestamp = time_text("Now")


class LatestQuery(Schema):
    """One instrument or several."""

    symbol = Str(validate=PRINTABLE, metadata=about("One instrument", example="EUR_USD"))
    symbols = SymbolList(metadata=about("Several instruments, separated by commas, in place of `symbol`", example="EUR_USD,BTCUSDT"))

    @validates_schema
    def _one_of_them(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("Missing data for required field.", "symbol")
        if len(data) > 1:
            raise ValidationError("Not together with symbol.", "symbols")


class LatestPriceSchema(Schema):
    """The latest price of one instrument."""

    symbol = Str(required=True)
    price = decimal_text("Mid")
    bid = decimal_text("Bid")
    ask = decimal_text("Ask")
    timestamp = time_text("The source's time of the price")
    received = time_text("When the bus accepted it")
    seq = Int(required=True, metadata=about("Its number on the bus; with `epoch`, where `subscribe … since` goes on"))
    epoch = Str(required=True)


class LatestSchema(Schema):
    """With `symbol` its latest price; with `symbols` the field `prices` alone."""

    symbol = Str()
    price = Str(metadata=about("Mid, a decimal string", example="1.38710"))
    bid = Str()
    ask = Str()
    timestamp = Str(metadata=about("The source's time of the price", format="date-time"))
    received = Str(metadata=about("When the bus accepted it", format="date-time"))
    seq = Int(metadata=about("Its number on the bus; with `epoch`, where `subscribe … since` goes on"))
    epoch = Str()
    prices = Dict(
        keys=Str(), values=Nested(LatestPriceSchema), metadata=about("Symbol to latest price, of those in `symbols` that have one")
    )
