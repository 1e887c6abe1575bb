"""State of each source, for the log, for health and for readers of the bus."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from config.pacing import Outage
from db.bus import BusError
from db.timestamps import format_time
from jobs.feeds.base import State
from jobs.measures.sources import SourceCounts

log = logging.getLogger(__name__)

AHEAD_SECONDS = 30.0  # of refused times ahead of the clock, after which a source is stale
REFUSED_SECONDS = 10.0  # of refused records without an admitted one, after which a source is stale
FORGET_REFUSALS_SECONDS = 60.0  # without another refusal: a closed market brings no record to admit
CHECK_SECONDS = 1.0  # between two checks of silent sources

_LEVELS = {State.BACKING_OFF: logging.WARNING, State.STALE: logging.WARNING, State.DOWN: logging.ERROR}


class ReportBus(Protocol):
    """The part of the bus that reports need."""

    def note_source_change(self, name: str, state: str, detail: str | None) -> None:
        """Publish that a source entered a state. Raises `BusError`."""


class Status:
    """State of one source; its thread writes, the reporter reads."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], datetime],
        changed: threading.Event,
        *,
        stale_after: float | None = None,
        link_changed: Callable[[str], None] = lambda name: None,
        monotonic: Callable[[], float] = time.monotonic,
        counts: SourceCounts | None = None,
        part: str | None = None,
    ) -> None:
        """`part` is its name among all parts of sources, if it differs from `name`."""
        self.name = name
        self.part = part or name
        self.counts = counts or SourceCounts()  # of all sources of the process
        self.changes: deque[tuple[State, str | None]] = deque(maxlen=100)  # not published yet
        self._stale_after = stale_after
        self._link_changed = link_changed
        self._monotonic = monotonic
        self._active_at = monotonic()
        self._trades = 0
        self.state = State.CONNECTING
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._since = clock()
        self._last_tick: datetime | None = None
        self._ticks = 0
        self._detail: str | None = None
        self._failing_since: datetime | None = None  # first failure since the source was live
        self._refused: dict[str, int] = {}  # kind of refusal -> records since the start
        self._refused_since: float | None = None  # first refusal since the last admitted record
        self._refused_at = float("-inf")  # last one
        self._ahead_since: float | None = None  # first refusal of a time ahead of the clock since the last admitted record
        self._clock_fault: str | None = None
        self._records_fault: str | None = None

    def change(self, state: State, detail: str | None = None, *, server_text: str = "") -> None:
        """Enter `state`; log it if it is a new one.

        `server_text` is a text of the server: it stands in the log only.
        """
        with self._lock:
            news = state is not self.state
            if news:
                self._since = self._clock()
            self.state, self._detail = state, detail
            self._note_failure(state)
            if news:
                self.changes.append((state, detail))
        if news:
            fields = {"source": self.name, "state": state.value, "detail": detail} | ({"server_text": server_text} if server_text else {})
            log.log(_LEVELS.get(state, logging.INFO), "source is %s", state, extra=fields)
            self._changed.set()
            if state in (State.LIVE, State.BACKING_OFF):
                self._link_changed(self.name)

    def _note_failure(self, state: State) -> None:
        """Keep the time of the first failure while the source connects again and again."""
        if state in (State.LIVE, State.ENDED):
            self._failing_since = None
        elif state is not State.CONNECTING and self._failing_since is None:
            self._failing_since = self._since

    def note_activity(self) -> None:
        """Note that the source sent something, possibly a heartbeat."""
        self._active_at = self._monotonic()

    def enter_live(self) -> None:
        """Enter the state `live`, or stay `stale` if none of the source's records is admitted."""
        if self._monotonic() - self._refused_at > FORGET_REFUSALS_SECONDS:
            self._records_fault = None
        fault = self._clock_fault or self._records_fault
        if fault is None:
            self.change(State.LIVE)
        else:
            self.change(State.STALE, fault)

    def note_admitted(self) -> None:
        """Note that a record was admitted: the source gives records, and the clocks agree."""
        self._ahead_since = self._clock_fault = self._refused_since = self._records_fault = None

    def note_all_refused(self) -> None:
        """Note that no record of an arrival was admitted, of those that were refused."""
        now = self._monotonic()
        last, self._refused_at = self._refused_at, now
        if self._refused_since is None or now - last > FORGET_REFUSALS_SECONDS:
            self._refused_since = now
        elif now - self._refused_since >= REFUSED_SECONDS:
            kinds = ", ".join(sorted(self._refused))
            self._records_fault = f"every record for {now - self._refused_since:.0f} s was refused: {kinds}"

    def note_ahead(self, seconds: float) -> None:
        """Note that no record of an arrival was admitted because of times `seconds` ahead."""
        now = self._monotonic()
        if self._ahead_since is None:
            self._ahead_since = now
        if now - self._ahead_since >= AHEAD_SECONDS:
            detail = f"the source's times are {seconds:.0f} s ahead of this machine's clock: check the clock"
            if self._clock_fault is None:
                log.error("the source's times are ahead of this machine's clock", extra={"source": self.name, "detail": detail})
            self._clock_fault = detail

    def count_refused(self, kind: str) -> None:
        """Count a record that was left out."""
        with self._lock:
            self._refused[kind] = self._refused.get(kind, 0) + 1
        self.counts.refused.add(self.name, kind)

    def is_over(self) -> bool:
        """Return True if the source has ended, or is down."""
        return self.state in (State.ENDED, State.DOWN)

    def check_silence(self) -> None:
        """Make a live source stale if it has been silent for longer than `stale_after`."""
        if self._stale_after is not None and self.state is State.LIVE:
            silent = self._monotonic() - self._active_at
            if silent > self._stale_after:
                self.change(State.STALE, f"silent for {silent:.0f} s")

    def count(self, ticks: int, trades: int = 0) -> datetime:
        """Count ticks and trades that the bus has just accepted; return the time of that."""
        with self._lock:
            self._ticks += ticks
            self._trades += trades
            self._last_tick = accepted = self._clock()
        return accepted

    @property
    def last_accepted(self) -> datetime | None:
        """The time at which the bus last accepted a record; None if there was none."""
        return self._last_tick

    def report(self) -> dict[str, Any]:
        """Its state and counts.

        `{"state", "since", "failing_since", "last_tick", "ticks", "trades", "refused", "detail"}`.
        `failing_since` is the time since which the source has not been live, None if it is or has
        not failed. `last_tick` is the time at which the bus last accepted one, not the time of the
        tick. `refused` has the number of records that were left out, by kind.
        """
        with self._lock:
            return {
                "state": self.state.value,
                "since": format_time(self._since),
                "failing_since": None if self._failing_since is None else format_time(self._failing_since),
                "last_tick": None if self._last_tick is None else format_time(self._last_tick),
                "ticks": self._ticks,
                "trades": self._trades,
                "refused": dict(self._refused),
                "detail": self._detail,
            }


