"""Whether two captures of the same thing have the same shape, whatever the hour and the figures."""

from __future__ import annotations

from typing import Any


def difference(one: Any, other: Any, path: str = "") -> str | None:
    """Where two JSON values differ in fields or kinds, None where they do not. Null and an empty list or object agree with anything."""
    if one in (None, [], {}) or other in (None, [], {}):
        return None
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{path}: {sorted(one.keys() ^ other.keys())}"
        return next((found for key in one if (found := difference(one[key], other[key], f"{path}/{key}"))), None)
    if isinstance(one, list) and isinstance(other, list):
        strangers = [_stranger(each, other, path) for each in one] + [_stranger(each, one, path) for each in other]
        return next(filter(None, strangers), None)
    return None if _kind(one) == _kind(other) else f"{path}: {_kind(one)} and {_kind(other)}"


def _stranger(item: Any, others: list[Any], path: str) -> str | None:
    """Where the item differs from the last of the others, if it is like none of them."""
    found = [difference(item, other, f"{path}[]") for other in others]
    return None if None in found else found[-1]


def _kind(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__
