"""Reports without an ack: kept, and sent until the hub has answered them.

A report may be sent several times, with the same id: it takes effect once.
"""

from __future__ import annotations

import copy
import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import NamedTuple

from tickwire_client import failures
from tickwire_client.checks import MAX_PAYLOAD_BYTES
from tickwire_client.errors import Closed, ConnectionFailed, ConnectionLost, Refused, TickwireError
from tickwire_client.failures import is_error
from tickwire_client.link import Link
from tickwire_client.messages import Body
from tickwire_client.space import METRICS

log = logging.getLogger("tickwire_client")

MAX_REPORTS = 500  # of a batch
MAX_KEPT = 100_000
_MAX_BATCH_BYTES = MAX_PAYLOAD_BYTES - 256  # without the name of the event and the number of the ack
_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 1.0  # between two checks whether the client is connected
_WAITED_CODES = {"too_many_requests", "unavailable"}  # of refusals that a later attempt may not get
_DEFAULT_PAUSE_SECONDS = 1.0  # if such a refusal names no time


class Batch:
    """Reports that are sent together. `answer` has the body of the ack, or raises."""

    __slots__ = ("abandoned", "answer", "bodies", "bytes")

    def __init__(self, bodies: list[Body], size: int) -> None:
        self.bodies, self.bytes = bodies, size
        self.answer: Future[Body] = Future()
        self.abandoned = False  # its caller no longer waits


class _Sized(NamedTuple):
    body: Body
    bytes: int


class ReportSender:
    """Sends batches in order, one at a time, in a thread that the first batch starts.

    Batches whose callers no longer wait are joined. `refused` is called with each refusal that no
    caller receives.
    """

    def __init__(self, link: Link, refused: Callable[[Refused], None]) -> None:
        self._link, self._refused = link, refused
        self._changed = threading.Condition()
        self._batches: deque[Batch] = deque()
        self._kept = 0  # reports in `_batches`
        self._thread: threading.Thread | None = None
        self._ended: TickwireError | None = None  # the reason for the end of the thread

    @property
    def kept(self) -> list[Body]:
        """The reports without an ack."""
        with self._changed:
            return [body for batch in self._batches for body in batch.bodies]

    def put(self, batches: list[Batch]) -> None:
        """Keep batches until they are answered. Raises `Refused` if too many reports wait."""
        added = sum(len(batch.bodies) for batch in batches)
        with self._changed:
            if self._kept + added > MAX_KEPT:
                message = f"{self._kept} reports wait for an ack already, of at most {MAX_KEPT}; these were not kept."
                raise Refused("too_many_requests", message, {"waiting": self._kept})
            if self._ended is not None:
                raise copy.copy(self._ended)
            self._batches.extend(batches)
            self._kept += added
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tickwire-reports", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    # the thread

    def _run(self) -> None:
        try:
            while True:
                batches = self._next()
                answer = self._send([body for batch in batches for body in batch.bodies])
                with self._changed:
                    for batch in batches:
                        self._batches.popleft()
                        self._kept -= len(batch.bodies)
                self._answered(batches, answer)
        except (Closed, ConnectionFailed) as error:
            self._end(error)

    def _next(self) -> list[Batch]:
        """Wait for the next batch; return it, or several that no caller waits for."""
        with self._changed:
            while not self._batches:
                self._changed.wait(_POLL_SECONDS)
                self._link.await_up(0)  # raises if the client is closed
            taken: list[Batch] = []
            size = 0
            for batch in self._batches:
                full = sum(len(each.bodies) for each in taken) + len(batch.bodies) > MAX_REPORTS or size + batch.bytes > _MAX_BATCH_BYTES
                if taken and (full or not batch.abandoned or not taken[0].abandoned):
                    break
                taken.append(batch)
                size += batch.bytes
            return taken

    def _send(self, bodies: list[Body]) -> Body:
        """Send reports until they are answered; the answer may be a refusal."""
        while True:
            answer = self._attempt(bodies)
            if answer is None:
                continue
            if not is_error(answer) or answer["code"] not in _WAITED_CODES:
                return answer
            after = failures.retry_after_of(answer["details"].get("retry_after"))
            self._link.closes_within(failures.spread(_DEFAULT_PAUSE_SECONDS if after is None else after))

    def _attempt(self, bodies: list[Body]) -> Body | None:
        """Send reports once. None without an answer. Raises `Closed` and `ConnectionFailed`."""
        if not self._link.await_up(_POLL_SECONDS):
            return None
        try:
            self._link.join().result(_ANSWER_SECONDS)
            return self._link.request("report", {"reports": bodies}, namespace=METRICS).result(_ANSWER_SECONDS)
        except (ConnectionLost, FutureTimeout):
            self._link.closes_within(0.01)  # the link notices the end of the connection
            return None
        except Refused as error:  # of CONNECT
            return {"code": error.code, "message": error.reason, "event": "connect", "details": error.details}

    def _answered(self, batches: list[Batch], answer: Body) -> None:
        for batch in batches:
            if is_error(answer):
                batch.answer.set_exception(Refused(answer["code"], answer["message"], answer["details"]))
            else:
                batch.answer.set_result(answer)
        if batches[0].abandoned:
            refusals = [answer] if is_error(answer) else answer["rejected"]
            for each in refusals:
                log.warning("a report was refused after its caller had stopped to wait: %s", each["message"])
                self._refused(Refused(each["code"], each["message"], {"id": [each["id"]]} if each.get("id") else {}))

    def _end(self, error: TickwireError) -> None:
        with self._changed:
            self._ended = error
            if self._kept:
                log.warning("%d reports have no ack: %s", self._kept, error)
            batches = list(self._batches)
        for batch in batches:
            batch.answer.set_exception(error)


def batches_of(bodies: list[Body]) -> Iterator[Batch]:
    """Batches of at most 500 reports, each within the largest message of the hub."""
    part: list[_Sized] = []
    size = 0
    for body in bodies:
        each = _Sized(body, len(json.dumps(body).encode()) + 1)
        if part and (len(part) == MAX_REPORTS or size + each.bytes > _MAX_BATCH_BYTES):
            yield Batch([sized.body for sized in part], size)
            part, size = [], 0
        part.append(each)
        size += each.bytes
    if part:
        yield Batch([sized.body for sized in part], size)
