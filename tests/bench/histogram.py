"""Latencies in buckets of 10 µs, in a fixed amount of memory."""

from __future__ import annotations

from array import array

_PER_SECOND = 100_000
_BUCKETS = 60 * _PER_SECOND  # the last bucket counts everything above one minute


class Histogram:
    """Delivery counts by latency."""

    def __init__(self) -> None:
        self._counts = array("L", bytes(array("L").itemsize * (_BUCKETS + 1)))
        self._highest = 0

    def add(self, seconds: float, count: int) -> None:
        """Count `count` deliveries that took `seconds`."""
        bucket = int(seconds * _PER_SECOND)
        if bucket > self._highest:
            self._highest = bucket = min(bucket, _BUCKETS)
        self._counts[bucket if bucket > 0 else 0] += count

    def clear(self) -> None:
        """Reset all counts."""
        for bucket in range(self._highest + 1):
            self._counts[bucket] = 0
        self._highest = 0

    def percentiles(self, *wanted: float) -> list[float | None]:
        """Return the latency in seconds for each share of deliveries (ascending, 0 to 1).

        The values are None if there are no deliveries.
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
