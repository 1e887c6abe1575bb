"""Durations and counts of the stages of this process, for its report.

A stage is a step on the way of a message:

| stage | process | from | to |
| --- | --- | --- | --- |
| `publish` | jobs | a batch of records was received | the bus accepted it |
| `store` | jobs | the writer began to store a batch | it was committed and acknowledged |
| `bus` | hub | the bus stamped a price | the relay read it |
| `fanout` | hub | the relay read a batch | it was handed to the sockets |
| `sockets` | hub | the bus stamped a price | it was handed to the sockets |

The hub measures the first price of a batch, which waited longest, up to ten times per second.
"""

from __future__ import annotations

import binascii
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

PUBLISH, STORE, BUS, FANOUT, SOCKETS = "publish", "store", "bus", "fanout", "sockets"
WINDOW_SECONDS = 60.0
SLOT_SECONDS = 10.0  # the window moves by one slot
# Between two encodings of the histograms, each about 1 ms: less than the 5 s between two large
# reports, so that each of these has new figures.
ENCODE_SECONDS = 4.0
MAX_DURATION_US = 60_000_000
_DIGITS = 3
_DAMAGED = (ValueError, IndexError, OverflowError, zlib.error, binascii.Error, HdrCookieException, HdrLengthException)


def new_histogram() -> HdrHistogram:
    """A histogram of microseconds, from 1 µs to 60 s with 3 significant digits."""
    return HdrHistogram(1, MAX_DURATION_US, _DIGITS)


@dataclass(slots=True)
class _Count:
    """A counter, and its earlier values within the window."""

    total: int = 0
    marks: deque[tuple[float, int]] = field(default_factory=deque)  # (monotonic time, total)


class Stages:
    """Durations and counts of this process. Any thread may call it; nothing waits."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()  # held for microseconds
        self._slots: dict[str, deque[tuple[int, HdrHistogram]]] = {}  # stage -> (slot, durations)
        self._counts: dict[str, _Count] = {}
        self._began = monotonic()
        self._part: dict[str, Any] = {}
        self._encoded_at = float("-inf")

    def record(self, stage: str, seconds: float) -> None:
        """Record one duration; a negative one, after a step of a clock, counts as 1 µs."""
        slot = int(self._monotonic() // SLOT_SECONDS)
        microseconds = min(MAX_DURATION_US, max(1, int(seconds * 1e6)))
        with self._lock:
            slots = self._slots.setdefault(stage, deque())
            if not slots or slots[-1][0] != slot:
                slots.append((slot, new_histogram()))
                _forget(slots, slot)
            slots[-1][1].record_value(microseconds)

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            count = self._counts.get(name)
            if count is None:
                began = max(self._began, self._monotonic() - WINDOW_SECONDS)
                count = self._counts[name] = _Count(marks=deque([(began, 0)]))
            count.total += number

    def part(self) -> dict[str, Any]:
        """The part `metrics` of a report: `counters`, `rates` per second, `stages`.

        Rates and stages cover the last 60 s. It is encoded again after 4 s.
        """
        now = self._monotonic()
        if now - self._encoded_at >= ENCODE_SECONDS:
            self._encoded_at = now
            with self._lock:
                self._part = {
                    "counters": {name: count.total for name, count in self._counts.items()},
                    "rates": {name: self._rate(count, now) for name, count in self._counts.items()},
                    "stages": {stage: text for stage in self._slots if (text := self._text(stage, now)) is not None},
                }
        return self._part

    def _rate(self, count: _Count, now: float) -> float:
        """Mean increase per second over the window, or since the start if that is later."""
        marks = count.marks
        marks.append((now, count.total))
        while len(marks) > 2 and marks[1][0] <= now - WINDOW_SECONDS:
            marks.popleft()
        since, total = marks[0]
        return round((count.total - total) / (now - since), 3) if now > since else 0.0

    def _text(self, stage: str, now: float) -> str | None:
        slots = self._slots[stage]
        _forget(slots, int(now // SLOT_SECONDS))
        if not slots:
            return None
        merged = new_histogram()
        for _, histogram in slots:
            merged.add(histogram)
        return bytes(merged.encode()).decode()


STAGES = Stages()  # of this process


def _forget(slots: deque[tuple[int, HdrHistogram]], slot: int) -> None:
    while slots and slots[0][0] < slot - int(WINDOW_SECONDS / SLOT_SECONDS):
        slots.popleft()


def merged(texts: Iterable[object]) -> HdrHistogram:
    """One histogram of all durations that other processes reported; damaged texts are left out."""
    found = new_histogram()
    for text in texts:
        try:
            found.add(HdrHistogram.decode(str(text).encode("ascii")))
        except _DAMAGED:
            continue
    return found


def percentiles_ms(histogram: HdrHistogram, *percentiles: float) -> tuple[float | None, ...]:
    """For each percentile, the smallest duration in ms that this percentage does not exceed."""
    count = int(histogram.get_total_count())
    if not count:
        return (None,) * len(percentiles)
    # The library rounds the rank; the percentage of a whole rank gives exactly that rank.
    exact = [100 * ceil(percentile * count / 100) / count for percentile in percentiles]
    values = histogram.get_percentile_to_value_dict(exact)
    return tuple(values[each] / 1000 for each in exact)


def stage_texts(parts: Iterable[Mapping[str, Any]]) -> dict[str, list[object]]:
    """stage -> histograms of all processes, from their parts `metrics`."""
    found: dict[str, list[object]] = {}
    for part in parts:
        stages = part.get("stages")
        for stage, text in stages.items() if isinstance(stages, dict) else ():
            found.setdefault(stage, []).append(text)
    return found