class Reporter:
    """Watches every source at each change and every second, and publishes changes of their states.

    It has its own thread, so that a slow bus delays no price. `reported` is called after each round
    with a change.
    """

    def __init__(
        self, bus: ReportBus, statuses: Sequence[Status], changed: threading.Event, reported: Callable[[], None] = lambda: None
    ) -> None:
        self._bus = bus
        self._statuses = statuses
        self._changed = changed
        self._reported = reported
        self._outage = Outage(log, "changes of sources are not published", monotonic=time.monotonic)

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop` is set; to end the last wait at once, set `changed` too.

        Changes that precede the stop are published.
        """
        while not stop.is_set():
            self.report()
            self._changed.wait(CHECK_SECONDS)
            self._changed.clear()
        self._publish_all()

    def report(self) -> None:
        """Check and publish once. Failures in a row are one outage in the log."""
        for status in tuple(self._statuses):  # sources come and go
            status.check_silence()
        self._publish_all()

    def _publish_all(self) -> None:
        statuses = tuple(self._statuses)
        if any(status.changes for status in statuses):
            self._reported()
        for status in statuses:
            try:
                self._publish(status)
            except Exception as error:  # noqa: BLE001 - the outage logs it
                self._outage.failed(error, traceback=not isinstance(error, BusError))
                return
        self._outage.recovered()

    def _publish(self, status: Status) -> None:
        while status.changes:
            self._bus.note_source_change(status.name, *status.changes[0])
            status.changes.popleft()
