"""Page tokens: opaque to clients, and nothing but a place to go on from to us."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from db.listing.query import Key, Listing


@dataclass(frozen=True, slots=True)
class PageToken:
    """The last row that a client has, and what was listed: the order, and the values of the filters, None where not given."""

    listing: Listing
    order: str
    filters: tuple[str | None, ...]
    key: Key


def page_token(listing: Listing, query: Mapping[str, Any], key: Key) -> PageToken:
    """The place of a row among those that `query` asks for."""
    return PageToken(listing, query["order"], tuple(query.get(column.name) for column in listing.filters), key)


def encode(at: PageToken) -> str:
    """The token of a place."""
    return base64.urlsafe_b64encode(orjson.dumps([at.listing.name, at.order, at.filters, *at.key])).decode().rstrip("=")


def decode(listing: Listing, token: str) -> PageToken:
    """The place of a token; `ValueError` where it is none of this listing. A forged one is harmless: it only says where to go on."""
    parts = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    if not isinstance(parts, list) or len(parts) != 3 + len(listing.key):
        raise ValueError("too few or too many parts")
    name, order, values, *key = parts
    if name != listing.name or not isinstance(order, str) or not isinstance(values, list):
        raise ValueError("of another listing, or parts of the wrong type")
    return PageToken(listing, order, tuple(values), listing.check_key(key))
