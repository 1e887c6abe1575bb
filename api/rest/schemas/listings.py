"""What the listings take and give."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Bool, Int, List, Nested, Str

from api.rest.schemas import paging
from api.rest.schemas.answers import NullableText, about, decimal_text, time_text
from api.rest.schemas.arguments import PRINTABLE, TimeArgument, TokenArgument
from db.intervals import INTERVALS
from db.listing import tables as listings
from db.listing.query import Listing

MAX_LIMIT = 10_000
DEFAULT_LIMIT = 1_000
FORMATS = ("json", "csv", "ndjson")


def token_argument(listing: Listing) -> TokenArgument:
    """`page_token` of that listing."""
    return TokenArgument(listing, metadata=about("`next_page_token` of the page before, everything else unchanged"))


def next_page() -> NullableText:
    """`next_page_token` of an answer."""
    return NullableText("Give it as `page_token` for the next page; null at the end")


def symbol_argument(text: str = "The instrument", *, required: bool = True, example: str = "EUR_USD") -> Str:
    """One instrument."""
    return Str(required=required, validate=PRINTABLE, metadata=about(text, example=example))


def _nullable_integer(text: str) -> Int:
    return Int(required=True, allow_none=True, metadata=about(text))


class ListQuery(Schema):
    """What every listing takes; a listing's own adds its filters and `page_token`, which have the names of the listing's."""

    start = TimeArgument(metadata=about("From this time on; ISO 8601, UTC where it has no offset", format="date-time"))
    end = TimeArgument(metadata=about("Before this time", format="date-time"))
    limit = Int(
        validate=validate.Range(min=1, max=MAX_LIMIT),
        metadata=about(f"Rows at most. Default {DEFAULT_LIMIT} for JSON; CSV and NDJSON without it give the whole range"),
    )
    order = Str(load_default="asc", validate=validate.OneOf(["asc", "desc"]), metadata=about("Oldest or newest first"))
    format = Str(load_default="json", validate=validate.OneOf(FORMATS))

    @validates_schema
    def _in_order(self, data: dict[str, Any], **_: Any) -> None:
        if "start" in data and "end" in data and data["start"] > data["end"]:
            raise ValidationError("Must not be before start.", "end")
        at: paging.PageToken | None = data.get("page_token")
        if at is not None and at != paging.page_token(at.listing, data, at.key):
            raise ValidationError("Belongs to another symbol, filter or order.", "page_token")


class TicksQuery(ListQuery):
    """A part of one instrument's history."""

    symbol = symbol_argument()
    page_token = token_argument(listings.PRICES)


class TickSchema(Schema):
    """One stored price."""

    symbol = Str(required=True)
    time = time_text("The source's time")
    received = time_text("When the bus accepted it")
    bid = decimal_text("Bid")
    ask = decimal_text("Ask")
    mid = decimal_text("Mid")
    volume = NullableText("Traded volume, a decimal string; null where the source gives none", example="1500")
    source = Str(required=True)
    seq = Int(required=True, metadata=about("Its number on the bus; with `epoch`, where `subscribe … since` goes on"))
    epoch = Str(required=True)


class TicksSchema(Schema):
    """A page of stored prices."""

    symbol = Str(required=True)
    ticks = List(Nested(TickSchema), required=True)
    next_page_token = next_page()


class TradesQuery(ListQuery):
    """A part of one instrument's trades."""

    symbol = symbol_argument()
    page_token = token_argument(listings.TRADES)


class TradeSchema(Schema):
    """One trade of an exchange."""

    trade_id = Int(required=True, metadata=about("The exchange's number of it, which rises by one per symbol"))
    time = time_text("The exchange's time")
    price = decimal_text("Price")
    quantity = decimal_text("Quantity")
    side = Str(required=True, metadata=about("What the aggressor did: `buy` or `sell`"))


class TradesSchema(Schema):
    """A page of stored trades."""

    symbol = Str(required=True)
    trades = List(Nested(TradeSchema), required=True)
    next_page_token = next_page()


class CandlesQuery(ListQuery):
    """A part of one instrument's candles; `start` and `end` are about their start times."""

    symbol = symbol_argument()
    interval = Str(load_default="1h", validate=validate.OneOf(list(INTERVALS)))
    price = Str(
        load_default="mid",
        validate=validate.OneOf(list(listings.CANDLES)),
        metadata=about("Whose open, high, low and close; candles that do not know theirs are left out"),
    )
    page_token = token_argument(listings.CANDLES["mid"])


class CandleSchema(Schema):
    """One candle."""

    start_time = time_text("Its start")
    end_time = time_text("Its end, exclusive")
    open = decimal_text("First price")
    high = decimal_text("Highest price")
    low = decimal_text("Lowest price")
    close = decimal_text("Last price")
    volume = decimal_text("What was traded or, where nothing tells of trades, the number of quotes")
    complete = Bool(required=True, metadata=about("False while it forms"))
    trades = _nullable_integer("Trades or quotes in it; null where the source does not say")
    source = Str(required=True, metadata=about("`ticks` or `trades` where it was built here, else the feed that gave it"))


class CandlesSchema(Schema):
    """A page of candles. Where nothing was priced there is no candle."""

    symbol = Str(required=True)
    interval = Str(required=True)
    candles = List(Nested(CandleSchema), required=True)
    next_page_token = next_page()


class GapsQuery(ListQuery):
    """Holes in the store; `start` and `end` are about their start times."""

    source = Str(validate=PRINTABLE, metadata=about("The source that should have filled it", example="binance"))
    symbol = symbol_argument(required=False)
    kind = Str(validate=validate.OneOf(["trades", "candles"]))
    state = Str(validate=validate.OneOf(["open", "filled", "unfillable"]))
    page_token = token_argument(listings.GAPS)


class GapSchema(Schema):
    """One hole. Trades are known by their ids, candles by their times."""

    id = Int(required=True)
    source = Str(required=True)
    symbol = Str(required=True)
    kind = Str(required=True, metadata=about("`trades` or `candles`"))
    interval = NullableText("Of candles; null for trades")
    first_id = _nullable_integer("The first missing trade; null for candles")
    last_id = _nullable_integer("The last missing trade; null for candles")
    start_time = time_text("Where it begins")
    end_time = time_text("Where it ends, exclusive")
    missing = Int(required=True, metadata=about("How many trades or candles"))
    state = Str(required=True, metadata=about("`open`, `filled` or `unfillable`"))
    reason = NullableText("Why it is not filled")
    detected = time_text("When it was seen first")
    updated = time_text("When its state was last looked at")


class GapsSchema(Schema):
    """A page of gaps."""

    gaps = List(Nested(GapSchema), required=True)
    next_page_token = next_page()
