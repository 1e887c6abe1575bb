"""One client's connection, session and streams, and how a request finds its answer. The public face is `Client`."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, Self

from tickwire_client.errors import Closed, Refused, RequestTimeout, TickwireError
from tickwire_client.handlers import Handlers
from tickwire_client.link import ConnectionLost, Link, OnAnswer
from tickwire_client.messages import Alert, Body, Gap, Item
from tickwire_client.session import Session
from tickwire_client.stream import ItemFilter, Stream

log = logging.getLogger("tickwire_client")

_ALERTS_PER_BURST, _ALERT_PAUSE_SECONDS = 100, 0.025  # the hub takes 200 requests at once, then 50 a second


class Core(Handlers):
    """A connection that is renewed for ever. Every method may be called from any thread."""

    def __init__(self, url: str, timeout: float, transports: Sequence[str], buffer: int, reconnect_delay: tuple[float, float]) -> None:
        super().__init__(buffer)
        self.url, self.timeout = url, timeout
        self._buffer = buffer
        self._lock = threading.RLock()  # of the session and of who gets what
        self._session = Session()
        self._streams: weakref.WeakSet[Stream[Any]] = weakref.WeakSet()
        self._link = Link(url, _Listener(self), transports, timeout, reconnect_delay)

    def connect(self) -> Self:
        """Connect, or raise `ConnectionFailed`. A client connects once; a `with` block does it."""
        self._link.open()
        return self

    def close(self) -> None:
        """Disconnect; iterators end when they have given what waits."""
        self._link.close()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        self._close_handlers()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        return self._link.up

    def _attach(self, accepts: ItemFilter) -> Stream[Any]:
        stream: Stream[Any] = Stream(accepts, self._buffer, self._notify)
        with self._lock:
            self._streams.add(stream)
        return stream

    # requests

    def _set(self, asked: Body, own_id: str | None = None) -> Alert:
        taken: list[Alert] = []

        def on_answer(answer: Body, connection: int) -> None:  # in the reader's thread: before the alert can fire
            if not is_error(answer):
                with self._lock:
                    taken.append(self._session.alerts.set(asked, answer, connection, own_id))

        self._request("set_alert", asked, on_answer)
        return taken[-1]

    def _request(self, event: str, payload: Body | None = None, on_answer: OnAnswer | None = None) -> Body:
        """Ask until there is an answer: what a lost connection has swallowed is asked again on the next."""
        deadline = time.monotonic() + self.timeout
        while self._link.await_up(deadline - time.monotonic()):
            try:
                body = self._link.request(event, payload or {}, on_answer).result(max(0, deadline - time.monotonic()))
            except ConnectionLost:
                continue
            except FutureTimeout:
                break
            if is_error(body):
                raise Refused(body["code"], body["message"], body["details"])
            return body
        raise RequestTimeout(f"no answer to {event} within {self.timeout} s")

    # what the link tells

    def _deliver(self, items: Sequence[Item]) -> None:
        """To everyone who waits for it; the lock is held."""
        streams = list(self._streams)
        for item in items:
            if isinstance(item, Gap):
                log.warning("%s: %s messages are missing (%s)", item.instrument, item.missed or "some", item.reason)
            for stream in streams:
                stream.put(item)
            self._notify(item)

    def _set_alerts_again(self, connection: int) -> None:
        with self._lock:
            waiting = self._session.alerts.to_set_again(connection)
        for number, (own_id, asked) in enumerate(waiting):
            if number >= _ALERTS_PER_BURST:
                time.sleep(_ALERT_PAUSE_SECONDS)
            try:
                if self._link.up and self._session.alerts.holds(own_id):
                    self._set(asked, own_id)
            except Closed:
                return
            except TickwireError as error:
                log.warning("alert %s could not be set again: %s", own_id, error)


class _Listener:
    """The client as the link's listener."""

    def __init__(self, client: Core) -> None:
        self._client = client

    def greeted(self, body: Body) -> list[tuple[str, Body]]:
        client = self._client
        with client._lock:
            client._deliver(client._session.greeted(body))
            return client._session.opening()

    def received(self, event: str, body: Any) -> None:
        client = self._client
        with client._lock:
            client._deliver(client._session.receive(event, body))
        if event == "error" and isinstance(after := (body.get("details") or {}).get("retry_after"), int | float):
            client._link.retry_after(float(after))

    def restore(self, connection: int) -> None:
        self._client._set_alerts_again(connection)

    def lost(self, reason: str) -> None:
        client = self._client
        with client._lock:
            client._deliver(client._session.lost(reason))


def is_error(body: Body) -> bool:
    """Errors have these fields, and no answer has them all."""
    return {"code", "message", "event", "details"} <= body.keys()
