"""Snapshots of order books over REST: one request after another, within the exchange's limits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from config.pacing import STOP_POLL_SECONDS, StopSignal, Throttle
from jobs.feeds.base import SourceError, as_source_error
from jobs.feeds.binance.request_limits import RequestLimits

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

# Below the 30 s after which the books give up a request.
ANSWER_SECONDS = 10.0
# A snapshot of 5,000 levels a side has about 0.3 MB.
MAX_ANSWER_BYTES = 4 * 2**20


class SnapshotSink(Protocol):
    """The receiver of the answers; `received` is a time of the clock of the requests."""

    def snapshot(self, instrument: str, number: int, text: bytes, limit: int, received: float) -> None:
        """Take the body of an answer; `limit` levels a side were requested."""

    def snapshot_failed(self, instrument: str, number: int, retry_after: float | None, received: float) -> None:
        """Take a failure; `retry_after` is a wait in seconds, of the exchange or of a limit."""


@dataclass(frozen=True, slots=True)
class Request:
    """A wanted snapshot; the answer has its number."""

    instrument: str
    number: int
    is_refresh: bool


class Snapshots:
    """Requests of all books of one exchange. Any thread may call `request`, and run `serve`.

    `path` is the route at the host `url`, `limit` the number of levels a side. Each request has one
    answer, unless a newer one of its instrument replaces it, or `forget` removes it. A request that
    fails is not repeated here.
    """

    def __init__(
        self,
        url: str,
        path: str,
        limit: int,
        sink: SnapshotSink,
        *,
        limits: RequestLimits | None = None,
        timeout: float = ANSWER_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        import httpx  # the process of the books starts without it if all of its books are of a scenario

        self._client = httpx.Client(base_url=url, timeout=httpx.Timeout(timeout, connect=timeout / 2))
        self._path = path
        self._limit = limit
        self._sink = sink
        self._limits = limits or RequestLimits()
        self._timeout = timeout
        self._monotonic = monotonic
        self._waiting: dict[str, Request] = {}  # instrument -> its newest request, oldest first
        self._changed = threading.Condition()
        self._throttle = Throttle(monotonic=monotonic)
        self._lock = threading.Lock()  # of limits and throttle

    def request(self, instrument: str, number: int, *, is_refresh: bool) -> None:
        """Request a snapshot; it replaces a request of the instrument that was not sent yet."""
        with self._changed:
            self._waiting.pop(instrument, None)
            self._waiting[instrument] = Request(instrument, number, is_refresh)
            self._changed.notify()

    def forget(self) -> None:
        """Remove the requests that were not sent: nobody needs their answers."""
        with self._changed:
            self._waiting.clear()

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def serve(self, stop: StopSignal) -> None:
        """Send the requests until `stop` is set."""
        while not stop.is_set():
            if (request := self._next()) is not None:
                self._send(request)

    def _next(self) -> Request | None:
        """Wait a short time for a request. Books that are wrong come before refreshes."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(STOP_POLL_SECONDS)
            found = min(self._waiting.values(), key=lambda each: each.is_refresh, default=None)
            return None if found is None else self._waiting.pop(found.instrument)

    def _send(self, request: Request) -> None:
        import httpx

        now = self._monotonic()
        with self._lock:
            refusal = self._limits.take(now, is_refresh=request.is_refresh)
        if refusal is not None:
            self._note_failure(request.instrument, SourceError(refusal.reason, fatal=False, retry_after=refusal.seconds))
            self._sink.snapshot_failed(request.instrument, request.number, refusal.seconds, now)
            return
        try:
            text = self._get(request.instrument)
        except (httpx.HTTPError, SourceError) as error:
            failure = as_source_error(error)
            self._note_failure(request.instrument, failure)
            self._sink.snapshot_failed(request.instrument, request.number, failure.retry_after, self._monotonic())
        else:
            self._sink.snapshot(request.instrument, request.number, text, self._limit, self._monotonic())

    def _note_failure(self, instrument: str, failure: SourceError) -> None:
        with self._lock:
            count = self._throttle.due(instrument)
        if count is not None:
            wait = None if failure.retry_after is None else round(failure.retry_after, 1)
            fields = {"symbol": instrument, "reason": failure.explanation, "retry_after": wait, "count": count}
            log.warning("a snapshot of an order book is not received (repeats suppressed for 60 s)", extra=fields)

    def _get(self, instrument: str) -> bytes:
        """The body of an answer with status 200. Raises `SourceError` and `httpx.HTTPError`."""
        deadline = self._monotonic() + self._timeout
        parameters: dict[str, str | int] = {"symbol": instrument, "limit": self._limit}
        with self._client.stream("GET", self._path, params=parameters) as answer:
            with self._lock:
                wait = self._limits.note_answer(answer.status_code, answer.headers, self._monotonic())
            text = self._body(answer, deadline)
        if answer.status_code != HTTPStatus.OK:
            raise SourceError(f"HTTP {answer.status_code}", fatal=False, retry_after=wait, server_text=text.decode(errors="replace"))
        return text

    def _body(self, answer: httpx.Response, deadline: float) -> bytes:
        """Read the body, which a slow or wrong server cannot make endless."""
        parts, size = [], 0
        for part in answer.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise SourceError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes", fatal=False)
            if self._monotonic() > deadline:
                raise SourceError(f"the answer takes longer than {self._timeout:g} s", fatal=False)
        return b"".join(parts)
