"""Sums over the common observations of each two instruments, as matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from jobs.analytics.pairs import scaled
from jobs.analytics.returns import Floats

LARGE = 256  # instruments; from here on time matters more than the last digits
_ROWS = 64  # rows prepared at a time, which fit into the processor's cache
_TINY = 1e-40  # sums of squares above it, and below its inverse, neither vanish nor overflow, not in single precision either
_ERROR = 5e-10  # largest error of a correlation that single precision may cause
_SINGLE = 2.0**-24  # its rounding error

T = TypeVar("T", np.float32, np.float64)


class Sums(NamedTuple):
    """Sums for each of some rows over the values shared with each column; (rows, columns)."""

    values: NDArray[np.floating]
    squares: Floats

    def part(self, rows: slice, columns: slice) -> Sums:
        return Sums(self.values[rows, columns], self.squares[rows, columns])

    def turned(self) -> Sums:
        return Sums(self.values.T, self.squares.T)


class Room:
    """Memory for products, shared by all tiles; (pieces, elements)."""

    def __init__(self, memory: Floats) -> None:
        self._pieces = memory

    def product(self, piece: int, first: NDArray[T], second: NDArray[T]) -> NDArray[T]:
        """first @ second.T, in this piece."""
        result: NDArray[T] = self._pieces[piece].view(first.dtype)[: len(first) * len(second)].reshape(len(first), len(second))
        np.matmul(first, second.T, out=result)
        return result


@dataclass(frozen=True, slots=True)
class Centred:
    """Returns minus their instrument's mean, 0 if missing; each (instruments, periods) or
    (instruments, 1).
    """

    values: Floats
    squares: Floats
    present: Floats  # 1 or 0
    # For the fast method:
    single: NDArray[np.float32]  # the values
    missing: NDArray[np.float32]  # 1 or 0: counts are exact in single precision
    holes: NDArray[np.float32]  # number of missing values
    total: Floats  # Σx: about 0 after centring, up to rounding
    spread: Floats  # root mean square

    @classmethod
    def of(cls, returns: Floats, memory: Floats) -> Centred:
        """In `memory`, four times the size of `returns`."""
        values, squares, present, halves = memory.reshape(4, *returns.shape)
        single, missing = halves.reshape(-1).view(np.float32).reshape(2, *returns.shape)
        made = cls(values, squares, present, single, missing, np.empty((len(returns), 1), np.float32), *np.empty((2, len(returns), 1)))
        for first in range(0, len(returns), _ROWS):
            made._fill(slice(first, first + _ROWS), returns[first : first + _ROWS])
        return made

    def _fill(self, rows: slice, returns: Floats) -> None:
        values, present = self.values[rows], self.present[rows]
        missing = ~np.isfinite(returns)
        np.copyto(self.missing[rows], missing)
        np.subtract(1.0, self.missing[rows], out=present)
        np.copyto(values, returns)
        np.copyto(values, 0.0, where=missing)
        numbers = present.sum(axis=1, keepdims=True)
        each = 1.0 / np.maximum(numbers, 1.0)
        values -= values.sum(axis=1, keepdims=True) * each
        values *= present
        with np.errstate(over="ignore", under="ignore"):
            size = np.einsum("it,it->i", values, values)[:, None]
        if not ((size > _TINY) & (size < 1 / _TINY)).all():
            values[:] = scaled(values)
            size = np.einsum("it,it->i", values, values)[:, None]
        np.multiply(values, values, out=self.squares[rows])
        np.copyto(self.single[rows], values)
        np.subtract(returns.shape[1], numbers, out=self.holes[rows], casting="same_kind")
        np.sum(values, axis=1, keepdims=True, out=self.total[rows])
        np.sqrt(size * each, out=self.spread[rows])


def counts(data: Centred, room: Room, piece: int, own: slice, other: slice) -> NDArray[np.float32]:
    """The number of observations that each two instruments have in common.

    It is all periods, minus those that one misses, plus those that both miss.
    """
    result = room.product(piece, data.missing[own], data.missing[other])
    result += data.values.shape[1] - data.holes[own]
    result -= data.holes[other].T
    return result


def sums(data: Centred, room: Room, pieces: tuple[int, int], own: slice, other: slice, fewest: float) -> Sums:
    """The sums of `own` over the values shared with `other`, in these pieces of the room.

    `fewest` observations, or more, matter. For centred values, the shared ones sum to the opposite
    of the others, which is smaller and needs few digits. An error d of Σx changes r by about 2 d Σx
    / (n Σx²), and d is less than half the precision times the root mean square times the number of
    terms. So for many instruments single precision is enough, unless correlations might lose more
    than `_ERROR`.
    """
    squares: Floats = room.product(pieces[1], data.squares[own], data.present[other])
    if len(data.values) >= LARGE:
        short = room.product(pieces[0], data.single[own], data.missing[other])
        np.subtract(data.total[own], short, out=short, casting="same_kind")
        farthest = np.maximum(short.max(axis=1, keepdims=True), -short.min(axis=1, keepdims=True))
        error = farthest * float(data.holes[other].max()) * _SINGLE * data.spread[own] / fewest
        if (error <= _ERROR * squares.min(axis=1, keepdims=True)).all():
            return Sums(short, squares)
    long: Floats = room.product(pieces[0], data.values[own], data.present[other])
    return Sums(long, squares)
