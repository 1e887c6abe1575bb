"""Fills the gap of a resumption that the hub could not fill, from `GET /ticks` of REST.

The gap is passed on at once. The later prices of its instrument wait until the stored prices have
been passed on, at most `FILL_SECONDS`, so that the order stays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from queue import SimpleQueue

from tickwire_client import parse
from tickwire_client.errors import TickwireError
from tickwire_client.messages import Body, Gap, Item, Tick

log = logging.getLogger("tickwire_client")

FILL_SECONDS = 5.0
_POLL_SECONDS = 0.2  # the store is about a second behind the hub
_TIME_MARGIN = timedelta(minutes=5)  # the time of a late price may lie so far outside the times of its neighbours

Rows = Callable[..., Iterator[Body]]


class GapFiller:
    """Items pass in order; a thread, started with the first gap, reads the stored prices.

    `rows(instrument, start=…, end=…)` are the rows of `GET /ticks`; None if REST is not configured.
    `deliver` receives all items, with `lock` held.
    """

    def __init__(self, rows: Rows | None, lock: AbstractContextManager[object], deliver: Callable[[Sequence[Item]], None]) -> None:
        self._rows, self._lock, self._deliver = rows, lock, deliver
        self._held: dict[str, list[Item]] = {}  # instrument -> items that wait for its stored prices
        self._gaps: SimpleQueue[tuple[Gap, float] | None] = SimpleQueue()  # with the deadline of each
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, items: Sequence[Item]) -> None:
        """Pass on items, now or after the stored prices of their instruments.

        The caller holds the lock.
        """
        for item in items:
            name = item.instrument if isinstance(item, Tick) or (isinstance(item, Gap) and item.interval is None) else None
            if name in self._held:
                self._held[name].append(item)
                continue
            self._deliver((item,))
            if name is not None and isinstance(item, Gap) and item.after and item.before:
                self._begin(name, item)

    def holds(self, name: str) -> bool:
        """Whether prices of the instrument wait. The caller holds the lock."""
        return name in self._held

    def close(self) -> None:
        """Pass on the items that wait, and end the thread. The caller holds the lock."""
        self._closed = True
        for name in list(self._held):
            self._release(name)
        self._gaps.put(None)

    def _begin(self, name: str, gap: Gap) -> None:
        if self._rows is None or self._closed:
            return
        self._held[name] = []
        self._gaps.put((gap, time.monotonic() + FILL_SECONDS))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tickwire-gaps", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (waiting := self._gaps.get()) is not None:
            gap, deadline = waiting
            filled = self._fill(gap, deadline)
            with self._lock:
                if gap.instrument in self._held:
                    self._deliver(filled)
                    self._release(gap.instrument)

    def _release(self, name: str) -> None:
        self.put(self._held.pop(name))

    def _fill(self, gap: Gap, deadline: float) -> list[Item]:
        """Return the stored prices of the gap, and a gap for those that are not stored."""
        answer: tuple[list[Tick], bool] | None = None
        try:
            for answer in self._stored(gap, deadline):  # noqa: B007 - the last one counts
                pass
        except (TickwireError, ValueError) as error:
            log.warning("%s: cannot fill the gap from the history: %s", gap.instrument, error)
        if answer is None:
            return []
        found, complete = answer
        missed = (0 if complete else None) if gap.missed is None else gap.missed - len(found)
        return [*found, *([] if missed == 0 else [Gap(gap.instrument, missed, "not_stored")])]

    def _stored(self, gap: Gap, deadline: float) -> Iterator[tuple[list[Tick], bool]]:
        """Yield the stored prices of the gap at each answer of REST, and whether those are all."""
        after, before = gap.after, gap.before
        assert after is not None  # noqa: S101 - `put` checked both
        assert before is not None  # noqa: S101
        start, end = min(after.time, before.time) - _TIME_MARGIN, max(after.time, before.time) + _TIME_MARGIN
        while True:
            assert self._rows is not None  # noqa: S101 - `_begin` checked it
            rows = [parse.stored_tick(row) for row in self._rows(gap.instrument, start=start, end=end)]
            found = between(after, before, rows)
            complete = len(found) == gap.missed or any(row.position == before.position for row in rows)
            yield found, complete
            if complete or self._closed or time.monotonic() + _POLL_SECONDS > deadline:
                return
            time.sleep(_POLL_SECONDS)


def between(after: Tick, before: Tick, rows: Sequence[Tick]) -> list[Tick]:
    """The rows between two prices, both of which have a position, in the order of the bus."""
    first = (after.seq or 0) if after.epoch == before.epoch else 0
    old = [row for row in rows if row.epoch == after.epoch != before.epoch and _seq(row) > _seq(after)]
    new = [row for row in rows if row.epoch == before.epoch and first < _seq(row) < _seq(before)]
    return sorted(old, key=_seq) + sorted(new, key=_seq)


def _seq(tick: Tick) -> int:
    return tick.seq or 0
