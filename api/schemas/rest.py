"""What REST takes and gives. The same schemas check requests, write answers and make the OpenAPI document."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Bool, Dict, Float, Int, List, Nested, Str

from api.rest import paging
from api.rest.arguments import PRINTABLE, SymbolList, TimeArgument, TokenArgument

MAX_LIMIT = 10_000
DEFAULT_LIMIT = 1_000


def _about(text: str, **more: Any) -> dict[str, Any]:
    return {"description": text, **more}


class _Text(Str):
    """Text that an answer may lack: apispec writes `null` into its type."""

    def __init__(self, text: str, **more: Any) -> None:
        super().__init__(required=True, allow_none=True, metadata=_about(text, **more))


def _time(text: str) -> Str:
    return Str(required=True, metadata=_about(text, format="date-time"))


def _decimal(text: str) -> Str:
    return Str(required=True, metadata=_about(f"{text}, a decimal string with the source's own digits", example="1.38710"))


class ErrorDetailSchema(Schema):
    """What went wrong."""

    code = Str(required=True, metadata=_about("For programs", example="unknown_instrument"))
    message = Str(required=True, metadata=_about("For people"))
    details = Dict(required=True, metadata=_about("More about it; where arguments are wrong, each one's name and what is wrong with it"))


class ErrorSchema(Schema):
    """The one shape of every error."""

    error = Nested(ErrorDetailSchema, required=True)


class IndexSchema(Schema):
    """The service in a few words."""

    name = Str(required=True)
    version = Str(required=True)
    description = Str(required=True)
    documentation = Dict(keys=Str(), values=Str(), required=True)
    routes = List(Str(), required=True)
    timestamp = _time("Now")


class LiveSchema(Schema):
    """The process answers."""

    status = Str(required=True, metadata=_about("`alive`"))
    uptime_seconds = Float(required=True)
    version = Str(required=True)
    timestamp = _time("Now")


class DatabaseHealthSchema(Schema):
    """PostgreSQL alone."""

    status = Str(required=True, metadata=_about("`healthy` or `unhealthy`"))
    database = Str(required=True, metadata=_about("`connected`, `disconnected`, or `not_migrated`"))
    timestamp = _time("Now")


class ReadySchema(Schema):
    """Whether requests can be served."""

    status = Str(required=True, metadata=_about("`ready` or `not_ready`"))
    database = Str(required=True, metadata=_about("`connected`, `disconnected`, or `not_migrated`"))
    redis = Str(required=True, metadata=_about("`connected` or `disconnected`"))
    timestamp = _time("Now")


class WriterSchema(Schema):
    """How far the store is behind the bus."""

    unstored = Int(required=True, allow_none=True, metadata=_about("Accepted prices that are not stored yet; null while the bus is away"))


class HealthSchema(Schema):
    """Everything at once."""

    status = Str(required=True, metadata=_about("`healthy` or `unhealthy`"))
    database = Str(required=True, metadata=_about("`connected`, `disconnected`, or `not_migrated`"))
    redis = Str(required=True, metadata=_about("`connected` or `disconnected`"))
    sources = Dict(
        keys=Str(),
        values=Dict(),
        required=True,
        metadata=_about(
            "What each source last reported of itself. A report older than 15 s has the state `stale`, and `last_state` is what it said"
        ),
    )
    writer = Nested(WriterSchema, required=True)
    uptime_seconds = Float(required=True)
    version = Str(required=True)
    timestamp = _time("Now")


class BinanceHealthSchema(Schema):
    """The Binance source alone."""

    status = Str(required=True, metadata=_about("`not_configured`, `unknown` while the bus is away, or the source's state"))
    source = Dict(required=True, allow_none=True, metadata=_about("What the source last reported of itself"))
    timestamp = _time("Now")


class SymbolSchema(Schema):
    """One instrument."""

    symbol = Str(required=True, metadata=_about("Its name everywhere", example="EUR_USD"))
    name = Str(required=True)
    kind = Str(required=True, metadata=_about("`fx`, `crypto` or `equity`"))
    precision = Int(required=True, metadata=_about("Decimals of its prices"))
    source = Str(required=True, metadata=_about("The source that feeds it in production"))
    market_open = Bool(required=True, metadata=_about("Whether its market is open now; holidays are not known"))
    last_price_time = _Text("The source's time of its latest price, null without one", format="date-time")


class SymbolsSchema(Schema):
    """Every instrument."""

    symbols = List(Nested(SymbolSchema), required=True)
    count = Int(required=True)


class SessionSchema(Schema):
    """A market's trading hours."""

    name = Str(required=True)
    zone = Str(required=True, metadata=_about("The zone whose wall clock the hours are on", example="America/New_York"))
    opens = Str(required=True, metadata=_about("Local time", example="08:00"))
    closes = Str(required=True, metadata=_about("Local time", example="17:00"))
    weekdays = List(Int(), required=True, metadata=_about("ISO: 1 is Monday"))
    open = Bool(required=True, metadata=_about("Whether it is open now; holidays are not known"))


