"""Admission of the records of one running source: checks, counts, and the log of refusals."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from config.pacing import Throttle
from db.admission import MAX_AHEAD_SECONDS, Mode, NotAdmitted, Windows, open_windows, refusal_kind
from db.admitted import AdmittedQuotes, AdmittedTrades, UsualBatch, admit_batch, admit_quotes, admit_trades
from db.messages import Tick, Trade
from db.timestamps import parse_time
from jobs.feeds.occurrences import Occurrences
from jobs.feeds.status import Status

log = logging.getLogger(__name__)


class SourceAdmission:
    """Checks the records of one source. Call it from the thread of the source.

    `calendars` maps the existing instruments to their calendars. Every record that is left out
    is counted in `status`; the log has one line per kind and minute.
    """

    def __init__(
        self,
        status: Status,
        calendars: Mapping[str, str],
        clock: Callable[[], datetime],
        *,
        mode: Mode = "live",
        max_ahead_seconds: int = MAX_AHEAD_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._status = status
        self._calendars = dict(calendars)
        self._clock = clock
        self._mode = mode
        self._max_ahead_seconds = max_ahead_seconds
        self._throttle = Throttle(monotonic=monotonic)
        self._occurrences = Occurrences()
        self._windows = Windows()  # of the present arrival
        self._ahead: str | None = None  # the last time of the present arrival that is ahead of the clock
        self._refusals = False  # a record of the present arrival was refused

    def set_calendars(self, calendars: Mapping[str, str]) -> None:
        """Admit records of these instruments, from the next arrival on. Any thread may call it."""
        self._calendars = dict(calendars)

    def begin(self) -> None:
        """Begin an arrival: read the clock."""
        self._windows = open_windows(
            self._mode, self._calendars, self._clock(), source=self._status.name, max_ahead_seconds=self._max_ahead_seconds
        )
        self._ahead = None

    def trades(self, trades: Sequence[Trade] | UsualBatch) -> AdmittedTrades | UsualBatch:
        """The admitted trades of the arrival."""

        def refuse(trade: Trade, error: ValueError) -> None:
            self._refuse(trade.symbol, trade.time, error)

        if isinstance(trades, UsualBatch):
            return admit_batch(trades, self._windows, refuse)
        return admit_trades(trades, self._windows, refuse)

    def quotes(self, quotes: Sequence[Tick]) -> AdmittedQuotes:
        """The admitted quotes of the arrival.

        Equal ones of a live source are numbered here; those of a recording have their numbers.
        """
        admitted = admit_quotes(quotes, self._windows, lambda quote, error: self._refuse(quote.instrument, quote.time, error))
        return AdmittedQuotes(self._occurrences.numbered_ticks(admitted)) if self._mode == "live" else admitted

    def end(self, admitted: int) -> None:
        """End the arrival, of which so many records were admitted.

        An arrival without a readable record has no begin.
        """
        if admitted:
            self._status.note_admitted()
        elif self._mode == "live":
            if self._ahead is not None:
                self._status.note_ahead((parse_time(self._ahead) - self._clock()).total_seconds())
            elif self._refusals:
                self._status.note_all_refused()
        self._ahead, self._refusals = None, False

    def note_bad(self, error: ValueError, symbol: str | None = None) -> None:
        """Count a record that is left out, or a message that the source's parser cannot read."""
        kind = refusal_kind(error)
        self._refusals = True
        self._status.count_refused(kind)
        if (count := self._throttle.due(kind)) is not None:
            log.warning(
                "skipped a record (repeats suppressed for 60 s)",
                extra={"source": self._status.name, "kind": kind, "symbol": symbol, "reason": str(error), "count": count},
            )

    def _refuse(self, symbol: str, time: str, error: ValueError) -> None:
        if isinstance(error, NotAdmitted) and error.kind == "time_in_future":
            self._ahead = time
        self.note_bad(error, symbol)
