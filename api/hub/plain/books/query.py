"""The options in the URL of `/ws`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api.hub.plain.query import read_options, refuse_option
from api.hub.plain.service import Options
from db.topics import BOOK_DEPTHS

DEFAULT_DEPTH = 20
_DEPTHS = {str(depth): depth for depth in BOOK_DEPTHS}
_NAMES = ("symbols", "depth")


@dataclass(frozen=True, slots=True)
class BookOptions(Options):
    """The choices of a client. `symbols` None is the default of all books that it may read."""

    symbols: tuple[str, ...] | None = None
    depth: int = DEFAULT_DEPTH


def read_query(query: str) -> BookOptions:
    """Return the options of a query string. Raises `Refusal` (`invalid_payload`)."""
    given = read_options(query, _NAMES)
    return BookOptions(_symbols(given), _depth(given))


def _symbols(given: Mapping[str, str]) -> tuple[str, ...] | None:
    if (text := given.get("symbols")) is None:
        return None
    names = tuple(dict.fromkeys(text.split(",")))
    if "" in names:
        refuse_option("symbols", "A comma list of instruments, for example `BTCUSDT,ETHUSDT`.")
    return names


def _depth(given: Mapping[str, str]) -> int:
    text = given.get("depth", str(DEFAULT_DEPTH))
    if text not in _DEPTHS:
        refuse_option("depth", f"One of {', '.join(_DEPTHS)}.")
    return _DEPTHS[text]
