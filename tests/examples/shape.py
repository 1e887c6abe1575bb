"""Comparison of the shapes of two captured messages, apart from times and figures."""

from __future__ import annotations

from typing import Any


def difference(one: Any, other: Any, path: str = "") -> str | None:
    """Return the first difference of two JSON values in fields or kinds, or None.

    Null and an empty list or object agree with every value.
    """
    if one in (None, [], {}) or other in (None, [], {}):
        return None
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{path}: {sorted(one.keys() ^ other.keys())}"
        return next((found for key in one if (found := difference(one[key], other[key], f"{path}/{key}"))), None)
    if isinstance(one, list) and isinstance(other, list):
        unmatched = [_unmatched(each, other, path) for each in one] + [_unmatched(each, one, path) for each in other]
        return next(filter(None, unmatched), None)
    return None if _kind(one) == _kind(other) else f"{path}: {_kind(one)} and {_kind(other)}"


def _unmatched(item: Any, others: list[Any], path: str) -> str | None:
    """Return the difference from the last of the others if the item matches none, else None."""
    found = [difference(item, other, f"{path}[]") for other in others]
    return None if None in found else found[-1]


def _kind(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    if isinstance(value, str) and value.startswith("⟨"):  # of `exact`
        return "number"
    return type(value).__name__
