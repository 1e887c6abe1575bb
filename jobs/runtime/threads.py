"""Threads that must live as long as their process is active."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from config.loops import HEARTBEATS, BeatingStop, keep

log = logging.getLogger(__name__)

_JOIN_SECONDS = 8.0  # for loops, after a stop is requested


class ThreadEnded(Exception):
    """A long-lived thread ended although no stop was requested: the process must end too."""


class LongLivedThread(threading.Thread):
    """A thread that reports its own unexpected end, so that no process continues without it.

    `target(stop)` must return after `stop` is set, and not before. If it raises or returns early,
    an error is logged and `on_failure` is called with the thread's name. While `may_return()` is
    true, an early return is expected.

    With `round_seconds`, the longest time between two checks of `stop`, the thread has a heartbeat.
    """

    def __init__(
        self,
        target: Callable[[threading.Event], object],
        *,
        name: str,
        stop: threading.Event,
        on_failure: Callable[[str], None],
        may_return: Callable[[], bool] = lambda: False,
        round_seconds: float | None = None,
        daemon: bool = True,
    ) -> None:
        super().__init__(name=name, daemon=daemon)
        self._run_target = target
        self._stop_requested = stop
        self._on_failure = on_failure
        self._may_return = may_return
        self._round_seconds = round_seconds
        self._returned = False

    def run(self) -> None:
        """Run the target in this thread."""
        if self._round_seconds is not None:
            HEARTBEATS.expect(self.name, self._round_seconds)
        try:
            keep(self.name, self._run_to_the_end, self._is_stopping, lambda code: self._on_failure(self.name))
        except Exception:
            log.exception("a loop failed while it stopped", extra={"loop": self.name})
            self._on_failure(self.name)
        finally:
            HEARTBEATS.forget(self.name)

    def _run_to_the_end(self) -> None:
        stop = self._stop_requested
        self._run_target(stop if self._round_seconds is None else BeatingStop(stop, self.name))
        self._returned = True

    def _is_stopping(self) -> bool:
        return self._stop_requested.is_set() or (self._returned and self._may_return())


def run_loops(
    owner: str,
    loops: Mapping[str, Callable[[threading.Event], object]],
    over: threading.Event,
    *,
    round_seconds: float,
    stopping: Callable[[], object],
) -> None:
    """Run each loop in a thread with its name until `over` is set.

    `round_seconds` is the longest round of a loop. `stopping` is called when the loops begin to
    stop. Raises `ThreadEnded`, which names the `owner`, if a loop fails.
    """
    failed: list[str] = []

    def fail(name: str) -> None:
        failed.append(name)
        over.set()

    threads = [LongLivedThread(loop, name=name, stop=over, on_failure=fail, round_seconds=round_seconds) for name, loop in loops.items()]
    for thread in threads:
        thread.start()
    over.wait()
    stopping()
    deadline = time.monotonic() + _JOIN_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if failed:
        raise ThreadEnded(f"the loop {failed[0]} of the {owner} ended although no stop was requested")
