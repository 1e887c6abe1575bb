"""Pure waiting helpers for jobs, api and ops: back-off, retries, pauses, outages in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

Answer = TypeVar("Answer")

_MAX_EXPONENT = 16  # keeps 2^n finite, however often a call fails
STOP_POLL_SECONDS = 0.25  # between two checks whether a thread must stop
LONGEST_STEP_SECONDS = 3.0  # of one round of a loop; the rest is a pause of the process


class Stopped(Exception):
    """The process or the thread is stopping: the call was given up."""


class StopSignal(Protocol):
    """The part of `threading.Event` that waiting needs."""

    def is_set(self) -> bool:
        """Return True if a stop was requested."""

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; return True if a stop was requested."""


def backoff(attempt: int, *, first: float, longest: float, jitter: float, spread: float) -> float:
    """Seconds to wait before retry `attempt` (from 1).

    The result is min(longest, first · 2^(attempt - 1)) · (1 - spread · (1 - jitter)).
    `jitter` in [0, 1] is a random number; it moves the delay within its upper part, so that clients
    which failed together do not retry together. `spread` in [0, 1] is the size of that part.
    """
    delay = min(longest, first * 2.0 ** min(attempt - 1, _MAX_EXPONENT))
    return float(delay * (1 - spread * (1 - jitter)))


class Outage:
    """Log a failure that lasts once at its start and once at its end.

    `text` is the log line of the start. The end is logged as `recovered: TEXT` with the duration.
    `monotonic` is a clock in seconds; `fields` go with both lines. Use it from one thread.
    """

    def __init__(self, log: logging.Logger, text: str, *, monotonic: Callable[[], float], **fields: Any) -> None:
        self._log = log
        self._text = text
        self._monotonic = monotonic
        self._fields = fields
        self._since: float | None = None  # monotonic time of the first failure
        self.failures = 0  # since the outage began

    @property
    def lasts(self) -> bool:
        """True from the first failure to the next success."""
        return self._since is not None

    def failed(self, error: BaseException, *, traceback: bool = False) -> None:
        """Count a failure; log the first one, with its traceback if `traceback` is set."""
        self.failures += 1
        if self._since is None:
            self._since = self._monotonic()
            self._log.warning(self._text, extra={**self._fields, "reason": str(error)}, exc_info=error if traceback else None)

    def recovered(self) -> None:
        """End the outage, if there is one, and log its duration in seconds."""
        if self._since is not None:
            seconds = round(self._monotonic() - self._since, 3)
            self._log.info("recovered: %s", self._text, extra={**self._fields, "seconds": seconds, "failures": self.failures})
        self._since, self.failures = None, 0


class ActiveTime:
    """A clock in seconds that counts at most `LONGEST_STEP_SECONDS` from one call to the next.

    A process that was stopped (Ctrl-Z, a debugger, a frozen container) goes on with its timers as
    if the pause had not been. Call it in each round.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._last = monotonic()
        self._active = 0.0

    def __call__(self) -> float:
        now = self._monotonic()
        self._active += min(LONGEST_STEP_SECONDS, now - self._last)
        self._last = now
        return self._active


class Throttle:
    """Lets one log line per kind pass in `seconds`, and counts the others."""

    def __init__(self, seconds: float = 60.0, *, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._passed: dict[str, float] = {}  # kind -> monotonic time of its last line
        self._counts: dict[str, int] = {}  # kind -> occurrences since that line

    def due(self, kind: str) -> int | None:
        """Count one occurrence.

        Return the number since the last line if a line is due now, else None.
        """
        count = self._counts.get(kind, 0) + 1
        now, last = self._monotonic(), self._passed.get(kind)
        if last is not None and now - last < self._seconds:
            self._counts[kind] = count
            return None
        self._passed[kind], self._counts[kind] = now, 0
        return count


def retry(
    call: Callable[[], Answer],
    *,
    on: type[Exception] | tuple[type[Exception], ...],
    stop: StopSignal,
    outage: Outage,
    pause: Callable[[int], float],
    attempts: float = float("inf"),
) -> Answer:
    """Return the result of `call`; repeat it while it raises `on`.

    `pause(attempt)` is the delay in seconds after attempt 1, 2, …. Raises `Stopped` on request, any
    other exception of `call`, and the last exception if all `attempts` fail.
    """
    while True:
        try:
            answer = call()
        except on as error:
            outage.failed(error)
            if outage.failures >= attempts:
                raise
        else:
            outage.recovered()
            return answer
        if stop.wait(pause(outage.failures)):
            raise Stopped
