"""An order book in memory: levels by price, best first, with a window and a checksum. Pure.

A level is the text of the exchange, `[price, quantity]`, kept as received. A side is a dictionary
from key to level and a sorted list of keys. The key is `float(price)` and only orders levels: two
different prices below 16 significant digits never have the same float.
"""

from __future__ import annotations

import math
import zlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

Level = list[str]  # [price, quantity], never changed after its arrival
Levels = list[Level]
Window = tuple[str | None, str | None]  # lowest bid and highest ask; None: that side has no bound

# Quantities of zeros in the usual notations; others are found by their value.
_ZEROS = frozenset({"0", *(f"0.{'0' * digits}" for digits in range(1, 25))})
CHECKSUM_LEVELS = 10
MAX_DIGITS = 15  # of a price, without zeros at both ends: every such decimal has a float of its own
MAX_PRICE_TEXT = MAX_DIGITS + 1  # characters; a shorter text needs no count


@dataclass(frozen=True, slots=True)
class Complete:
    """The number of levels held a side, and the window that contains them."""

    bids: int
    asks: int
    low: str | None
    high: str | None


class Book:
    """Both sides of one instrument.

    With a `window`, levels outside it are ignored: bids below its lowest bid, asks above its
    highest ask. With `max_depth`, each side is cut to that many levels after every message.
    Texts of quantities are not checked here: `jobs.books.messages` checks whole messages.
    """

    __slots__ = ("_ask_keys", "_asks", "_bid_keys", "_bids", "_high", "_low", "_max_depth", "window")

    def __init__(self, window: Window | None = None, max_depth: int | None = None) -> None:
        self.window: Window = window or (None, None)
        low, high = self.window
        self._low = -math.inf if low is None else float(low)
        self._high = math.inf if high is None else float(high)
        self._max_depth = max_depth
        self._bids: dict[float, Level] = {}
        self._asks: dict[float, Level] = {}
        self._bid_keys: list[float] = []  # ascending, best last
        self._ask_keys: list[float] = []  # ascending, best first

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Forget all levels and take these, inside the window; raises like `apply`."""
        self._bids, self._asks, self._bid_keys, self._ask_keys = {}, {}, [], []
        self.apply(bids, asks)

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take changed levels: absolute quantities; a quantity of zeros removes the level.

        Raises ValueError or TypeError if a level is no pair of decimals, or if a price has more
        than 15 significant digits. The levels before it are then applied: give up the book.
        """
        # Two loops with local names: this is the hot path, and a shared function costs 15 % more.
        # NaN fails both comparisons, so it never becomes a key.
        held, keys, low = self._bids, self._bid_keys, self._low
        for level in bids:
            price, quantity = level
            if len(price) > MAX_PRICE_TEXT:
                check_digits(price)
            key = float(price)
            if key >= low:
                if quantity in _ZEROS:
                    if held.pop(key, None) is not None:
                        del keys[bisect_left(keys, key)]
                else:
                    if key not in held:
                        insort(keys, key)
                    held[key] = level
        held, keys, high = self._asks, self._ask_keys, self._high
        for level in asks:
            price, quantity = level
            if len(price) > MAX_PRICE_TEXT:
                check_digits(price)
            key = float(price)
            if key <= high:
                if quantity in _ZEROS:
                    if held.pop(key, None) is not None:
                        del keys[bisect_left(keys, key)]
                else:
                    if key not in held:
                        insort(keys, key)
                    held[key] = level
        if self._max_depth is not None:
            self._cut()

    def top(self, levels: int) -> tuple[Levels, Levels]:
        """The best bids and asks, at most `levels` of each, best first."""
        bids, asks = self._bids, self._asks
        return [bids[key] for key in self._bid_keys[: -levels - 1 : -1]], [asks[key] for key in self._ask_keys[:levels]]

    @property
    def complete(self) -> Complete:
        """The levels held a side and the window."""
        return Complete(len(self._bid_keys), len(self._ask_keys), *self.window)

    @property
    def is_crossed(self) -> bool:
        """True if the best bid is at or above the best ask."""
        return bool(self._bid_keys and self._ask_keys) and self._bid_keys[-1] >= self._ask_keys[0]

    @property
    def has_both_sides(self) -> bool:
        """True if each side has a level."""
        return bool(self._bid_keys and self._ask_keys)

    @property
    def best(self) -> tuple[Level, Level]:
        """The best bid and the best ask; raises IndexError if a side is empty."""
        return self._bids[self._bid_keys[-1]], self._asks[self._ask_keys[0]]

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
        low, high = max(self._low, other._low), min(self._high, other._high)
        return _same(self._bids_from(low), other._bids_from(low)) and _same(self._asks_to(high), other._asks_to(high))

    def _bids_from(self, low: float) -> Levels:
        return [self._bids[key] for key in self._bid_keys[bisect_left(self._bid_keys, low) :]]

    def _asks_to(self, high: float) -> Levels:
        return [self._asks[key] for key in self._ask_keys[: bisect_right(self._ask_keys, high)]]

    def _cut(self) -> None:
        """Remove the worst levels beyond `max_depth`."""
        depth = self._max_depth
        if depth is None:
            return
        while len(self._bid_keys) > depth:
            del self._bids[self._bid_keys.pop(0)]
        while len(self._ask_keys) > depth:
            del self._asks[self._ask_keys.pop()]


def checksum_of(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """Unsigned CRC32 of `bid price:bid quantity:ask price:ask quantity` in turns, joined by `:`.

    A shorter side is skipped.
    """
    texts: list[str] = []
    for bid, ask in zip(bids, asks, strict=False):
        texts += bid
        texts += ask
    both = min(len(bids), len(asks))
    for level in (*bids[both:], *asks[both:]):
        texts += level
    return zlib.crc32(":".join(texts).encode("ascii"))


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
