"""One book of this process: its machine, the levels that were published last, its figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from db.timestamps import format_time
from jobs.books.keeping.line import Line
from jobs.books.machine import BookMachine
from jobs.books.measures import measures
from jobs.books.parts.states import State
from jobs.books.tops import Body, Tops

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_LEVELS = {"bids": 0, "asks": 0, "from": None, "to": None}


@dataclass(slots=True)
class KeptBook:
    """A book and its place in the chain of messages.

    `in_chain`: the last message of each topic was published, so that an update may follow.
    `owes_snapshot`: a publish failed, or the epoch has changed. `served` is the body of the last
    published snapshot of the largest depth, None before the first one. `left_live` is the time at
    which the book left `live`, None while it is live.
    """

    instrument: str
    machine: BookMachine
    line: Line
    tops: Tops
    since: datetime  # of the state
    left_live: float | None
    in_chain: bool = False
    resyncing_since: float | None = None  # None in another state
    owes_snapshot: bool = False
    received: float = 0.0  # receipt of the message that was handled last
    served: Body | None = None
    updates: int = 0  # diffs
    levels: int = 0  # in these diffs
    gaps: Counter[str] = field(default_factory=Counter)  # reason -> number
    is_changed: bool = True  # since its row was written
    _measured: Body | None = None  # `served` when the measures were computed
    _measures: dict[str, Any] | None = None

    def measures(self) -> dict[str, Any] | None:
        """The measures of the served levels; None without any. Raises like `Decimal`."""
        if self.served is not self._measured:
            self._measured = self.served
            self._measures = None if self.served is None else measures(self.served["bids"], self.served["asks"])
        return self._measures

    def row(self) -> dict[str, Any]:
        """The row of `/book/states`, and the measures."""
        machine, served = self.machine, self.served
        if machine.state is State.LIVE:
            held = machine.book.complete
            update_id: int | None = machine.update_id
            complete: Any = {"bids": held.bids, "asks": held.asks, "from": held.low, "to": held.high}
        else:
            update_id = None if served is None else served["update_id"]
            complete = _NO_LEVELS if served is None else served["complete"]
        return {
            "symbol": self.instrument,
            "state": machine.state,
            "reason": machine.reason,
            "since": format_time(self.since),
            "update_id": update_id,
            "complete": complete,
            "resyncs": machine.resyncs,
            "audits": {"checked": machine.audit.checked, "failed": machine.audit.failed},
            "last_message_age_seconds": round(max(0.0, self.line.present() - machine.last_message), 3),
            "measures": self.measures(),
        }

    def not_live_seconds(self) -> float:
        """Seconds since the book left `live`; 0 while it is live. Any thread may call it."""
        left = self.left_live
        return 0.0 if left is None else max(0.0, self.line.present() - left)


def time_of(wall: datetime, seconds: float) -> str:
    """The contract form of the time that is `seconds` before `wall`."""
    return format_time(wall - timedelta(seconds=seconds))


def event_time(milliseconds: int) -> datetime:
    """The event time; raises OverflowError outside the years 1 to 9999."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
