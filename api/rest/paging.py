"""Page tokens: opaque to clients, and nothing but a place to go on from to us."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import orjson

from db.prices import PriceKey
from db.timestamps import format_time, parse_time


@dataclass(frozen=True, slots=True)
class Place:
    """The last row that a client has, and the listing it belongs to."""

    symbol: str
    order: str
    key: PriceKey


def encode(place: Place) -> str:
    """The token of a place."""
    key = place.key
    return base64.urlsafe_b64encode(orjson.dumps([place.symbol, place.order, key.time, key.epoch, key.seq])).decode().rstrip("=")


def decode(token: str) -> Place:
    """The place of a token; `ValueError` where it is none. A forged one is harmless: it only says where to go on."""
    parts = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    if not isinstance(parts, list) or len(parts) != 5:
        raise ValueError("not five parts")
    symbol, order, time, epoch, seq = parts
    if not all(isinstance(text, str) for text in (symbol, order, time, epoch)) or "\0" in epoch or not _is_bigint(seq):
        raise ValueError("parts of the wrong type")
    return Place(symbol, order, PriceKey(format_time(parse_time(time)), epoch, seq))


def _is_bigint(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63
