"""Waiting with a deadline, and the durations of a measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from tests.bench.servers import BenchError

_PAUSE_SECONDS = 0.05


def until(condition: Callable[[], object], seconds: float, what: Callable[[], str]) -> None:
    """Poll until the condition is true. Raises `BenchError` after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what()} did not come within {seconds:g} s")
        time.sleep(_PAUSE_SECONDS)


def seconds_of(quick: bool) -> float:
    """The length of a measurement."""
    return 8.0 if quick else 60.0


def warm_seconds_of(quick: bool) -> float:
    """The time before it."""
    return 2.0 if quick else 8.0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed; NaN if there is none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
