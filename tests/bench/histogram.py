"""Latencies in 10 µs buckets: as many as one likes in a fixed amount of memory."""

from __future__ import annotations

from array import array

_PER_SECOND = 100_000
_BUCKETS = 60 * _PER_SECOND  # beyond a minute all are alike


class Histogram:
    """Delivery counts by latency."""

    def __init__(self) -> None:
        self._counts = array("L", [0]) * (_BUCKETS + 1)
        self._highest = 0

    def add(self, seconds: float, count: int) -> None:
        """Count `count` deliveries that took `seconds`."""
        bucket = int(seconds * _PER_SECOND)
        if bucket > self._highest:
            self._highest = bucket = min(bucket, _BUCKETS)
        self._counts[bucket if bucket > 0 else 0] += count

    def clear(self) -> None:
        """Reset all counts."""
        used = self._highest + 1
        self._counts[:used] = array("L", [0]) * used
        self._highest = 0

    def percentiles(self, *wanted: float) -> list[float | None]:
        """The latency in seconds that this share of all deliveries did not exceed.

        Shares ascend, each from 0 to 1.
        """
        total = sum(self._counts[: self._highest + 1])
        found: list[float | None] = []
        seen = bucket = 0
        for share in wanted:
            while total and bucket <= self._highest and seen + self._counts[bucket] < share * total:
                seen += self._counts[bucket]
                bucket += 1
            found.append((bucket + 0.5) / _PER_SECOND if total else None)
        return found
