"""The query of a listing, and its page tokens, which are opaque to clients."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import orjson

from db.listing.query import Key, Listing

MAX_TOKEN_LENGTH = 2048
TOKEN_PATTERN = "^[A-Za-z0-9_-]{8,}={0,2}$"  # noqa: S105 - no secret

_is_token = re.compile(TOKEN_PATTERN.strip("^$")).fullmatch

Format = Literal["json", "csv", "ndjson"]


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A request for rows of a listing with `start` <= time < `end`.

    Both times are in contract form, None if open. `filters` are the listing's own arguments by
    name, without those that were not given. `limit` is None for the default of the format. `offset`
    rows are left out. `given` is that of `RowFilter`.
    """

    filters: Mapping[str, str]
    start: str | None
    end: str | None
    order: str
    limit: int | None
    format: Format
    page_token: PageToken | None
    offset: int = 0
    given: str = "[]"


@dataclass(frozen=True, slots=True)
class PageToken:
    """The last row of a page by its key, with the order and the values of the listing's filters.

    A filter that was not given is None.
    """

    listing: Listing
    order: str
    filters: tuple[str | None, ...]
    key: Key


def page_token(listing: Listing, order: str, filters: Mapping[str, str], key: Key) -> PageToken:
    """Return the token of a row of a query with that order and those filters."""
    return PageToken(listing, order, tuple(filters.get(column.name) for column in listing.filters), key)


def is_token(text: str) -> bool:
    """Return True if the text has the form of a token."""
    return len(text) <= MAX_TOKEN_LENGTH and _is_token(text) is not None


def encode(token: PageToken) -> str:
    """Return the text of a token."""
    content = [token.listing.name, token.order, token.filters, *token.key]
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def decode(listing: Listing, text: str) -> PageToken:
    """Return the token of a text. Raises `ValueError` if it is no token of this listing.

    A forged token is harmless: it only selects the row after which a page begins.
    """
    parts = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if not isinstance(parts, list) or len(parts) != 3 + len(listing.key):
        raise ValueError("too few or too many parts")
    name, order, values, *key = parts
    if name != listing.name or not isinstance(order, str) or not isinstance(values, list):
        raise ValueError("of another listing, or parts of the wrong type")
    return PageToken(listing, order, tuple(values), listing.check_key(key))
