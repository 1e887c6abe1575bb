"""Queries and answers of the listings."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from marshmallow import Schema, ValidationError, post_load, validate, validates_schema
from marshmallow.fields import Bool, Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_decimal, output_time
from api.rest.schemas.arguments import PRINTABLE, OneSymbol, TimeArgument, TokenArgument
from api.rest.schemas.paging import Format, ListQuery, PageToken, page_token
from config.fields import WholeNumber
from db.intervals import INTERVALS
from db.listing import tables as listings
from db.listing.query import Listing

MAX_LIMIT = 10_000
DEFAULT_LIMIT = 1_000
FORMATS: tuple[str, ...] = get_args(Format)


def token_argument(listing: Listing) -> TokenArgument:
    """Return the argument `page_token` of the listing."""
    return TokenArgument(listing, metadata=about("`next_page_token` of the previous page; all other arguments unchanged"))


def next_page() -> NullableText:
    """Return the field `next_page_token` of an answer."""
    return NullableText("`page_token` of the next page; null at the end")


def symbol_argument(text: str = "The instrument", *, required: bool = True, example: str = "EUR_USD", several: str = "one symbol") -> Str:
    """Return an argument that names one instrument; `several` refuses a list of names."""
    return Str(required=required, validate=OneSymbol(several), metadata=about(text, example=example))


def choice(names: tuple[str, ...], text: str, **more: Any) -> Str:
    """Return an argument that is one of `names`."""
    return Str(validate=validate.OneOf(names), metadata=about(text), **more)


def _nullable_integer(text: str) -> Int:
    return Int(required=True, allow_none=True, metadata=about(text))


class PageQuerySchema(Schema):
    """The arguments of every listing.

    A listing's own schema adds `page_token` and its filters, by their names there. `range_names`
    are the names of the arguments for the range of time, if it has one.
    """

    range_names: ClassVar[tuple[str, str]] = ("start", "end")

    limit = WholeNumber(
        digits=len(str(MAX_LIMIT)),
        validate=validate.Range(min=1, max=MAX_LIMIT),
        metadata=about(f"Maximum number of rows. Default {DEFAULT_LIMIT} for JSON; CSV and NDJSON without it return the whole range"),
    )
    order = Str(load_default="asc", validate=validate.OneOf(["asc", "desc"]), metadata=about("Oldest or newest first"))
    format = Str(load_default="json", validate=validate.OneOf(FORMATS))

    @validates_schema
    def _check(self, data: dict[str, Any], **_: Any) -> None:
        start, end = self.range_names
        if start in data and end in data and data[start] > data[end]:
            raise ValidationError(f"Must not be before {start}.", end)
        token: PageToken | None = data.get("page_token")
        if token is not None and token != page_token(token.listing, data["order"], data, token.key):
            raise ValidationError("No page of this query: use it with all other arguments unchanged.", "page_token")

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> ListQuery:
        start, end = (data.pop(name, None) for name in self.range_names)
        common = {name: data.pop(name, None) for name in ("order", "limit", "format", "page_token")}
        return ListQuery(start=start, end=end, offset=data.pop("offset", 0), filters=data, **common)


class ListQuerySchema(PageQuerySchema):
    """The arguments of a listing with a range of time."""

    start = TimeArgument(metadata=about("From this time on; ISO 8601, UTC if it has no offset", format="date-time"))
    end = TimeArgument(metadata=about("Before this time", format="date-time"))


class TicksQuerySchema(ListQuerySchema):
    """A range of one instrument's prices."""

    symbol = symbol_argument()
    page_token = token_argument(listings.PRICES)


class TickSchema(Schema):
    """One stored price."""

    symbol = Str(required=True)
    time = output_time("Source time")
    received = output_time("Time at which the bus accepted it")
    bid = output_decimal("Bid")
    ask = output_decimal("Ask")
    mid = output_decimal("Mid")
    volume = NullableText("Traded volume, a decimal string; null if the source sends none", example="1500")
    source = Str(required=True)
    seq = Int(required=True, metadata=about("Its number on the bus; with `epoch`, the position for `subscribe … since`"))
    epoch = Str(required=True)


