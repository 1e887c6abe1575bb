"""Counts and histograms that the objects of each layer keep; collectors read them.

Every layer may import this module. It imports nothing of ours and no metrics library.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence


class Counts:
    """One number for each combination of label values. Any thread may call it."""

    def __init__(self, *known: tuple[str, ...]) -> None:
        """Begin with 0 for each of the `known` combinations."""
        self._lock = threading.Lock()  # held for less than a microsecond
        self._values: dict[tuple[str, ...], float] = dict.fromkeys(known, 0)

    def add(self, *labels: str, by: float = 1) -> None:
        """Add to the number of these label values."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + by

    def values(self) -> dict[tuple[str, ...], float]:
        """Label values -> number, as a copy."""
        with self._lock:
            return dict(self._values)


class Lags:
    """A histogram of one loop: how many values lie between two bounds, and their sum.

    One thread observes; any thread may read. A value that equals a bound counts in the bucket of
    that bound.
    """

    __slots__ = ("_counts", "_largest", "_sum", "bounds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """`bounds` are ascending and without infinity."""
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._largest = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count one value, which stands for `times` values.

        A negative one, after a step of a clock, counts as 0.
        """
        if value < 0.0:
            value = 0.0
        elif value > self._largest:
            self._largest = value
        self._counts[bisect_left(self.bounds, value)] += times
        self._sum += value * times

    def read(self) -> tuple[list[int], float]:
        """Counts per bucket, not cumulative, the last one above all bounds; and the sum."""
        return list(self._counts), self._sum

    @property
    def total(self) -> float:
        """The sum of the values."""
        return self._sum

    def take_max(self) -> float:
        """The largest value since the last call; 0 without values."""
        found, self._largest = self._largest, 0.0
        return found


class Buckets(Lags):
    """The same for many threads: a lock guards each call."""

    __slots__ = ("_lock",)

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """`bounds` are ascending and without infinity."""
        super().__init__(bounds)
        self._lock = threading.Lock()  # held for less than a microsecond

    def observe(self, value: float, times: int = 1) -> None:
        """Count one value, which stands for `times` values."""
        with self._lock:
            super().observe(value, times)

    def read(self) -> tuple[list[int], float]:
        """Counts per bucket, not cumulative, the last one above all bounds; and the sum."""
        with self._lock:
            return super().read()

    def take_max(self) -> float:
        """The largest value since the last call; 0 without values."""
        with self._lock:
            return super().take_max()


class Many:
    """One histogram with the same bounds for each combination of label values."""

    def __init__(self, bounds: tuple[float, ...], *known: tuple[str, ...]) -> None:
        """Begin with an empty histogram for each of the `known` combinations."""
        self.bounds = bounds
        self._lock = threading.Lock()
        self._buckets = {labels: Buckets(bounds) for labels in known}

    def observe(self, value: float, *labels: str) -> None:
        """Count one value of these label values."""
        self.get(*labels).observe(value)

    def get(self, *labels: str) -> Buckets:
        """The histogram of these label values; an empty one if they are new."""
        found = self._buckets.get(labels)
        if found is None:
            with self._lock:
                found = self._buckets.setdefault(labels, Buckets(self.bounds))
        return found

    def items(self) -> list[tuple[tuple[str, ...], Buckets]]:
        """Label values and their histograms."""
        with self._lock:
            return list(self._buckets.items())


def total(histograms: Sequence[Buckets]) -> Buckets:
    """The sum of histograms with the same bounds; at least one."""
    found = Buckets(histograms[0].bounds)
    for each in histograms:
        counts, values = each.read()
        found._counts = [one + other for one, other in zip(found._counts, counts, strict=True)]
        found._sum += values
    return found
