"""Order books: levels, states, and the cost of an order."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from api.access.model import READ
from api.errors import ErrorCode
from api.rest.books.current import LIVE, Books, read_book
from api.rest.context import context
from api.rest.errors import ApiError
from api.rest.instruments import may_read, refuse_unknown
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.books.book import (
    MAX_DEPTH,
    BookCostSchema,
    BookQuery,
    BookQuerySchema,
    BookSchema,
    BookStatesSchema,
    CostQuery,
    CostQuerySchema,
)
from db.decimals import middle
from db.figures.book_cost import BookCost, cost_of_notional, cost_of_quantity
from db.figures.output import decimal_text, rounded

routes = Routes("books", "Order books")


@routes.get("/book", BookSchema, takes=BookQuerySchema, scope=READ, fails={404: ErrorResponseSchema, 409: ErrorResponseSchema})
def book(query: BookQuery) -> Any:
    """The best levels of one book, with its checksum and its measures.

    A book that is not `live` is the last good one; with `require=live` it is 409 `book_not_live`.
    A depth other than 5, 10, 20 and 50 is cut from the next larger one. 404 `no_book`: no book is
    kept, or it was not live yet.
    """
    books, snapshot = _read(query.symbol, query.depth)
    if query.require == LIVE and snapshot["state"] != LIVE:
        about = {name: snapshot[name] for name in ("state", "reason")}
        raise ApiError(409, ErrorCode.BOOK_NOT_LIVE, f"the book of {query.symbol} is {about['state']} ({about['reason']})", about)
    return {**snapshot, "measures": books.rows[query.symbol].get("measures")}


@routes.get("/book/states", BookStatesSchema, scope=READ)
def states() -> Any:
    """The states of all books, by instrument; of those that the caller may read."""
    books = _books()
    found = [books.state(name) for name in sorted(books.rows) if may_read(name)]
    return {"books": found, "count": len(found)}


@routes.get("/book/cost", BookCostSchema, takes=CostQuerySchema, scope=READ, fails={404: ErrorResponseSchema})
def cost(query: CostQuery) -> Any:
    """The cost of an order that takes the best levels of the other side, up to 50.

    Use either `quantity` or `notional`. If the levels are not enough, `filled` is false, and the
    prices are those of the filled part. `state` is that of the book: another one than `live` means
    old levels.
    """
    _, snapshot = _read(query.symbol, MAX_DEPTH)
    levels = snapshot["asks" if query.side == "buy" else "bids"]
    mid = _mid(snapshot["bids"], snapshot["asks"])
    if query.quantity is not None:
        found = cost_of_quantity(levels, query.quantity, mid)
        return _cost(query, snapshot, found, query.quantity)
    found = cost_of_notional(levels, query.notional or Decimal(0), mid)
    return _cost(query, snapshot, found, found.filled_quantity if found.is_filled else None)


def _cost(query: CostQuery, snapshot: dict[str, Any], found: BookCost, quantity: Decimal | None) -> dict[str, Any]:
    return {
        "symbol": query.symbol,
        "side": query.side,
        "quantity": _text(quantity),
        "average_price": _text(found.average_price),
        "worst_price": _text(found.worst_price),
        "slippage_bps": found.slippage_bps,
        "filled": found.is_filled,
        "filled_quantity": _text(found.filled_quantity),
        "state": snapshot["state"],
        "update_id": snapshot["update_id"],
    }


def _read(symbol: str, depth: int) -> tuple[Books, dict[str, Any]]:
    """Return the rows of all books and one book. Raises 404 for an unknown instrument."""
    books = _books()
    if not books.has(symbol):
        refuse_unknown("symbol", [symbol])
    return books, read_book(context().bus, books, symbol, depth)


def _books() -> Books:
    app = context()
    return Books.read(app.bus, app.settings.heartbeat_interval, app.clock())


def _mid(bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> Decimal | None:
    return Decimal(middle(bids[0][0], asks[0][0])) if bids and asks else None


def _text(value: Decimal | None) -> str | None:
    short = rounded(value)
    return None if short is None else decimal_text(short)
