"""Requests for snapshots of one book: one at a time, repeated with back-off. Pure."""

from __future__ import annotations

from collections.abc import Callable

from config.pacing import backoff

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
WAIT_SPREAD = 0.5  # part of a wait that is random
ANSWER_SECONDS = 30.0  # a request without an answer for so long has failed


class SnapshotRequests:
    """The request under way, or the time of the next one.

    `jitter` returns a random number in [0, 1].
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._numbers = 0
        self._open: int | None = None  # number of the request under way
        self._sent = 0.0
        self._due: float | None = None
        self._failures = 0

    @property
    def is_idle(self) -> bool:
        """True if no request is under way or due."""
        return self._open is None and self._due is None

    def want(self, now: float) -> None:
        """Request a snapshot at once, or when the wait after a failure ends.

        An answer to an older request no longer counts.
        """
        self._open = None
        if self._due is None:
            self._due = now

    def repeat(self, now: float, retry_after: float | None = None) -> None:
        """Request again after `retry_after` seconds, or after a wait that doubles each time."""
        self._failures += 1
        wait = backoff(self._failures, first=FIRST_WAIT_SECONDS, longest=LONGEST_WAIT_SECONDS, jitter=self._jitter(), spread=WAIT_SPREAD)
        self._open, self._due = None, now + (wait if retry_after is None else retry_after)

    def answered(self) -> None:
        """The snapshot has arrived; the failures count until `stop`."""
        self._open = None

    def stop(self) -> None:
        """End requests and waits: the snapshot is taken, or none is needed."""
        self._open, self._due, self._failures = None, None, 0

    def take_due(self, now: float) -> int | None:
        """The number of the request to send now, or None."""
        if self._due is None or now < self._due:
            return None
        self._numbers += 1
        self._open, self._due, self._sent = self._numbers, None, now
        return self._open

    def is_current(self, number: int | None) -> bool:
        """True for the request under way, and for None: a snapshot that nobody requested."""
        return number is None or number == self._open

    def is_unanswered(self, now: float) -> bool:
        """True if the request under way has no answer for too long."""
        return self._open is not None and now - self._sent >= ANSWER_SECONDS
