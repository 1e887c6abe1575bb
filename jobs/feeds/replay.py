"""A recording as a source: recorded prices at their own pace or faster; see
`jobs.feeds.recordings`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from datetime import datetime
from itertools import islice

from config.pacing import Throttle
from config.settings import SourceSpec
from db.decimals import middle
from db.messages import Tick
from db.timestamps import format_time
from jobs.feeds.base import BadInput, Source, as_source_error
from jobs.feeds.recordings import Row, read_rows

log = logging.getLogger(__name__)

MAX_TICKS_PER_BATCH = 500
# Seconds. Event.wait overflows on the long gap that one wrong time in a file makes.
_LONGEST_WAIT = 3600.0


class Pace:
    """Due times of a recording's moments, counted from the first one.

    A late moment does not delay the moments after it.
    """

    def __init__(self, speed: float | None, monotonic: Callable[[], float]) -> None:
        self._speed = speed
        self._monotonic = monotonic
        self._origin: tuple[datetime, float] | None = None  # first moment and the monotonic time of its playback

    def delay(self, moment: datetime) -> float:
        """Seconds until `moment` is due; 0 or less if it is due already."""
        if self._speed is None:
            return 0.0
        if self._origin is None:
            self._origin = (moment, self._monotonic())
        first, started = self._origin
        return started + (moment - first).total_seconds() / self._speed - self._monotonic()

    def wait(self, moment: datetime, stop: threading.Event) -> bool:
        """Wait until `moment` is due; return False if `stop` was set instead."""
        while (delay := self.delay(moment)) > 0 and not stop.wait(min(delay, _LONGEST_WAIT)):
            pass
        return not stop.is_set()


class ReplaySource(Source[tuple[Row, ...]]):
    """A recording as a source.

    `spec` gives the file, the speed (None: as fast as the bus accepts) and whether it begins again
    at its end. Lines that are due together are one batch. Bad lines are skipped, counted in
    `bad_lines`, and logged once a minute. `instruments` are the existing symbols; a line of another
    symbol is bad.
    """

    mode = "recorded"

    def __init__(self, spec: SourceSpec, instruments: Collection[str], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        if spec.file is None:
            raise ValueError("a replay needs a file")
        self.name = spec.name
        self.bad_lines = 0
        self._file = spec.file
        self._speed = spec.speed
        self._loop = spec.loop
        self._instruments = frozenset(instruments)
        self._monotonic = monotonic
        self._taken = 0  # rows yielded in this round, at which `fetch` continues after an error
        self._throttle = Throttle(monotonic=monotonic)

    def fetch(self, stop: threading.Event) -> Generator[tuple[Row, ...], None, None]:
        while not stop.is_set():
            self.bad_lines = 0
            rows = islice(read_rows(self._file, self._instruments, self._note_bad), self._taken, None)
            for batch in self._batches(rows, stop):
                self._taken += len(batch)
                yield batch
            if stop.is_set():
                return
            self._end_round()
            if not self._loop:
                return

    def parse(self, raw: Sequence[Row]) -> list[Tick]:
        return [
            Tick(
                row.instrument,
                bid=row.bid,
                ask=row.ask,
                mid=row.mid or middle(row.bid, row.ask),
                time=format_time(row.time),
                source=self.name,
            )
            for row in raw
        ]

    def _batches(self, rows: Iterator[Row], stop: threading.Event) -> Iterator[tuple[Row, ...]]:
        pace = Pace(self._speed, self._monotonic)
        batch: list[Row] = []
        for row in rows:
            if batch and (len(batch) == MAX_TICKS_PER_BATCH or pace.delay(row.time) > 0):
                yield tuple(batch)
                batch = []
            if not pace.wait(row.time, stop):
                return
            batch.append(row)
        if batch:
            yield tuple(batch)

    def _end_round(self) -> None:
        if not self._taken:
            raise as_source_error(BadInput(f"recording {self._file} has no readable line"))
        message = "recording begins again" if self._loop else "recording ended"
        log.info(message, extra={"source": self.name, "ticks": self._taken, "bad_lines": self.bad_lines})
        self._taken = 0

    def _note_bad(self, line: int, reason: str) -> None:
        self.bad_lines += 1
        if (count := self._throttle.due("line")) is not None:
            log.warning(
                "skipped a bad line of the recording (repeats suppressed for 60 s)",
                extra={"source": self.name, "line": line, "reason": reason, "count": count},
            )
