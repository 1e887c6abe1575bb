"""The way on which the messages of a book arrive: a live feed, a scenario, a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobs.books.book import Level
from jobs.books.parts.states import StateChange


class Line(Protocol):
    """The part of a line that its books need. Times are seconds of `time.monotonic()`."""

    @property
    def is_live(self) -> bool:
        """True for the books of a real exchange: only these are stored."""

    def present(self) -> float:
        """The present time."""

    def queue_size(self) -> int:
        """Number of diffs that wait."""

    def request_snapshot(self, instrument: str, number: int, is_refresh: bool) -> None:
        """Request a snapshot; the answer has this number."""

    def changed(self, instrument: str, change: StateChange) -> None:
        """A book has changed its state."""

    def published(self, instrument: str, update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """The best levels of a book are about to be published as live."""

    def publish_delay(self) -> float:
        """Seconds to wait before the next publish: the fault `slow_bus`."""
