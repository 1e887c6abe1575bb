"""Stored books: tops and whole books of the past."""

from __future__ import annotations

from flask import Response

from api.access.model import READ
from api.rest.listing import answer
from api.rest.routing import Routes
from api.rest.schemas.books.history import BookHistoryQuerySchema, BookHistorySchema, BookSnapshotsQuerySchema, BookSnapshotsSchema
from api.rest.schemas.paging import ListQuery
from db.listing.books import BOOK_SNAPSHOTS, BOOK_TOPS

routes = Routes("book_history", "Stored order books")


@routes.listing("/book/history", BookHistorySchema, takes=BookHistoryQuerySchema, scope=READ)
def history(query: ListQuery) -> Response:
    """Stored tops of a book: best bid and best ask, ordered by time.

    One row each `BOOK_HISTORY_SECONDS`, if the book has changed. Books of scenarios and replays are
    not stored.
    """
    return answer(BOOK_TOPS, query, "history")


@routes.listing("/book/snapshots", BookSnapshotsSchema, takes=BookSnapshotsQuerySchema, scope=READ)
def snapshots(query: ListQuery) -> Response:
    """Stored books with 50 levels a side, ordered by time.

    One each `BOOK_DEPTH_SECONDS`; by default none is stored.
    """
    return answer(BOOK_SNAPSHOTS, query, "snapshots")
