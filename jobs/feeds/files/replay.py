"""A recording as a source: recorded prices at their own pace or faster; see
`jobs.feeds.files.recordings`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

from config.pacing import Throttle
from config.settings import SourceSpec
from db.admission import UNREADABLE, Mode, NotAdmitted, Refusals, refusal_kind
from db.messages import Tick
from jobs.feeds.base import BadInput, Source, SourceError, as_source_error
from jobs.feeds.files.formats.model import LeftOut, Options
from jobs.feeds.files.recordings import Row, read_rows
from jobs.feeds.occurrences import Occurrences

log = logging.getLogger(__name__)

MAX_TICKS_PER_BATCH = 500
_LONGEST_WAIT = 3600.0  # seconds; Event.wait overflows on the gaps of slow replays


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
    at its end. Lines that are due together are one batch, in the order of their times. Lines that
    are not admitted, or older than a published line of their instrument, are counted in `refusals`
    and logged once a minute. Equal lines of one time are numbered as in a file. `calendars` maps
    the existing instruments to their calendars. `options` say how the file is read.
    """

    mode: Mode = "recorded"  # in which its records are admitted

    def __init__(
        self,
        spec: SourceSpec,
        calendars: Mapping[str, str],
        *,
        clock: Callable[[], datetime],
        options: Options | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if spec.file is None:
            raise ValueError("a replay needs a file")
        self.name = spec.name
        self.refusals = Refusals()  # since the start
        self._file = spec.file
        self._speed = spec.speed
        self._loop = spec.loop
        self._calendars = dict(calendars)
        self._clock = clock
        self._options = options
        self._monotonic = monotonic
        self._taken = 0  # rows read in this round, at which `fetch` continues after an error
        self._played = 0  # rows yielded in this round
        self._refused_before = 0  # refusals when this round began
        self._noting = True  # False while rows are passed over that were read before an error
        self._reached: dict[str, datetime] = {}  # instrument -> latest time that was yielded in this round
        self._occurrences = Occurrences()  # of the rows that were yielded in this round
        self._throttle = Throttle(monotonic=monotonic)

    def fetch(self, stop: threading.Event) -> Generator[tuple[Row, ...], None, None]:
        while not stop.is_set():
            yield from self._batches(self._rows(), stop)
            if stop.is_set():
                return
            self._end_round()
            if not self._loop:
                return

    def parse(self, raw: Sequence[Row]) -> list[Tick]:
        return [row.tick for row in raw]

    def _rows(self) -> Iterator[Row]:
        """The rows of the recording from the first that was not taken yet."""
        rows = read_rows(self._file, self.name, self._calendars, self._note_bad, now=self._clock(), options=self._options)
        self._noting = not self._taken
        for _ in islice(rows, self._taken):
            pass
        self._noting = True
        yield from rows

    def _batches(self, rows: Iterator[Row], stop: threading.Event) -> Generator[tuple[Row, ...], None, None]:
        pace = Pace(self._speed, self._monotonic)
        batch: list[Row] = []
        try:
            for row in rows:
                if batch and (len(batch) == MAX_TICKS_PER_BATCH or pace.delay(row.time) > 0):
                    yield from self._in_order(batch)
                    batch = []
                if not pace.wait(row.time, stop):
                    return
                batch.append(row)
        except SourceError:
            yield from self._in_order(batch)  # the file is damaged behind these rows
            raise
        yield from self._in_order(batch)

    def _in_order(self, batch: Sequence[Row]) -> Iterator[tuple[Row, ...]]:
        """The batch without the rows that would move a latest price back in time.

        Yields nothing if no row is left.
        """
        self._taken += len(batch)
        rows = []
        for row in sorted(batch, key=lambda row: row.time):
            reached = self._reached.get(row.tick.instrument, row.time)
            if row.time < reached:
                reason = f"time {row.tick.time} is before that of a line that was played already: sort the recording by time"
                self._note_bad(row.line, NotAdmitted(reason, "time_too_old"))
            else:
                self._reached[row.tick.instrument] = row.time
                number = self._occurrences.number(row.tick)
                rows.append(row if number == 1 else replace(row, tick=replace(row.tick, occurrence=number)))
        self._played += len(rows)
        if rows:
            yield tuple(rows)

    def _end_round(self) -> None:
        if not self._taken and set(self.refusals.counts) <= {UNREADABLE}:
            raise as_source_error(BadInput(f"recording {self._file} has no readable line"))
        bad_lines = len(self.refusals) - self._refused_before
        message = "recording begins again" if self._loop else "recording ended"
        log.info(message, extra={"source": self.name, "ticks": self._played, "bad_lines": bad_lines})
        self._taken = self._played = 0
        self._refused_before += bad_lines
        self._reached.clear()
        self._occurrences = Occurrences()

    def _note_bad(self, line: int, error: ValueError) -> None:
        if not self._noting:
            return
        if isinstance(error, LeftOut):
            return
        self.refusals.add(f"line {line}", error)
        self.count_refused(refusal_kind(error))
        if (count := self._throttle.due("line")) is not None:
            log.warning(
                "skipped a bad line of the recording (repeats suppressed for 60 s)",
                extra={"source": self.name, "line": line, "reason": str(error), "count": count},
            )
