"""Proposals for a file of no known format: the nearest formats, and its columns by name. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobs.feeds.files.formats.columns import PRICES
from jobs.feeds.files.formats.format import Format

_AT_MOST = 3
_SHOWN_COLUMNS = 2
# Field -> words of names of columns.
_WORDS = {
    "time": {"time", "timestamp", "date", "datetime", "day", "moment"},
    "instrument": {"instrument", "symbol", "pair", "ticker"},
    "bid": {"bid", "bidprice"},
    "ask": {"ask", "askprice", "offer"},
    **{price: {price, price[0]} for price in PRICES},
    "volume": {"volume", "vol", "qty", "quantity", "size"},
    "price": {"mid", "price", "last"},
}


def fields_of(columns: Sequence[str]) -> dict[str, str]:
    """Field -> the column whose name has a word of that field."""
    found: dict[str, str] = {}
    for column in columns:
        words = set(re.findall(r"[a-z]+", column.lower()))
        for field, known in _WORDS.items():
            if field not in found and words & known:
                found[field] = column.strip().strip('"')
                break
    return found


def nearest(columns: Sequence[str], formats: Sequence[Format]) -> dict[str, str]:
    """The names of at most three formats with the most fields in common, and their columns.

    Of equal ones, the last in the order of the tests is first: that of no vendor.
    """
    fields = fields_of(columns).keys()
    scores = {row.name: len(fields & set(row.fields)) for row in reversed(formats) if row.fields}
    best = sorted((name for name, common in scores.items() if common), key=lambda name: -scores[name])
    shown = {row.name: row.columns for row in reversed(formats) if row.name in best}
    return {name: shown[name] for name in best[:_AT_MOST]}


def proposal(columns: Sequence[str]) -> str:
    """The beginning of a value of `--columns` that fits the file."""
    found = fields_of(columns)
    names = [f"{field}={_quoted(column)}" for field, column in found.items() if field != "price"]
    if not names:
        return "time=#1,bid=#2" if columns and any(character.isdigit() for character in columns[0]) else "time=COLUMN,bid=COLUMN"
    return ",".join(names[:_SHOWN_COLUMNS])


def _quoted(column: str) -> str:
    return column if re.fullmatch(r"\w+", column) else f'"{column}"'
