"""Answering for a listing: a page as JSON, a page or everything as CSV or NDJSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import orjson
from flask import Response

from api.rest.context import context
from api.rest.routes.symbols import refuse_unknown
from api.rest.schemas import paging
from api.rest.schemas.listings import DEFAULT_LIMIT
from api.rest.slots import hold, take_for_export
from db.listing.query import Form, Key, Listing, Page, RowFilter, read_page

EXPORT_ROWS = 10_000  # of an export that are in memory, and in one query, at a time
EXPORTS = {"responses": {200: {"content": {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "application/x-ndjson")}}}}

_TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}

_SYMBOLS = ("symbol", "symbol1", "symbol2")  # arguments that name an instrument

ReadPage = Callable[[int, Key | None], Page]


def answer(
    listing: Listing,
    query: Mapping[str, Any],
    rows: str,
    about: tuple[str, ...] = ("symbol",),
    stored: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    """The rows that `query` (see `ListQuery`) asks for, in a field named `rows` behind the arguments `about`, which also name the file.

    `stored` has the values of filters that are stored other than they were asked for.

    JSON comes in pages. CSV and NDJSON without a `limit` give everything, whatever its length; with one, a page, whose
    `next_page_token` is the header `X-Next-Page-Token`. An export that breaks off ends without its last chunk.
    """
    kind = query["format"]
    whole = kind != "json" and "limit" not in query
    read = _reader(listing, {**query, **stored})
    page = read(EXPORT_ROWS if whole else query.get("limit", DEFAULT_LIMIT), query["page_token"].key if "page_token" in query else None)
    if not page.lines:
        _refuse_unknown(query)
    token = paging.encode(paging.page_token(listing, query, page.following)) if page.following else None
    if kind == "json":
        return _json_page({name: query[name] for name in about}, rows, page, token)
    header = listing.header if kind == "csv" else b""
    response = _stream(header, kind, page, read) if whole and page.following else _part(header, kind, page, token)
    return _as_file(response, "_".join([*(query[name] for name in about), rows]), kind)


def export(lines: bytes, kind: str, name: str) -> Response:
    """A short CSV or NDJSON file, whole."""
    return _as_file(Response(lines, content_type=_TYPES[kind]), name, kind)


def _as_file(response: Response, name: str, kind: str) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return response


def _refuse_unknown(query: Mapping[str, Any]) -> None:
    for argument in _SYMBOLS:
        if argument in query:
            refuse_unknown(argument, [query[argument]])


def _reader(listing: Listing, query: Mapping[str, Any]) -> ReadPage:
    """Reads one page of what the query asks for, in a transaction of its own."""
    chosen = {column.name: query[column.name] for column in listing.filters if column.name in query}
    part = RowFilter(chosen, query.get("start"), query.get("end"), descending=query["order"] == "desc")
    form: Form = "csv" if query["format"] == "csv" else "json"
    store = context().store

    def read(limit: int, after: Key | None) -> Page:
        with store.transaction() as cursor:
            return read_page(cursor, listing, part, limit, form, after)

    return read


def _json_page(head: Mapping[str, str], rows: str, page: Page, token: str | None) -> Response:
    """The rows are JSON already, as PostgreSQL wrote them: they are joined, not read."""
    before, behind = orjson.dumps({**head, rows: [], "next_page_token": token}).rsplit(b"[]", 1)
    return Response(b"".join((before, b"[", page.lines[:-1].replace(b"\n", b","), b"]", behind)), content_type="application/json")


def _part(header: bytes, kind: str, page: Page, token: str | None) -> Response:
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
    """Page after page, so that neither memory nor a database connection is held while a slow client reads. A failure is
    raised: the server then closes the connection without the last chunk, and nobody takes a part for the whole."""
    yield header + page.lines
    while page.following is not None:
        page = read(EXPORT_ROWS, page.following)
        yield page.lines
