"""The end of each request of REST: its access record, and the functions that count requests.

`RequestLog` is the outermost WSGI application. It makes the ids of a request, adds `X-Request-ID`
to its answer, and measures from the request's start to the last byte handed to the server.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, cast

from flask import Flask, Response, g, request

from config import request_ids
from config.logs.format import ACCESS
from config.logs.setup import batched_access_records
from config.request_ids import HEADER, RequestIds

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
# Called with endpoint, method, status, seconds and bytes at the end of each request.
Finished = Callable[[str, str, int, float, int], None]

BATCH_SECONDS = 0.2  # the longest time that a record waits
MAX_WAITING = 20_000
UNMATCHED = "unmatched"  # the endpoint of a request without a route
_NAME = "request_log"  # among Flask's extensions
_ENTRY = "tickwire.request"  # name of an `Entry` in the environment of WSGI
_ARGUMENT = re.compile(r"<(?:[^<>]*:)?(\w+)>")
_QUIET = ("/health", "/metrics")  # beginnings of endpoints whose records are DEBUG

log = logging.getLogger(ACCESS)


class Entry:
    """The facts about one request, as far as they are known."""

    __slots__ = ("body_bytes", "endpoint", "key_id", "status")

    def __init__(self) -> None:
        self.endpoint = UNMATCHED
        self.key_id: str | None = None
        self.status = 500  # of a request that ends without an answer
        self.body_bytes = 0


class RequestLog:
    """A WSGI application that calls `finished` at the end of each request to `inner`.

    Any thread may use it. Without `run` each record is written at once. `in_progress` is the number
    of requests that have begun but not ended.
    """

    def __init__(self, inner: Application) -> None:
        self._inner = inner
        self._open: set[Entry] = set()
        self._uncounted: deque[tuple[Entry, str, float]] = deque()
        # level, time, entry, method, seconds, ids; the oldest are dropped if a write takes too long
        self._ended: deque[tuple[int, float, Entry, str, float, RequestIds]] = deque(maxlen=MAX_WAITING)
        self._deferred = False
        self.finished: list[Finished] = []

    @property
    def in_progress(self) -> int:
        """The number of requests that are served now."""
        return len(self._open)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.perf_counter()
        ids = request_ids.current()
        if ids is None:
            return self._with_own_ids(environ, start_response)
        environ[_ENTRY] = entry = Entry()
        self._open.add(entry)

        def end() -> None:
            self._end(entry, environ["REQUEST_METHOD"], time.perf_counter() - started, ids)

        try:
            return _Answer(self._inner(environ, _with_id(entry, ids, start_response)), entry, end)
        except BaseException:
            end()
            raise

    def _with_own_ids(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve a request of a server that makes no ids, such as a client of tests."""
        ids = request_ids.ids_of(environ)
        with request_ids.during(ids):
            return _Framed(self(environ, start_response), ids)

    def run(self, stop: threading.Event) -> None:
        """Count and write every `BATCH_SECONDS` until `stop` is set, not during the requests.

        In a row, the same work takes a quarter of the time.
        """
        self._deferred = True
        while not stop.wait(BATCH_SECONDS):
            self.settle()
            self._write()
        self._deferred = False
        self.settle()
        self._write()

    def settle(self) -> None:
        """Call the functions in `finished` for all requests that have ended."""
        while self._uncounted:
            try:
                entry, method, seconds = self._uncounted.popleft()
            except IndexError:  # another thread was faster
                return
            for each in self.finished:
                each(entry.endpoint, method, entry.status, seconds, entry.body_bytes)

    def _end(self, entry: Entry, method: str, seconds: float, ids: RequestIds) -> None:
        self._open.discard(entry)
        self._uncounted.append((entry, method, seconds))
        if not self._deferred or len(self._uncounted) > MAX_WAITING:
            self.settle()
        level = logging.DEBUG if entry.endpoint.startswith(_QUIET) else logging.INFO
        if log.isEnabledFor(level):
            self._ended.append((level, time.time(), entry, method, seconds, ids))
            if not self._deferred:
                self._write()

    def _write(self) -> None:
        with batched_access_records():
            while self._ended:
                try:
                    ended = self._ended.popleft()
                except IndexError:  # another thread was faster
                    return
                log.handle(_record(*ended))


def _record(level: int, ended: float, entry: Entry, method: str, seconds: float, ids: RequestIds) -> logging.LogRecord:
    fields = {
        "endpoint": entry.endpoint,
        "method": method,
        "status": entry.status,
        "duration_ms": round(seconds * 1000, 3),
        "bytes": entry.body_bytes,
        "key_id": entry.key_id,
        **ids.fields,
    }
    # Without a search for the calling line, which the record does not have.
    record = log.makeRecord(ACCESS, level, "", 0, "request", (), None, extra=fields)
    record.created = ended
    return record


class _Answer:
    """The pieces of an answer, counted. Its end is the end of the request."""

    __slots__ = ("_end", "_entry", "_pieces")

    def __init__(self, pieces: Iterable[bytes], entry: Entry, end: Callable[[], None]) -> None:
        self._pieces = pieces
        self._entry = entry
        self._end: Callable[[], None] | None = end

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._entry.body_bytes += len(piece)
            yield piece

    def close(self) -> None:
        """Note the end; a second call has no effect."""
        end, self._end = self._end, None
        if end is None:
            return
        try:
            if close := getattr(self._pieces, "close", None):
                close()
        finally:
            end()


class _Framed:
    """An answer whose pieces are made with these ids, wherever the server asks for them."""

    __slots__ = ("_answer", "_ids")

    def __init__(self, answer: Any, ids: RequestIds) -> None:
        self._answer = answer
        self._ids = ids

    def __iter__(self) -> Iterator[bytes]:
        pieces = iter(self._answer)
        while True:
            with request_ids.during(self._ids):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def close(self) -> None:
        """Note the end."""
        with request_ids.during(self._ids):
            self._answer.close()


def _with_id(entry: Entry, ids: RequestIds, start_response: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `start_response` that notes the status and adds the request id."""

    def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        entry.status = int(status[:3])
        return start_response(status, [*headers, (HEADER, ids.request_id)], *error)

    return start


def attach(app: Flask, inner: Application) -> RequestLog:
    """Return the log of the requests to `inner`, the application that contains `app`."""
    app.after_request(_note)
    app.extensions[_NAME] = made = RequestLog(inner)
    return made


def attached(app: Flask) -> RequestLog:
    """Return the log of the requests to an app."""
    return cast(RequestLog, app.extensions[_NAME])


def describe(environ: Environ, endpoint: str, key_id: str | None) -> None:
    """Note the route template and the caller's key of a request that `RequestLog` serves."""
    entry: Entry | None = environ.get(_ENTRY)
    if entry is not None:
        entry.endpoint, entry.key_id = endpoint, key_id


def _note(response: Response) -> Response:
    rule, access = request.url_rule, g.get("access")
    describe(request.environ, UNMATCHED if rule is None else template(rule.rule), access and access.key_id)
    return response


@cache
def template(rule: str) -> str:
    """Return the route template of a rule: `/api/trades/{trade_id}`."""
    return _ARGUMENT.sub(r"{\1}", rule)
