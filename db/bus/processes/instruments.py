"""The instruments on the bus: calendars for publishers without the store, and their changes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from db import topics
from db.admission import MAX_AHEAD_SECONDS, Windows, open_windows
from db.bus.connection import Connection
from db.bus.errors import BusError, translated
from db.bus.subscription import Subscription

_REREAD_SECONDS = 1.0


class _Feeding(NamedTuple):
    """The value of `CALENDARS_KEY`."""

    calendars: Mapping[str, str]
    max_ahead_seconds: int
    fed_by: Mapping[str, str]


class Instruments(Connection):
    """The part of the bus for the instruments that may be published.

    Every method raises `BusError`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._last: bytes | None = None  # the value that this process has set or read last
        self._feeding = _Feeding({}, MAX_AHEAD_SECONDS, {})  # that value
        self._read_at = float("-inf")

    def set_instruments(
        self, calendars: Mapping[str, str], max_ahead_seconds: int = MAX_AHEAD_SECONDS, *, fed_by: Mapping[str, str] | None = None
    ) -> None:
        """Set the instruments that may be published, with their calendars.

        `max_ahead_seconds` is the time by which a record may be ahead of its publisher's clock.
        `fed_by` maps instruments to the configured sources that feed them. All of it stays on the
        bus for other processes.
        """
        self._last = orjson.dumps({"calendars": dict(calendars), "max_ahead_seconds": max_ahead_seconds, "fed_by": dict(fed_by or {})})
        self._read_at = float("-inf")
        with translated():
            self._redis.set(topics.CALENDARS_KEY, self._last)

    def windows(self, source: str = "") -> Windows:
        """The times that are admitted now, of each instrument; `source` is the venue."""
        now = time.monotonic()
        if now - self._read_at >= _REREAD_SECONDS:
            self._read_instruments()
            self._read_at = now
        calendars, max_ahead_seconds, _ = self._feeding
        return open_windows("live", calendars, self._clock(), source=source, max_ahead_seconds=max_ahead_seconds)

    def fed_by(self) -> dict[str, str]:
        """instrument -> the configured source that feeds it; empty before the jobs have started."""
        with translated():
            found = _read(self._redis.get(topics.CALENDARS_KEY))
        return {} if found is None else dict(found.fed_by)

    def instruments_changed(self) -> int | None:
        """The number of the last change of the table; None if the bus does not have it."""
        with translated():
            value = self._redis.get(topics.INSTRUMENTS)
        return int(value) if value is not None and value.isdigit() else None

    def keep_change_number(self, changed: int) -> None:
        """Set the number of the last change if the bus has lost it, or has an earlier one."""
        if (self.instruments_changed() or -1) < changed:
            with translated():
                self._redis.set(topics.INSTRUMENTS, changed)

    def announce_instruments(self, changed: int) -> None:
        """Set the number of the last change, and publish it to all processes."""
        with translated():
            self._redis.set(topics.INSTRUMENTS, changed)
            self._redis.publish(topics.INSTRUMENTS, str(changed))

    def subscribe_instruments(self) -> Subscription:
        """Subscribe to the changes of the table."""
        with translated():
            return Subscription(self._redis.connection_pool.make_connection(), [topics.INSTRUMENTS])

    def _read_instruments(self) -> None:
        with translated():
            value = self._redis.get(topics.CALENDARS_KEY)
            if value is not None and value == self._last and self._feeding.calendars:
                return
            found = _read(value)
            if found is None and self._last is not None:  # Redis has lost its data
                self._redis.set(topics.CALENDARS_KEY, self._last, nx=value is None)
                value, found = self._last, _read(self._last)
        if found is None:
            raise BusError("the bus has no instruments yet: the jobs process sets them when it starts")
        self._last, self._feeding = value, found


def _read(value: bytes | None) -> _Feeding | None:
    """The value of `CALENDARS_KEY`; None if it is missing or cannot be read."""
    try:
        body = orjson.loads(value or b"")
        calendars, fed_by = body["calendars"], body.get("fed_by", {})
        readable = all(isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values()) for texts in (calendars, fed_by))
        return _Feeding(calendars, int(body["max_ahead_seconds"]), fed_by) if readable else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
