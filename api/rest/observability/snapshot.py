"""The newest snapshot of the metrics, as each process of REST has seen it last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from flask import Flask, current_app

from api.errors import ErrorCode
from api.rest.errors import ApiError
from db.bus import Bus, BusError, Snapshot
from db.bus.observability.snapshots import SECTIONS
from db.timestamps import parse_time

STALE_MS = 5_000  # age from which a snapshot is stale
KEPT_SECONDS = 0.05  # for which a snapshot serves all requests
PAUSE_SECONDS = 1.0  # after a failed read
_NAME = "tickwire.snapshots"
_EMPTY = "{}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A snapshot, with its time and the part of the answer that does not depend on its age."""

    snapshot: Snapshot
    time: datetime
    head: bytes

    @classmethod
    def of(cls, snapshot: Snapshot) -> Seen:
        """Join the sections, whose numbers are not parsed."""
        sections = ",".join(f'"{name}":{snapshot.numbers.get(name, _EMPTY)}' for name in SECTIONS)
        behind = orjson.dumps({"seq": snapshot.seq, "epoch": snapshot.epoch})[1:-1].decode()
        head = f'{{"timestamp":"{snapshot.timestamp}",{sections},{behind}'
        return cls(snapshot, parse_time(snapshot.timestamp), head.encode())

    def age_ms(self, now: datetime) -> float:
        """Return its age in milliseconds."""
        return max(0.0, round((now - self.time).total_seconds() * 1000, 3))

    def body(self, now: datetime) -> bytes:
        """Return the answer of `/api/metrics/current`."""
        age = self.age_ms(now)
        stale = "true" if age >= STALE_MS else "false"
        return self.head + f',"age_ms":{age},"stale":{stale}}}'.encode()

    def section(self, name: str) -> dict[str, Any]:
        """Return a section whose decimals are strings."""
        found: dict[str, Any] = orjson.loads(self.snapshot.strings.get(name, _EMPTY))
        return found


class NewestSnapshot:
    """The newest snapshot. Redis keeps it for 10 s only; this process keeps the last one it saw."""

    def __init__(self, bus: Bus, monotonic: Callable[[], float]) -> None:
        self._bus = bus
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen: Seen | None = None
        self._read_at = float("-inf")
        self._kept: tuple[float, Seen] | None = None  # monotonic time of its read, a snapshot
        self._claimed = float("-inf")  # monotonic time at which a request has begun to read the next one

    def read(self) -> Seen | None:
        """Return it, None if there was none since the start.

        While the bus is away, it is the last one. Raises `BusError` if there was none.
        """
        with self._lock:
            now = self._monotonic()
            if now - self._read_at >= KEPT_SECONDS:
                self._read_at = now
                found = self._latest()
                if found is not None and (self._seen is None or found != self._seen.snapshot):
                    self._seen = Seen.of(found)
                self._kept = None if self._seen is None else (now, self._seen)
            return self._seen

    def _latest(self) -> Snapshot | None:
        try:
            return self._bus.latest_snapshot()
        except BusError:
            if self._seen is None:
                raise
            self._read_at = self._monotonic() + PAUSE_SECONDS
            return None

    def kept(self) -> Seen | None:
        """Return the snapshot that was read last, without waiting; None if the caller must read.

        After `KEPT_SECONDS` one caller must read; the others have that time again meanwhile.
        """
        kept, now = self._kept, self._monotonic()
        if kept is None or now - kept[0] >= 2 * KEPT_SECONDS:
            return None
        if now - kept[0] >= KEPT_SECONDS and now - self._claimed >= KEPT_SECONDS:
            self._claimed = now
            return None
        return kept[1]


def attach(app: Flask, bus: Bus, monotonic: Callable[[], float]) -> NewestSnapshot:
    """Give the app its newest snapshot, and return it."""
    snapshots = app.extensions[_NAME] = NewestSnapshot(bus, monotonic)
    return snapshots


def newest() -> Seen:
    """Return the newest snapshot. Raises `ApiError` (503) if there was none, and `BusError`."""
    snapshots: NewestSnapshot = current_app.extensions[_NAME]
    seen = snapshots.read()
    if seen is None:
        message = "there is no snapshot of the metrics yet: is the observer running?"
        raise ApiError(503, ErrorCode.UNAVAILABLE, message, {"part": "observer"})
    return seen
