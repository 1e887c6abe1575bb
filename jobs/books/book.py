"""An order book in memory: levels by price, best first, with a window and a checksum. Pure.

A level is the text of the exchange, `[price, quantity]`, kept as received. A side is a dictionary
from key to level and a sorted list of keys, best last: most changes are near the best level, and
the end of a list is moved fast. The key is `float(price)`, of asks with the opposite sign. It only
orders levels: two different prices below 16 significant digits never have the same float.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from db.figures.book_checksum import CHECKSUM_LEVELS as CHECKSUM_LEVELS
from db.figures.book_checksum import checksum_of as checksum_of

Level = list[str]  # [price, quantity], never changed after its arrival
Levels = list[Level]
Window = tuple[str | None, str | None]  # lowest bid and highest ask; None: that side has no bound

# Quantities of zeros as exchanges send them: without a second zero before the point.
_ZEROS = frozenset({"0", *(f"0.{'0' * digits}" for digits in range(1, 25))})
MAX_DIGITS = 15  # of a price, without zeros at both ends: every such decimal has a float of its own
_UNCHECKED_TEXT = MAX_DIGITS  # characters: a text of this length or less needs no count


@dataclass(frozen=True, slots=True)
class Complete:
    """The number of levels held a side, and the window that contains them."""

    bids: int
    asks: int
    low: str | None
    high: str | None


class Best(NamedTuple):
    """The best levels of one side with their keys, best first: the greatest key comes first."""

    keys: list[float]
    levels: Levels


class Written:
    """The levels that a book has written since a reader began to watch it.

    Each side is a dictionary key -> the level before, None without one. Keys below the end of the
    reader's levels are left out.
    """

    __slots__ = ("ask_end", "asks", "bid_end", "bids")

    def __init__(self, bid_end: float = math.inf, ask_end: float = math.inf) -> None:
        self.bid_end, self.ask_end = bid_end, ask_end
        self.bids: dict[float, Level | None] = {}
        self.asks: dict[float, Level | None] = {}


class Book:
    """Both sides of one instrument.

    With a `window`, levels outside it are ignored: bids below its lowest bid, asks above its
    highest ask. With `max_depth`, each side is cut to that many levels after every message.
    Texts of quantities are not checked here: `jobs.books.messages` checks whole messages.
    """

    __slots__ = ("_ask_keys", "_asks", "_bid_keys", "_bids", "_high", "_low", "_max_depth", "window", "written")

    def __init__(self, window: Window | None = None, max_depth: int | None = None) -> None:
        self.window: Window = window or (None, None)
        low, high = self.window
        self._low = -math.inf if low is None else float(low)
        self._high = -math.inf if high is None else -float(high)
        self._max_depth = max_depth
        self.written = Written()  # for the reader that has set it
        self._bids: dict[float, Level] = {}
        self._asks: dict[float, Level] = {}
        self._bid_keys: list[float] = []
        self._ask_keys: list[float] = []

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Forget all levels and take these, inside the window; raises like `apply`."""
        self._bids, self._asks, self._bid_keys, self._ask_keys = {}, {}, [], []
        self.written = Written()
        self.apply(bids, asks)

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take changed levels: absolute quantities; a quantity of zeros removes the level.

        Raises ValueError or TypeError if a level is no pair of decimals, or if a price has more
        than 15 significant digits. The levels before it are then applied: give up the book.
        """
        written, zeros = self.written, _ZEROS
        for held, keys, worst, is_ask, end, before, levels in (
            (self._bids, self._bid_keys, self._low, False, written.bid_end, written.bids, bids),
            (self._asks, self._ask_keys, self._high, True, written.ask_end, written.asks, asks),
        ):
            for level in levels:
                price, quantity = level
                if len(price) > _UNCHECKED_TEXT:
                    check_digits(price)
                key = -float(price) if is_ask else float(price)
                if key >= worst:  # never true for NaN
                    if key >= end and key not in before:
                        before[key] = held.get(key)
                    if quantity in zeros:
                        if held.pop(key, None) is not None:
                            del keys[bisect_left(keys, key)]
                    elif key in held:
                        held[key] = level
                    else:
                        insort(keys, key)
                        held[key] = level
        if self._max_depth is not None:
            self._cut(self._max_depth)

    def top(self, levels: int) -> tuple[Levels, Levels]:
        """The best bids and asks, at most `levels` of each, best first."""
        return self.best_bids(levels).levels, self.best_asks(levels).levels

    def best_bids(self, levels: int) -> Best:
        """The best bids with their keys, at most `levels`."""
        keys = self._bid_keys[: -levels - 1 : -1]
        return Best(keys, [*map(self._bids.__getitem__, keys)])

    def best_asks(self, levels: int) -> Best:
        """The best asks with their keys, at most `levels`."""
        keys = self._ask_keys[: -levels - 1 : -1]
        return Best(keys, [*map(self._asks.__getitem__, keys)])

    @property
    def bid_at(self) -> Callable[[float], Level | None]:
        """The function that returns the bid of a key."""
        return self._bids.get

    @property
    def ask_at(self) -> Callable[[float], Level | None]:
        """The function that returns the ask of a key."""
        return self._asks.get

    @property
    def complete(self) -> Complete:
        """The levels held a side and the window."""
        return Complete(len(self._bid_keys), len(self._ask_keys), *self.window)

    @property
    def best(self) -> tuple[Level, Level]:
        """The best bid and the best ask; raises IndexError if a side is empty."""
        return self._bids[self._bid_keys[-1]], self._asks[self._ask_keys[-1]]

    @property
    def is_crossed(self) -> bool:
        """True if the best bid is at or above the best ask."""
        return bool(self._bid_keys and self._ask_keys) and self._bid_keys[-1] >= -self._ask_keys[-1]

    @property
    def has_both_sides(self) -> bool:
        """True if each side has a level."""
        return bool(self._bid_keys and self._ask_keys)

    def needs_refresh(self, levels: int) -> bool:
        """True if a side has fewer levels and a bound, so that a new snapshot proves more."""
        return (len(self._bid_keys) < levels and self.window[0] is not None) or (
            len(self._ask_keys) < levels and self.window[1] is not None
        )

    def checksum(self, levels: int = CHECKSUM_LEVELS) -> int:
        """`checksum_of` the best levels."""
        return checksum_of(*self.top(levels))

    def equals(self, other: Book) -> bool:
        """True if both books have the same prices and quantities inside both windows."""
        low, high = max(self._low, other._low), max(self._high, other._high)
        return all(map(_same, self._inside(low, high), other._inside(low, high)))

    def _inside(self, low: float, high: float) -> tuple[Levels, Levels]:
        """The levels with keys from the bounds on, worst first."""
        bids, asks = self._bid_keys, self._ask_keys
        return [self._bids[key] for key in bids[bisect_left(bids, low) :]], [self._asks[key] for key in asks[bisect_left(asks, high) :]]

    def _cut(self, depth: int) -> None:
        """Remove the worst levels beyond `depth`."""
        written = self.written
        for held, keys, before in ((self._bids, self._bid_keys, written.bids), (self._asks, self._ask_keys, written.asks)):
            while len(keys) > depth:
                key = keys.pop(0)
                before.setdefault(key, held.pop(key))


def check_digits(price: str) -> None:
    """Raise ValueError if the price has more than 15 significant digits."""
    whole, _, fraction = price.partition(".")
    if len((whole + fraction.rstrip("0")).lstrip("0")) > MAX_DIGITS:
        raise ValueError(f"price with more than {MAX_DIGITS} significant digits: {price[:40]!r}")


def _same(one: Levels, other: Levels) -> bool:
    """Compare levels: first as texts, which are equal in almost every case, then as decimals."""
    return one == other or (
        len(one) == len(other) and all(mine == theirs or all(map(_equal, mine, theirs)) for mine, theirs in zip(one, other, strict=True))
    )


def _equal(one: str, other: str) -> bool:
    return one == other or Decimal(one) == Decimal(other)
