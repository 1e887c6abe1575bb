"""Acknowledgements of alerts between their event and PostgreSQL: one greenlet serves them in order.

The handler of an event runs inside the loop and may not wait for the store.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from api.access.model import Access
from api.acknowledgement import acknowledge_alert
from api.errors import ErrorCode, Refusal
from api.hub.metrics.deferred import Deferred
from config.pacing import Outage
from db.postgres import Store, StoreError

log = logging.getLogger(__name__)

MAX_WAITING = 100
POLL_SECONDS = 1.0  # between two checks whether the greenlet must end
_AWAY = Refusal(ErrorCode.UNAVAILABLE, "The database does not answer; try again.", {"retry_after": 2})


class _Request(NamedTuple):
    access: Access
    asked: Mapping[str, Any]
    answer: Deferred


class Acknowledgements:
    """A bounded queue of requests. One greenlet or thread runs it. `clock` returns aware UTC."""

    def __init__(self, store: Store, clock: Callable[[], datetime], limit: int = MAX_WAITING) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._requests: deque[_Request] = deque()
        self._arrived = threading.Event()
        self._outage = Outage(log, "an alert was not acknowledged", monotonic=time.monotonic)

    def put(self, access: Access, asked: Mapping[str, Any], answer: Deferred) -> None:
        """Add a request. Raises `Refusal` if too many wait."""
        if len(self._requests) >= self._limit:
            message = f"{self._limit} acknowledgements wait already; try again."
            raise Refusal(ErrorCode.TOO_MANY_REQUESTS, message, {"retry_after": 2})
        self._requests.append(_Request(access, asked, answer))
        self._arrived.set()

    def run(self, stop: threading.Event) -> None:
        """Serve the requests that arrive, until `stop` is set."""
        while not stop.is_set():
            if self._requests:
                self._serve(self._requests.popleft())
            else:
                self._arrived.clear()
                self._arrived.wait(POLL_SECONDS)

    def _serve(self, request: _Request) -> None:
        access, asked, answer = request
        try:
            body = acknowledge_alert(self._store, access, asked["alert_id"], asked, self._clock())
        except Refusal as refusal:
            answer.refuse(refusal)
        except StoreError as error:
            self._outage.failed(error)
            answer.refuse(_AWAY)
        except Exception:
            log.exception("an alert was not acknowledged")
            answer.fail()
        else:
            self._outage.recovered()
            answer.send(body)
