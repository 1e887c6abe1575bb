"""Queries and answers of `/book`, `/book/states` and `/book/cost`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from marshmallow import Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Bool, Dict, Float, Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_number, output_time
from api.rest.schemas.arguments import QuerySchema
from api.rest.schemas.listings import symbol_argument
from api.schemas.books import BookWindow
from config.fields import WholeNumber
from db.decimals import DECIMAL, is_decimal
from db.scenarios.status import BOOK_STATES

DEFAULT_DEPTH, MAX_DEPTH = 20, 50
SIDES = ("buy", "sell")


class AmountArgument(Str):
    """A decimal string above 0; becomes a `Decimal`."""

    def __init__(self, text: str) -> None:
        super().__init__(metadata=about(text, pattern=f"^(?=[0.]*[1-9]){DECIMAL}$", example="2"))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not is_decimal(value) or not (amount := Decimal(value)):
            raise ValidationError("Must be a decimal above 0, without sign or exponent.")
        return amount


@dataclass(frozen=True, slots=True)
class BookQuery:
    """A request for one book; `require` is `live` or None."""

    symbol: str
    depth: int
    require: str | None = None


class BookQuerySchema(QuerySchema):
    """One instrument and a depth."""

    makes = BookQuery

    symbol = symbol_argument(example="BTCUSDT")
    depth = WholeNumber(
        load_default=DEFAULT_DEPTH,
        validate=validate.Range(min=1, max=MAX_DEPTH),
        metadata=about("Levels a side"),
    )
    require = Str(validate=validate.OneOf(["live"]), metadata=about("`live`: 409 `book_not_live` for a book in another state"))


@dataclass(frozen=True, slots=True)
class CostQuery:
    """A request for the cost of an order of a quantity or of a notional amount."""

    symbol: str
    side: str
    quantity: Decimal | None = None
    notional: Decimal | None = None


class CostQuerySchema(QuerySchema):
    """One instrument, a side, and one amount."""

    makes = CostQuery

    symbol = symbol_argument(example="BTCUSDT")
    side = Str(required=True, validate=validate.OneOf(SIDES), metadata=about("`buy` takes the asks, `sell` the bids"))
    quantity = AmountArgument("Quantity of the order")
    notional = AmountArgument("Amount of price times quantity, instead of `quantity`")

    @validates_schema
    def _one_amount(self, data: dict[str, Any], **_: Any) -> None:
        if ("quantity" in data) == ("notional" in data):
            text = "Not together with notional." if "quantity" in data else "Missing: use quantity or notional."
            raise ValidationError(text, "quantity")


class MeasuresSchema(Schema):
    """Measures of the proven levels; null if a side has too few."""

    spread = NullableText("Best ask less best bid, a decimal string")
    spread_bps = output_number("Spread by mid-price, in basis points", allow_none=True)
    mid = NullableText("(bid + ask) / 2, exact, a decimal string")
    imbalance = Dict(
        keys=Str(),
        values=Float(allow_none=True),
        required=True,
        metadata=about("Over 1, 5 and 20 levels a side, from -1 (asks alone) to 1"),
    )
    weighted_mid = NullableText("(ask · bid quantity + bid · ask quantity) / (both quantities), a decimal string")
    depth_weighted_mid = Dict(
        keys=Str(),
        values=Str(allow_none=True),
        required=True,
        metadata=about("Over 5 and 20 levels: mean of the volume-weighted prices of both sides, decimal strings"),
    )


class BookSchema(Schema):
    """The best levels of one book."""

    instrument = Str(required=True, metadata=about("Its name", example="BTCUSDT"))
    depth = Int(required=True, metadata=about("Requested levels a side"))
    state = Str(required=True, validate=validate.OneOf(BOOK_STATES), metadata=about("Not `live`: this is the last good book"))
    reason = Str(required=True, metadata=about("Cause of the state", example="start"))
    bids = List(List(Str()), required=True, metadata=about("`[price, quantity]`, decimal strings, best first"))
    asks = List(List(Str()), required=True, metadata=about("`[price, quantity]`, decimal strings, best first"))
    complete = Nested(BookWindow, required=True)
    update_id = Int(required=True, metadata=about("The exchange's update id"))
    checksum = Int(
        required=True,
        metadata=about(
            "Unsigned CRC32 of the first min(10, depth) levels: bid price, bid quantity, ask price, ask quantity in turns, joined by `:`"
        ),
    )
    time = output_time("The exchange's event time; of a recording, the recorded one")
    timestamp = output_time("Time of the publication")
    lag_ms = output_number("From the receipt of the last message to the publication")
    seq = Int(required=True, metadata=about("Its number in the topic of this depth, or of the next larger one"))
    epoch = Str(required=True)
    measures = Nested(MeasuresSchema, required=True, allow_none=True, metadata=about("Up to 100 ms older than the levels"))


class AuditsSchema(Schema):
    """Comparisons with the second stream of the exchange."""

    checked = Int(required=True)
    failed = Int(required=True)


class BookStateSchema(Schema):
    """The state of one book."""

    symbol = Str(required=True, metadata=about("Its instrument", example="BTCUSDT"))
    state = Str(required=True, validate=validate.OneOf(BOOK_STATES))
    reason = Str(required=True, metadata=about("Cause of the state", example="start"))
    since = output_time("Begin of the state")
    update_id = Int(required=True, allow_none=True, metadata=about("The exchange's update id; null before the first snapshot"))
    complete = Nested(BookWindow, required=True, allow_none=True, metadata=about("Null before the first snapshot"))
    resyncs = Int(required=True, metadata=about("Returns to `live` with a new snapshot"))
    audits = Nested(AuditsSchema, required=True)
    last_message_age_seconds = output_number("Time since the last depth message; null without one", allow_none=True)


class BookStatesSchema(Schema):
    """The states of all books that the caller may read."""

    books = List(Nested(BookStateSchema), required=True)
    count = Int(required=True)


class BookCostSchema(Schema):
    """The cost of an order that walks the 50 best proven levels."""

    symbol = Str(required=True)
    side = Str(required=True, validate=validate.OneOf(SIDES))
    quantity = NullableText("Requested quantity; for a notional amount the quantity that it fills, null if the levels are not enough")
    average_price = NullableText("Mean price of the filled quantity, at most 16 decimals; null if nothing can be filled")
    worst_price = NullableText("Price of the last level that is used")
    slippage_bps = output_number("Distance of the mean price from the mid-price, in basis points", allow_none=True)
    filled = Bool(required=True, metadata=about("False: the levels are not enough, and the prices are those of the filled part"))
    filled_quantity = Str(required=True, metadata=about("Decimal string"))
    state = Str(required=True, validate=validate.OneOf(BOOK_STATES))
    update_id = Int(required=True)
