"""Checks of one part with a bounded wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from config.pacing import Throttle
from config.secrets import scrub
from db.bus import BusError
from db.postgres import StoreError

CONNECTED, DISCONNECTED, IMPAIRED, NOT_MIGRATED = "connected", "disconnected", "impaired", "not_migrated"

log = logging.getLogger(__name__)


class CheckFailed(Exception):
    """A part cannot do its work. `state` is `disconnected`, `impaired` or `not_migrated`.

    The reason is scrubbed of secrets, because reports and logs show it.
    """

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(scrub(reason))
        self.state = state


class HealthProbe:
    """A check of one part in its own thread, so that a hung backend cannot block callers.

    Callers that come during a check share its result. A hung backend therefore occupies one thread
    and one connection. The result is None if the check passes.
    """

    def __init__(self, part: str, check: Callable[[], None]) -> None:
        self.part = part
        self._check = check
        self._lock = threading.Lock()
        self._latest: Future[CheckFailed | None] | None = None
        self._unexpected = Throttle(monotonic=time.monotonic)

    def ask(self) -> Future[CheckFailed | None]:
        """Return the result to come of the running check, or of a new one."""
        with self._lock:
            if self._latest is None or self._latest.done():
                self._latest = Future()
                threading.Thread(target=self._run, args=(self._latest,), name=f"probe {self.part}", daemon=True).start()
            return self._latest

    def _run(self, answer: Future[CheckFailed | None]) -> None:
        result: CheckFailed | None = None
        try:
            self._check()
        except CheckFailed as error:
            result = error
        except (BusError, StoreError) as error:
            result = CheckFailed(DISCONNECTED, str(error))
        except Exception as error:
            if self._unexpected.due(self.part) is not None:
                log.exception("health check raised an unexpected error", extra={"part": self.part})
            result = CheckFailed(IMPAIRED, f"{type(error).__name__}: {error}")
        answer.set_result(result)


def ask_all(*probes: HealthProbe, patience: float) -> list[CheckFailed | None]:
    """Run all checks at once and return their results in order.

    A check that takes longer than `patience` seconds has failed.
    """
    answers = [probe.ask() for probe in probes]
    done, _ = wait(answers, timeout=patience)
    late = CheckFailed(DISCONNECTED, f"no answer within {patience:g} s")
    return [answer.result() if answer in done else late for answer in answers]
