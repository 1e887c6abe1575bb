"""Stored books: queries and answers of their listings."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, validate
from marshmallow.fields import Int, List, Nested, Str, Tuple

from api.rest.schemas.answers import about, output_decimal, output_number, output_time
from api.rest.schemas.listings import ListQuerySchema, next_page, symbol_argument, token_argument
from db.book_snapshots import MAX_LEVELS
from db.listing import books as listings
from db.scenarios.status import BOOK_STATES

_EXAMPLE = "BTCUSDT"
_EVENT_TIME = "Event time of the exchange"
_UPDATE_ID = "The exchange's id of the last update in the book"


class BookHistoryQuerySchema(ListQuerySchema):
    """A range of the stored tops of one instrument's book."""

    symbol = symbol_argument(example=_EXAMPLE)
    page_token = token_argument(listings.BOOK_TOPS)


class StoredTopSchema(Schema):
    """Best bid and best ask of a book at one time."""

    time = output_time(_EVENT_TIME)
    bid = output_decimal("Best bid")
    bid_qty = output_decimal("Its quantity")
    ask = output_decimal("Best ask")
    ask_qty = output_decimal("Its quantity")
    spread = output_decimal("Ask minus bid")
    weighted_mid = output_decimal("(ask x bid quantity + bid x ask quantity) / (bid quantity + ask quantity)")
    imbalance = output_number("(bid quantity - ask quantity) / (bid quantity + ask quantity), from -1 to 1")
    update_id = Int(required=True, metadata=about(_UPDATE_ID))
    state = Str(required=True, validate=validate.OneOf(BOOK_STATES), metadata=about("State of the book"))


class BookHistorySchema(Schema):
    """A page of stored tops."""

    symbol = Str(required=True)
    history = List(Nested(StoredTopSchema), required=True)
    next_page_token = next_page()


class BookSnapshotsQuerySchema(ListQuerySchema):
    """A range of the stored books of one instrument."""

    symbol = symbol_argument(example=_EXAMPLE)
    page_token = token_argument(listings.BOOK_SNAPSHOTS)


def _side(text: str) -> List[Any]:
    level = Tuple((Str(), Str()), metadata=about("Price and quantity, decimal strings of the exchange"))
    return List(level, required=True, metadata=about(f"{text}, the best first; at most {MAX_LEVELS} levels"))


class StoredBookSchema(Schema):
    """The best levels of a book at one time."""

    time = output_time(_EVENT_TIME)
    update_id = Int(required=True, metadata=about(_UPDATE_ID))
    bids = _side("Bids")
    asks = _side("Asks")


class BookSnapshotsSchema(Schema):
    """A page of stored books."""

    symbol = Str(required=True)
    snapshots = List(Nested(StoredBookSchema), required=True)
    next_page_token = next_page()
