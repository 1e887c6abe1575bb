"""Health checks of one backend with a bounded wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any

from config.loops import PROCESS_END, keep
from config.pacing import Outage
from db.bus import BusError
from db.postgres import StoreError

ANSWER_WAIT_SECONDS = 1.5

log = logging.getLogger(__name__)


class HealthProbe:
    """A check of one backend in its own thread, so that a hung backend cannot block callers.

    Callers that come during a check share its result. A hung backend therefore occupies one thread
    and one connection.
    """

    def __init__(self, part: str, check: Callable[[], Any]) -> None:
        self._part = part
        self._check = check
        self._lock = threading.Lock()
        self._latest: Future[Any] | None = None
        self._waiting: SimpleQueue[Future[Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None  # started by the first check
        self._outage = Outage(log, "health check failed", monotonic=time.monotonic, part=part)

    def ask(self) -> Future[Any]:
        """Return the result to come of the running check, or of a new one.

        None means that it failed.
        """
        with self._lock:
            if self._latest is None or self._latest.done():
                self._latest = Future()
                self._waiting.put(self._latest)
                if self._thread is None:
                    kept = (f"probe-{self._part}", self._serve, _never, PROCESS_END)
                    self._thread = threading.Thread(target=keep, args=kept, name=kept[0], daemon=True)
                    self._thread.start()
            return self._latest

    def _serve(self) -> None:
        """Run the checks, as long as the process lives."""
        while True:
            answer = self._waiting.get()
            result = None
            try:
                result = self._check()
                self._outage.recovered()
            except (BusError, StoreError) as error:
                self._outage.failed(error)
            except Exception:
                log.exception("health check raised an unexpected error", extra={"part": self._part})
            answer.set_result(result)


def _never() -> bool:
    return False


def ask_all(*probes: HealthProbe, patience: float = ANSWER_WAIT_SECONDS) -> list[Any]:
    """Run all checks at once.

    Return their results in order, None for each that failed or took longer than `patience` seconds.
    """
    answers = [probe.ask() for probe in probes]
    done, _ = wait(answers, timeout=patience)
    return [answer.result() if answer in done else None for answer in answers]
