"""The instruments on the bus: publishers check their records with them, without the store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from db import topics
from db.admission import MAX_AHEAD_SECONDS, Windows, open_windows
from db.bus.connection import Connection
from db.bus.errors import BusError, translated

_REREAD_SECONDS = 10.0


class Instruments(Connection):
    """The part of the bus for the instruments that may be published.

    Every method raises `BusError`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._last: bytes | None = None  # the value that this process has set or read last
        self._calendars: Mapping[str, str] = {}
        self._max_ahead_seconds = MAX_AHEAD_SECONDS
        self._read_at = float("-inf")

    def set_instruments(self, calendars: Mapping[str, str], max_ahead_seconds: int = MAX_AHEAD_SECONDS) -> None:
        """Set the instruments that may be published, with their calendars.

        `max_ahead_seconds` is the time by which a record may be ahead of its publisher's clock.
        They stay on the bus for the publishers of other processes.
        """
        self._last = orjson.dumps({"calendars": dict(calendars), "max_ahead_seconds": max_ahead_seconds})
        self._read_at = float("-inf")
        with translated():
            self._redis.set(topics.CALENDARS_KEY, self._last)

    def windows(self, source: str = "") -> Windows:
        """The times that are admitted now, of each instrument; `source` is the venue."""
        now = time.monotonic()
        if now - self._read_at >= _REREAD_SECONDS:
            self._read_instruments()
            self._read_at = now
        return open_windows("live", self._calendars, self._clock(), source=source, max_ahead_seconds=self._max_ahead_seconds)

    def _read_instruments(self) -> None:
        with translated():
            value = self._redis.get(topics.CALENDARS_KEY)
            found = _read(value)
            if found is None and self._last is not None:  # Redis has lost its data
                self._redis.set(topics.CALENDARS_KEY, self._last, nx=value is None)
                found = _read(self._last)
        if found is None:
            raise BusError("the bus has no instruments yet: the jobs process sets them when it starts")
        self._last, self._calendars, self._max_ahead_seconds = found


def _read(value: bytes | None) -> tuple[bytes, dict[str, str], int] | None:
    """The value, its calendars and its limit of seconds; None if it is missing or unreadable."""
    try:
        body = orjson.loads(value or b"")
        calendars = body["calendars"]
        readable = isinstance(calendars, dict) and all(isinstance(calendar, str) for calendar in calendars.values())
        return (value or b"", calendars, int(body["max_ahead_seconds"])) if readable else None
    except (ValueError, KeyError, TypeError):
        return None
