"""Threads that must live as long as their process is active."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class ThreadEnded(Exception):
    """A long-lived thread ended although no stop was requested: the process must end too."""


class LongLivedThread(threading.Thread):
    """A thread that reports its own unexpected end, so that no process continues without it.

    `target` must return after `stop` is set, and not before. If it raises or returns early, an
    error is logged and `on_failure` is called with the thread's name. With `may_return`, an early
    return is no failure.
    """

    def __init__(
        self,
        target: Callable[[], object],
        *,
        name: str,
        stop: threading.Event,
        on_failure: Callable[[str], None],
        may_return: bool = False,
        daemon: bool = True,
    ) -> None:
        super().__init__(name=name, daemon=daemon)
        self._run_target = target
        self._stop_requested = stop
        self._on_failure = on_failure
        self._may_return = may_return

    def run(self) -> None:
        """Run the target in this thread."""
        try:
            self._run_target()
        except BaseException:
            log.exception("thread failed: the process ends", extra={"thread_name": self.name})
            self._on_failure(self.name)
            raise
        if not self._may_return and not self._stop_requested.is_set():
            log.error("thread ended without a stop: the process ends", extra={"thread_name": self.name})
            self._on_failure(self.name)