class SessionsSchema(Schema):
    """Market sessions, in the order the trading day meets them."""

    sessions = List(Nested(SessionSchema), required=True)
    count = Int(required=True)
    timestamp = _time("Now")


class LatestQuery(Schema):
    """One instrument or several."""

    symbol = Str(validate=PRINTABLE, metadata=_about("One instrument", example="EUR_USD"))
    symbols = SymbolList(metadata=_about("Several instruments, separated by commas, in place of `symbol`", example="EUR_USD,BTCUSDT"))

    @validates_schema
    def _one_of_them(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("Missing data for required field.", "symbol")
        if len(data) > 1:
            raise ValidationError("Not together with symbol.", "symbols")


class LatestPriceSchema(Schema):
    """The latest price of one instrument."""

    symbol = Str(required=True)
    price = _decimal("Mid")
    bid = _decimal("Bid")
    ask = _decimal("Ask")
    timestamp = _time("The source's time of the price")
    received = _time("When the bus accepted it")
    seq = Int(required=True, metadata=_about("Its number on the bus; with `epoch`, where `subscribe … since` goes on"))
    epoch = Str(required=True)


class LatestSchema(Schema):
    """With `symbol` its latest price; with `symbols` the field `prices` alone."""

    symbol = Str()
    price = Str(metadata=_about("Mid, a decimal string", example="1.38710"))
    bid = Str()
    ask = Str()
    timestamp = Str(metadata=_about("The source's time of the price", format="date-time"))
    received = Str(metadata=_about("When the bus accepted it", format="date-time"))
    seq = Int(metadata=_about("Its number on the bus; with `epoch`, where `subscribe … since` goes on"))
    epoch = Str()
    prices = Dict(
        keys=Str(), values=Nested(LatestPriceSchema), metadata=_about("Symbol to latest price, of those in `symbols` that have one")
    )


class TicksQuery(Schema):
    """A part of one instrument's history."""

    symbol = Str(required=True, validate=PRINTABLE, metadata=_about("The instrument", example="EUR_USD"))
    start = TimeArgument(metadata=_about("From this time on; ISO 8601, UTC where it has no offset", format="date-time"))
    end = TimeArgument(metadata=_about("Before this time", format="date-time"))
    limit = Int(
        validate=validate.Range(min=1, max=MAX_LIMIT),
        metadata=_about(f"Rows at most. Default {DEFAULT_LIMIT} for JSON; CSV and NDJSON without it give the whole range"),
    )
    page_token = TokenArgument(metadata=_about("`next_page_token` of the page before, everything else unchanged"))
    order = Str(load_default="asc", validate=validate.OneOf(["asc", "desc"]), metadata=_about("Oldest or newest first"))
    format = Str(load_default="json", validate=validate.OneOf(["json", "csv", "ndjson"]))

    @validates_schema
    def _in_order(self, data: dict[str, Any], **_: Any) -> None:
        if "start" in data and "end" in data and data["start"] > data["end"]:
            raise ValidationError("Must not be before start.", "end")
        place: paging.Place | None = data.get("page_token")
        if place is not None and (place.symbol, place.order) != (data["symbol"], data["order"]):
            raise ValidationError("Belongs to another symbol or order.", "page_token")


class TickSchema(Schema):
    """One stored price."""

    symbol = Str(required=True)
    time = _time("The source's time")
    received = _time("When the bus accepted it")
    bid = _decimal("Bid")
    ask = _decimal("Ask")
    mid = _decimal("Mid")
    volume = _Text("Traded volume, a decimal string; null where the source gives none", example="1500")
    source = Str(required=True)
    seq = Int(required=True, metadata=_about("Its number on the bus; with `epoch`, where `subscribe … since` goes on"))
    epoch = Str(required=True)


class TicksSchema(Schema):
    """A page of stored prices."""

    symbol = Str(required=True)
    ticks = List(Nested(TickSchema), required=True)
    next_page_token = _Text("Give it as `page_token` for the next page; null at the end")
