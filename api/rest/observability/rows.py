"""Listings whose rows Python computes: pages of JSON lines or CSV, as `db/listing` makes them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from db.listing.query import Form, Key, Listing, Page

Row = Mapping[str, Any]


def page_of(listing: Listing, rows: Iterable[Row], limit: int, form: Form) -> Page:
    """Return up to `limit` of the rows, which are in order and behind the page before."""
    found = list(islice(rows, limit + 1))
    lines = _csv(listing, found[:limit]) if form == "csv" else b"".join(_line(listing, row) for row in found[:limit])
    if len(found) <= limit:
        return Page(lines, None)
    return Page(lines, key_of(listing, found[limit - 1]))


def behind(listing: Listing, rows: Iterable[Row], after: Key | None, *, descending: bool = False) -> Iterator[Row]:
    """Yield the rows behind a key, of rows in the order of their keys."""
    for row in rows:
        key = key_of(listing, row)
        if after is None or (key < after if descending else key > after):
            yield row


def key_of(listing: Listing, row: Row) -> Key:
    """Return the key of a row."""
    return tuple(row[name] for name in listing.key)


def _line(listing: Listing, row: Row) -> bytes:
    return orjson.dumps({column.name: row[column.name] for column in listing.columns}, option=orjson.OPT_APPEND_NEWLINE)


def _csv(listing: Listing, rows: Iterable[Row]) -> bytes:
    """Return the rows as PostgreSQL writes them: `t` and `f` for booleans, nothing for NULL."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow([_csv_value(row[column.name]) for column in listing.columns])
    return buffer.getvalue().encode()


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "t" if value else "f"
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value
