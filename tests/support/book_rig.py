"""A state machine of one small book with a clock, driven by hand."""

from __future__ import annotations

from typing import Any

from jobs.books.book import Levels
from jobs.books.machine import BookMachine
from jobs.books.messages import Diff, Snapshot, Ticker
from jobs.books.parts.states import BookSnapshot, BookUpdate, Output, SnapshotRequest, StateChange
from jobs.books.parts.transitions import MachineOptions
from jobs.books.sequence import RULES

BIDS: Levels = [["9", "1"], ["8", "1"]]
ASKS: Levels = [["11", "1"], ["12", "1"]]
LIMIT = 2  # requested levels: the window of the snapshot is 8 … 12


class Rig:
    """Ids of both rules rise by one per diff. Each input returns its outputs in a short form.

    State: (previous, state, reason); `snapshot REASON`, `update`, `request`, `refresh`.
    """

    def __init__(self, market: str = "spot", **options: Any) -> None:
        self.now = 1000.0
        options = {"refresh_levels": 0, **options}
        self.machine = BookMachine(RULES[market], MachineOptions(**options), lambda: 1.0, self.now)
        self.last: list[Output] = self.machine.start(self.now)
        self.number: int | None = None  # of the last request
        self._is_usdm = market == "usdm"

    def diff(self, first: int, last: int | None = None, bids: Levels | None = None, asks: Levels | None = None, **how: Any) -> list[Any]:
        """A diff; `previous` is its `pu`, `late` the seconds by which its event time is older."""
        event_ms = round((self.now - how.get("late", 0.0)) * 1000) + how.get("skew_ms", 0)
        previous = how.get("previous", first - 1) if self._is_usdm else None
        made = Diff(first, first if last is None else last, previous, event_ms, bids or [], asks or [])
        return self.short(self.machine.diff(made, self.now, self.now))

    def snapshot(self, last: int, bids: Levels = BIDS, asks: Levels = ASKS, *, limit: int = LIMIT, asked: bool = True) -> list[Any]:
        """A snapshot: the answer to the last request, or one that nobody requested."""
        return self.short(self.machine.snapshot(Snapshot(last, bids, asks, limit), self.now, self.number if asked else None))

    def failed(self, retry_after: float | None = None) -> list[Any]:
        return self.short(self.machine.snapshot_failed(self.now, self.number, retry_after))

    def ticker(self, update_id: int, bid: list[str], ask: list[str]) -> list[Any]:
        return self.short(self.machine.ticker(Ticker(update_id, bid, ask), self.now))

    def call(self, name: str) -> list[Any]:
        """An input without a value, by its name."""
        return self.short(getattr(self.machine, name)(self.now))

    def wait(self, seconds: float) -> list[Any]:
        """Time passes in steps of 0.1 s, without a message."""
        found = []
        for _ in range(round(seconds * 10)):
            self.now = round(self.now + 0.1, 3)
            found += self.call("tick")
        return found

    def live(self) -> Rig:
        """Live at id 100, with two levels a side."""
        self.call("connected")
        self.diff(99)
        assert "snapshot start" in self.snapshot(99) + self.diff(100)
        return self

    def join(self, first: int, bids: Levels = BIDS) -> list[Any]:
        """The oldest snapshot that a diff with this `U` continues."""
        return self.snapshot(first if self._is_usdm else first - 1, bids)

    def pass_time(self, seconds: float) -> list[Any]:
        """Move the clock; no output."""
        self.now = round(self.now + seconds, 3)
        return []

    def short(self, outputs: list[Output]) -> list[Any]:
        self.last = outputs
        return [self._short(output) for output in outputs]

    def _short(self, output: Output) -> Any:
        if isinstance(output, StateChange):
            return (output.previous and str(output.previous), str(output.state), str(output.reason))
        if isinstance(output, BookSnapshot):
            return f"snapshot {output.reason}"
        if isinstance(output, SnapshotRequest):
            self.number = output.number
            return "refresh" if output.is_refresh else "request"
        assert isinstance(output, BookUpdate)
        return "update"
