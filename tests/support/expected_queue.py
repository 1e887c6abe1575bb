"""Queue and status of a scenario by dw/dt = λ(t) - μ, w >= 0, integrated by NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from db.scenarios.recording import Recording
from tests.support.even_recordings import FOLDER

Floats = NDArray[np.float64]

GRID = 0.005  # seconds of the integration
_SECOND = round(1 / GRID)


@dataclass(frozen=True)
class Expected:
    """w(t) on the grid, the size of the queue, and the number of overflows."""

    times: Floats
    w: Floats
    queue: Floats
    overflows: int


def expected_queue(name: str, source: Recording, seconds: float) -> Expected:
    """The solution for the JSON of a scenario's file and the receive times of a recording.

    A full queue of a scenario with `resync` is emptied.
    """
    scenario = orjson.loads((FOLDER / f"{name}-data.json").read_bytes())
    times = np.arange(0, seconds, GRID)
    arrived = arrivals(scenario, source, times)
    steps = np.diff(arrived) - 1_000 / scenario["processing_delay_ms"] * GRID
    w, overflows = [0.0], 0
    for step in steps:
        w.append(max(0.0, w[-1] + step))
        if scenario["on_full"] == "resync" and w[-1] >= scenario["queue_max"]:
            w[-1] = 0.0
            overflows += 1
    return Expected(times, np.array(w), np.minimum(w, scenario["queue_max"]), overflows)


def arrivals(scenario: dict[str, Any], source: Recording, times: Floats) -> Floats:
    """Number of diffs up to each time: their receive times, seen at the integral of the speed."""
    ends = np.cumsum([phase["seconds"] for phase in scenario["phases"]])
    inside = times % ends[-1] if scenario["repeat"] else times
    speed = np.ones_like(times)
    for phase, end in reversed(list(zip(scenario["phases"], ends, strict=True))):
        first, last = np.broadcast_to(phase["speed"], 2)
        begin = end - phase["seconds"]
        speed = np.where(inside < end, first + (last - first) * (inside - begin) / phase["seconds"], speed)
    position = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * GRID)])
    received = np.array([each.time for each in source.entries if each.kind == "diff"], dtype=np.float64)
    received = (received - source.entries[0].time) / 1e9
    length = source.facts.seconds * (1 + 1 / (len(received) - 1))
    arrived: Floats = np.floor(position / length) * len(received) + np.searchsorted(received, position % length, side="right")
    return arrived


def status_changes(of: Expected, name: str) -> list[tuple[float, str]]:
    scenario = orjson.loads((FOLDER / f"{name}-data.json").read_bytes())
    # Means over 1 s: single messages near a bound are no change of a continuous curve.
    smooth = np.convolve(np.pad(of.w, (_SECOND // 2, _SECOND - 1 - _SECOND // 2), "edge"), np.full(_SECOND, 1 / _SECOND), "valid")
    full, lag = np.minimum(smooth / scenario["queue_max"], 1), smooth * scenario["processing_delay_ms"] / 1_000
    status = np.where(full > 0.9, "unhealthy", np.where((full > 0.5) | (lag > 1), "degraded", "healthy"))
    first = [(0.0, str(status[0]))]
    return first + [(of.times[at + 1], str(status[at + 1])) for at in np.flatnonzero(status[1:] != status[:-1])]


def at_steps(values: Floats, steps: Sequence[float]) -> Floats:
    at = np.minimum(np.round(np.array(steps) / GRID).astype(int), len(values) - 1)
    return np.array(values[at], dtype=np.float64)
