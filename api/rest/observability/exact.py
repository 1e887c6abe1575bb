"""Answers in which decimals are JSON number literals with all their digits."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from flask import Response

JSON = "application/json"


def exact(body: Mapping[str, Any], status: int = 200) -> Response:
    """Return the body as JSON; the `Decimal`s in it are finite. No float is made of them.

    NaN becomes null.
    """
    return Response(orjson.dumps(body, default=_literal), status, content_type=JSON)


def literal(text: str | None) -> orjson.Fragment | None:
    """Return the JSON number of a decimal text, as PostgreSQL writes it; None stays None."""
    return None if text is None else orjson.Fragment(text)


def _literal(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value if value else abs(value), "f"))
    raise TypeError(f"no JSON form of {type(value).__name__}")