class TicksSchema(Schema):
    """A page of stored prices."""

    symbol = Str(required=True)
    ticks = List(Nested(TickSchema), required=True)
    next_page_token = next_page()


class TradesQuerySchema(ListQuerySchema):
    """A range of one instrument's trades."""

    symbol = symbol_argument()
    page_token = token_argument(listings.TRADES)


class MarketTradeSchema(Schema):
    """One trade of an exchange."""

    trade_id = Int(required=True, metadata=about("Number given by the exchange; rises by one per symbol"))
    time = output_time("Time given by the exchange")
    price = output_decimal("Price")
    quantity = output_decimal("Quantity")
    side = Str(required=True, metadata=about("Side of the aggressor: `buy` or `sell`"))


class MarketTradesSchema(Schema):
    """A page of stored trades."""

    symbol = Str(required=True)
    trades = List(Nested(MarketTradeSchema), required=True)
    next_page_token = next_page()


class CandlesQuerySchema(ListQuerySchema):
    """A range of one instrument's candles; `start` and `end` refer to their start times."""

    symbol = symbol_argument(several="one symbol; Python: client.candles([...])")
    interval = Str(load_default="1h", validate=validate.OneOf(list(INTERVALS)))
    price = Str(
        load_default="mid",
        validate=validate.OneOf(list(listings.CANDLES)),
        metadata=about("Price of open, high, low and close; candles without that price are omitted"),
    )
    page_token = token_argument(listings.CANDLES["mid"])


class CandleSchema(Schema):
    """One candle."""

    start_time = output_time("Its start")
    end_time = output_time("Its end, exclusive")
    open = output_decimal("First price")
    high = output_decimal("Highest price")
    low = output_decimal("Lowest price")
    close = output_decimal("Last price")
    volume = output_decimal("Traded volume or, if the source sends no trades, the number of quotes")
    complete = Bool(required=True, metadata=about("False while its interval lasts"))
    trades = _nullable_integer("Number of trades or quotes; null if the source does not send it")
    source = Str(required=True, metadata=about("`ticks` or `trades` if it was built here, else its feed"))


class CandlesSchema(Schema):
    """A page of candles. An interval without a price has no candle."""

    symbol = Str(required=True)
    interval = Str(required=True)
    candles = List(Nested(CandleSchema), required=True)
    next_page_token = next_page()


class GapsQuerySchema(ListQuerySchema):
    """Gaps in the store, starts of new series of trade ids, and times at which a book was not live.

    `start` and `end` refer to their start times.
    """

    source = Str(validate=PRINTABLE, metadata=about("Source of the missing data", example="binance"))
    symbol = symbol_argument(required=False)
    kind = Str(validate=validate.OneOf(["trades", "candles", "series", "book"]))
    state = Str(validate=validate.OneOf(["open", "filled", "unfillable"]))
    page_token = token_argument(listings.GAPS)


class GapSchema(Schema):
    """One gap: missing trades by their ids, missing candles by their times, or a book's absence.

    `kind` `series` is no gap: the exchange has begun its trade ids anew.
    """

    id = Int(required=True)
    source = Str(required=True)
    symbol = Str(required=True)
    kind = Str(required=True, metadata=about("`trades`, `candles`, `book`, or `series`: the exchange began its trade ids anew"))
    interval = NullableText("Interval of candles; else null")
    first_id = _nullable_integer("The first missing trade or update of a book, or the first of a series; else null")
    last_id = _nullable_integer("The last missing trade or update of a book, or the first of a series; else null")
    start_time = output_time("Start")
    end_time = output_time("End, exclusive")
    missing = Int(required=True, metadata=about("Number of trades, candles or updates; 0 for a series, or if it is unknown"))
    state = Str(required=True, metadata=about("`open`, `filled` or `unfillable`"))
    reason = NullableText("Reason if it is not filled; of a book, the reason of its departure from `live`")
    detected = output_time("Time of its detection")
    updated = output_time("Time of the last check of its state")


class GapsSchema(Schema):
    """A page of gaps."""

    gaps = List(Nested(GapSchema), required=True)
    next_page_token = next_page()
