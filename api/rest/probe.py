"""Asking a part whether it works, without ever waiting long for the answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from db.bus import BusError
from db.postgres import StoreError

ANSWER_WAIT_SECONDS = 1.5

log = logging.getLogger(__name__)


class HealthProbe:
    """A question to one part. It is asked in a thread of its own, so that a part that hangs cannot hang who wants to know;
    whoever comes while one is on its way shares its answer, so that a hanging part holds one thread and one connection."""

    def __init__(self, part: str, question: Callable[[], Any]) -> None:
        self._part = part
        self._question = question
        self._lock = threading.Lock()
        self._latest: Future[Any] | None = None
        self._failing = False

    def ask(self) -> Future[Any]:
        """The answer to come."""
        with self._lock:
            if self._latest is None or self._latest.done():
                self._latest = Future()
                threading.Thread(target=self._run, args=(self._latest,), name=f"probe {self._part}", daemon=True).start()
            return self._latest

    def _run(self, answer: Future[Any]) -> None:
        try:
            result = self._question()
        except Exception as error:
            if not self._failing:
                expected = isinstance(error, BusError | StoreError)
                log.warning("%s does not answer", self._part, extra={"part": self._part, "reason": str(error)}, exc_info=not expected)
            self._failing = True
            answer.set_result(None)
            return
        if self._failing:
            log.info("%s answers again", self._part, extra={"part": self._part})
        self._failing = False
        answer.set_result(result)


def ask_all(*probes: HealthProbe, patience: float = ANSWER_WAIT_SECONDS) -> list[Any]:
    """Ask them all at once; the answers in order, None for each that failed or took longer than `patience` seconds."""
    answers = [probe.ask() for probe in probes]
    done, _ = wait(answers, timeout=patience)
    return [answer.result() if answer in done else None for answer in answers]
