"""The watchdog: a thread of the operating system that ends a process with a silent loop."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from config.loops import EXIT_CODE, HEARTBEATS, PROCESS_END, Heartbeats, keep

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0  # from the third missed round of a loop to the end of the process
ORDERLY_SECONDS = 10.0  # for an orderly stop after the end of a loop
_POLL_SECONDS = 1.0
_LOG_SECONDS = 1.0  # for the last line of the log: its reader may hang
_TEXT = "a loop is silent: the process ends"


@dataclass(frozen=True, slots=True)
class OsThreads:
    """Daemon threads of the operating system, and their sleep.

    eventlet replaces `threading.Thread` and `time.sleep`. The hub passes the originals: a greenlet
    would stop together with the loop that it watches.
    """

    thread: Callable[..., Any] = threading.Thread
    sleep: Callable[[float], None] = time.sleep

    def start(self, target: Callable[[], None], name: str) -> None:
        """Run the target in a thread of its own."""
        self.thread(target=target, name=name, daemon=True).start()

    def start_deadline(self, leave: Callable[[], None]) -> None:
        """Call `leave` after the time for an orderly stop."""

        def wait() -> None:
            self.sleep(ORDERLY_SECONDS)
            leave()

        self.start(wait, "deadline")


class Watchdog:
    """Ends the process if a loop stays silent.

    It counts its own rounds instead of comparing times: a process that was stopped and continued is
    not silent.
    """

    def __init__(
        self,
        threads: OsThreads | None = None,
        heartbeats: Heartbeats = HEARTBEATS,
        leave: Callable[[int], None] = os._exit,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._threads = threads or OsThreads()
        self._heartbeats = heartbeats
        self._leave = leave
        self._patience = patience
        self._rounds: dict[str, int] = {}  # silent loop -> rounds of the watchdog in a row

    def start(self) -> None:
        """Watch the loops of this process from now on."""
        self._threads.start(partial(keep, "watchdog", self._run, lambda: PROCESS_END.begun, self._leave), "watchdog")

    def _run(self) -> None:
        while not self._due():
            self._threads.sleep(_POLL_SECONDS)
        record = log.makeRecord(log.name, logging.ERROR, __file__, 0, _TEXT, (), None, extra={"loop": self._due(), "stack": _stacks()})
        self._threads.start(partial(_write, record), "last-line")
        self._threads.sleep(_LOG_SECONDS)
        self._leave(EXIT_CODE)

    def _due(self) -> str:
        """Count one round; return the loops that were silent for too long, else ""."""
        silent = self._heartbeats.silent()
        self._rounds = {loop: self._rounds.get(loop, 0) + 1 for loop in silent}
        return ", ".join(loop for loop, rounds in self._rounds.items() if rounds * _POLL_SECONDS > self._patience)


def _stacks() -> str:
    """Return the stack of the main thread, in which most loops of a process hang."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return "".join(traceback.format_stack(frame)[-12:]) if frame else ""


def _write(record: logging.LogRecord) -> None:
    """Write a record without the locks of `logging`, which a hanging thread may hold."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            os.write(handler.stream.fileno(), (handler.format(record) + "\n").encode(errors="replace"))
