"""Long-lived loops: their guard, their heartbeats, and the end of the process that they cause."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

log = logging.getLogger(__name__)

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h
UNFIT_CODE = 2  # a setting or the environment has to change first
ENDED = "a long-lived loop ended: the process ends"


def keep(name: str, loop: Callable[[], None], stopping: Callable[[], bool], end: Callable[[int], None]) -> None:
    """Run a loop that must last until `stopping()` is true.

    If it returns or raises before, log an error with its name and call `end(EXIT_CODE)`: no process
    continues without one of its loops. An exception while `stopping()` is true is raised.
    """
    try:
        loop()
    except BaseException:
        if stopping():
            raise
        log.exception(ENDED, extra={"loop": name})
    else:
        if stopping():
            return
        log.error(ENDED, extra={"loop": name})
    end(EXIT_CODE)


class Heartbeats:
    """The monotonic time of the last round of each loop.

    Any thread may call it: each entry of a dict is replaced as a whole.
    """

    _SILENT_ROUNDS = 3

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._longest: dict[str, float] = {}  # loop -> seconds of its longest round
        self._last: dict[str, float] = {}  # loop -> monotonic time of its last round

    def expect(self, loop: str, longest_round_seconds: float) -> None:
        """Watch the loop from now on."""
        self._last[loop] = self._monotonic()
        self._longest[loop] = longest_round_seconds

    def forget(self, loop: str) -> None:
        """Stop watching a loop that has ended as expected."""
        self._longest.pop(loop, None)
        self._last.pop(loop, None)

    def beat(self, loop: str) -> None:
        """Record a round of the loop."""
        self._last[loop] = self._monotonic()

    def watched(self) -> set[str]:
        """Return the names of the watched loops."""
        return set(self._longest)

    def ages(self) -> dict[str, float]:
        """Loop -> seconds since its last round, of all watched loops."""
        now = self._monotonic()
        return {loop: now - self._last.get(loop, now) for loop in list(self._longest)}

    def silent(self) -> dict[str, float]:
        """Loop -> seconds since its last round, of loops that have missed three rounds."""
        ages = self.ages()
        return {loop: age for loop, age in ages.items() if age >= self._SILENT_ROUNDS * self._longest.get(loop, age)}


HEARTBEATS = Heartbeats()


def liveness(silent: Iterable[str]) -> tuple[dict[str, Any], int]:
    """Body and status of the answer of a liveness route: 503 if a loop has missed its rounds."""
    if found := sorted(silent):
        return {"status": "silent", "silent_loops": found}, 503
    return {"status": "alive"}, 200


class BeatingStop(threading.Event):
    """The stop event of a loop: every check of it and every wait for it is a heartbeat.

    A loop has to check its stop event in each round anyway, and so has each wait inside a round.
    """

    _PIECE_SECONDS = 1.0  # a long wait beats after each piece

    def __init__(self, stop: threading.Event, loop: str, heartbeats: Heartbeats = HEARTBEATS) -> None:
        # Without `Event.__init__`: each call goes to `stop`.
        self._stop_event = stop
        self._loop = loop
        self._heartbeats = heartbeats

    def is_set(self) -> bool:
        """Return True if a stop was requested."""
        self._heartbeats.beat(self._loop)
        return self._stop_event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds; return True if a stop was requested."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = self._PIECE_SECONDS if deadline is None else min(self._PIECE_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return False
            self._stop_event.wait(left)
        return True

    def set(self) -> None:
        """Request the stop."""
        self._stop_event.set()

    def clear(self) -> None:
        """Withdraw the request."""
        self._stop_event.clear()


class ProcessEnd:
    """The end of this process: as its supervisor requests, or with an exit code because of a loop.

    Called with an exit code, it ends the process at once. After `in_order` it requests an orderly
    stop and starts a deadline instead; the caller of `in_order` then exits with `code`.
    """

    def __init__(self, leave: Callable[[int], None] = os._exit) -> None:
        self._leave = leave
        self._expected = False
        self._stop: Callable[[], None] | None = None
        self._start_deadline: Callable[[Callable[[], None]], None] = lambda leave: None
        self.code: int | None = None  # set when a loop has ended

    def in_order(self, stop: Callable[[], None], start_deadline: Callable[[Callable[[], None]], None]) -> None:
        """Let a loop's end call `stop`.

        `start_deadline(leave)` must call `leave` from a thread of the operating system after the
        longest time that an orderly stop may take.
        """
        self._stop, self._start_deadline = stop, start_deadline

    def expect(self) -> None:
        """Note that a stop was requested: loops may end from now on."""
        self._expected = True

    @property
    def begun(self) -> bool:
        """True if this process is about to end, for either reason."""
        return self._expected or self.code is not None

    def __call__(self, code: int) -> None:
        if self.code is not None:
            return
        self.code = code
        if self._stop is None:
            self._leave(code)
            return
        self._start_deadline(lambda: self._leave(code))
        self._stop()


PROCESS_END = ProcessEnd()


def keep_in_thread(
    name: str, loop: Callable[[threading.Event], None], *, round_seconds: float | None = None, end_seconds: float = 1.0
) -> None:
    """Run a loop that must last in a thread until the process ends.

    With `round_seconds`, the longest round of the loop, it is watched. The end of the process sets
    the event of the loop, and waits `end_seconds` for its last work. In the hub the thread is a
    greenlet.
    """
    stop = threading.Event()
    if round_seconds is not None:
        HEARTBEATS.expect(name, round_seconds)
        stop = BeatingStop(stop, name)
    thread = threading.Thread(target=keep, args=(name, partial(loop, stop), stop.is_set, PROCESS_END), name=name, daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(end_seconds)

    atexit.register(end)
