"""States of the sources that this process plays, in the form of the other sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.timestamps import format_time


@dataclass(slots=True)
class _Seen:
    """The state of a source, its begin, its diffs, and the time at which they were counted."""

    state: str
    since: datetime
    ticks: int = 0
    last_tick: datetime | None = None


class SourceStates:
    """Remembers since when each source is in its state. One thread uses it."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def report(self, name: str, state: str, ticks: int, detail: str | None = None) -> dict[str, Any]:
        """The report of a source that is in this state and has given so many diffs."""
        now = self._clock()
        seen = self._seen.get(name)
        if seen is None or seen.state != state:
            seen = self._seen[name] = _Seen(state, now, *((seen.ticks, seen.last_tick) if seen else ()))
        if ticks != seen.ticks:
            seen.ticks, seen.last_tick = ticks, now
        return {
            "state": state,
            "since": format_time(seen.since),
            "failing_since": format_time(seen.since) if state == "down" else None,
            "last_tick": None if seen.last_tick is None else format_time(seen.last_tick),
            "ticks": ticks,
            "trades": 0,
            "refused": {},
            "detail": detail,
        }
