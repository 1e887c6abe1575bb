"""Answers of the listings: a page as JSON, a page or the whole range as CSV or NDJSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Protocol

import orjson
from flask import Response

from api.rest.context import context
from api.rest.instruments import ONE_INSTRUMENT, readable, refuse_unknown
from api.rest.limits import requests as limits
from api.rest.limits.slots import hold, take_for_export
from api.rest.schemas import paging
from api.rest.schemas.listings import DEFAULT_LIMIT
from api.rest.schemas.paging import ListQuery
from db.listing.query import Form, Key, Listing, Page, RowFilter, read_page
from db.timestamps import format_time

EXPORT_ROWS = 10_000  # rows of an export that are in memory, and in one query, at a time
EXPORTS = {"responses": {200: {"content": {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "application/x-ndjson")}}}}

# A paragraph of the description of every list route.
PAGES = """JSON comes in pages. CSV and NDJSON without a `limit` return the whole range, of any length. With a `limit`
they return one page, whose `next_page_token` is the header `X-Next-Page-Token`. If an export fails midway, it ends
without its last chunk."""

_MOMENT = timedelta(microseconds=1)  # the end of a query is exclusive
_FIRST = format_time(datetime.min.replace(tzinfo=UTC))
_TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}


class ReadPage(Protocol):
    """Reads up to `limit` rows that follow a key, without the first `offset`."""

    def __call__(self, limit: int, after: Key | None, offset: int = 0) -> Page: ...


def answer(
    listing: Listing,
    query: ListQuery,
    rows: str,
    head: tuple[str, ...] = ("symbol",),
    stored: Mapping[str, str] = MappingProxyType({}),
    tail: Mapping[str, Any] = MappingProxyType({}),
    read: ReadPage | None = None,
) -> Response:
    """Return the rows of the query in the field `rows`, behind the filters `head`; see `PAGES`.

    The values of `head` and `rows` name the file of an export. `stored` has the filters whose value
    in the table differs from the requested one. `tail` are fields behind the rows. `read` reads a
    page; by default it is read from the table of the listing.
    """
    whole = query.format != "json" and query.limit is None
    if whole:
        limits.take_export()
    read = read or _reader(listing, replace(query, filters={**query.filters, **stored}))
    limit = EXPORT_ROWS if whole else query.limit or DEFAULT_LIMIT
    page = read(limit, query.page_token.key if query.page_token else None, query.offset)
    if not whole:
        limits.spend_rows(page.lines.count(b"\n"))
    if not page.lines:
        for argument in ONE_INSTRUMENT:
            if argument in query.filters:
                refuse_unknown(argument, [query.filters[argument]])
    following = page.following and paging.page_token(listing, query.order, query.filters, page.following)
    token = paging.encode(following) if following else None
    named = {name: query.filters[name] for name in head}
    if query.format == "json":
        return _json_page({**named, rows: [], **tail, "next_page_token": token}, page)
    header = listing.header if query.format == "csv" else b""
    response = _stream(header, query.format, page, read) if whole and page.following else _page(header, query.format, page, token)
    return _as_file(response, "_".join([*named.values(), rows]), query.format)


def bounded(query: ListQuery) -> ListQuery:
    """Return the query with both bounds of time.

    Without `end` it ends as far ahead as a live record may be: rows further ahead come from
    versions that stored them.
    """
    app = context()
    end = query.end or format_time(app.clock() + timedelta(seconds=app.settings.source_max_ahead_seconds))
    return replace(query, start=query.start or _FIRST, end=end)


def ends_now(query: ListQuery) -> ListQuery:
    """Return the query; without `end`, one that holds no candle that begins after now."""
    return query if query.end is not None else replace(query, end=format_time(context().clock() + _MOMENT))


def export(lines: bytes, kind: str, name: str) -> Response:
    """Return a short CSV or NDJSON file, whole."""
    return _as_file(Response(lines, content_type=_TYPES[kind]), name, kind)


def _as_file(response: Response, name: str, kind: str) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return response


def row_filter(query: ListQuery) -> RowFilter:
    """Return the selection of rows of a query."""
    return RowFilter(query.filters, query.start, query.end, descending=query.order == "desc", given=query.given)


def _reader(listing: Listing, query: ListQuery) -> ReadPage:
    """Return a function that reads one page of the query, in a transaction of its own."""
    instruments = readable() if listing.instruments else None
    wanted = replace(row_filter(query), instruments=instruments)
    form: Form = "csv" if query.format == "csv" else "json"
    reads = context().reads

    def read(limit: int, after: Key | None, offset: int = 0) -> Page:
        return reads.read(lambda cursor: read_page(cursor, listing, wanted, limit, form, after, offset))

    return read


def _json_page(body: Mapping[str, Any], page: Page) -> Response:
    """Put the rows, which PostgreSQL has written as JSON, into the body's empty list, unparsed."""
    before, behind = orjson.dumps(dict(body)).rsplit(b"[]", 1)
    return Response(b"".join((before, b"[", page.lines[:-1].replace(b"\n", b","), b"]", behind)), content_type="application/json")


def _page(header: bytes, kind: str, page: Page, token: str | None) -> Response:
    response = Response(header + page.lines, content_type=_TYPES[kind])
    if token:
        response.headers["X-Next-Page-Token"] = token
    return response


def _stream(header: bytes, kind: str, page: Page, read: ReadPage) -> Response:
    held = take_for_export()
    response = Response(_pieces(header, page, read), content_type=_TYPES[kind])
    hold(response, held)
    return response


def _pieces(header: bytes, page: Page, read: ReadPage) -> Iterator[bytes]:
    """Yield page after page.

    A slow client occupies neither memory nor a database connection. A failure is raised: the server
    then closes the connection without the last chunk, and no client takes the file for complete.
    """
    yield header + page.lines
    while page.following is not None:
        page = read(EXPORT_ROWS, page.following)
        yield page.lines
