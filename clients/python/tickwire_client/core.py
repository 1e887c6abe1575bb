"""Connection, session, streams and requests of one client; the base of `Client`."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, Self

from tickwire_client import failures
from tickwire_client.checks import check
from tickwire_client.credentials import Credentials
from tickwire_client.errors import Closed, ConnectionFailed, ConnectionLost, Refused, RequestTimeout, TickwireError
from tickwire_client.failures import is_error
from tickwire_client.gap_filler import GapFiller, Rows
from tickwire_client.handlers import Handlers
from tickwire_client.link import Link, OnAnswer
from tickwire_client.messages import Alert, Body, Gap, Item, Problem
from tickwire_client.renewal import Renewal
from tickwire_client.session import Session
from tickwire_client.stream import ItemFilter, Stream

log = logging.getLogger("tickwire_client")

# The hub accepts a burst of 200 requests, then 50 per second.
_ALERTS_PER_BURST, _ALERT_PAUSE_SECONDS = 100, 0.025
_MAX_LOST_SENDS = 2  # a request that ended two connections may be the cause of their end


class Core(Handlers):
    """A connection that reconnects until it is closed. Any thread may call its methods."""

    def __init__(
        self,
        url: str,
        timeout: float,
        transports: Sequence[str],
        buffer: int,
        reconnect_delay: tuple[float, float],
        credentials: Credentials,
        rows: Rows | None = None,
    ) -> None:
        """`rows` reads stored prices, with which gaps are filled."""
        super().__init__(buffer)
        self.url, self.timeout = url, timeout
        self._buffer = buffer
        self._lock = threading.RLock()  # guards the session and the streams
        self._session = Session()
        self._streams: weakref.WeakSet[Stream[Any]] = weakref.WeakSet()
        self._filler = GapFiller(rows, self._lock, self._pass_on)
        self._link = Link(url, _Listener(self), transports, timeout, reconnect_delay, credentials)
        self._renewal = Renewal(credentials, self._link, self._report)

    def connect(self) -> Self:
        """Connect, or raise `ConnectionFailed`. A `with` block calls this. Call it once."""
        self._link.open()
        return self

    def close(self) -> None:
        """Disconnect. Iterators end after their buffered items."""
        self._link.close()
        self._end_streams(None)
        self._close_handlers()

    def _end_streams(self, error: ConnectionFailed | None) -> None:
        with self._lock:
            self._filler.close()
            streams = list(self._streams)
        for stream in streams:
            stream.close(error)

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        return self._link.up

    @property
    def available_pairs(self) -> tuple[str, ...]:
        """The instruments that the credential may read, as of the last connection."""
        with self._lock:
            return self._session.available

    def _attach(self, accepts: ItemFilter) -> Stream[Any]:
        stream: Stream[Any] = Stream(accepts, self._buffer, self._notify)
        with self._lock:
            self._streams.add(stream)
            if (refusal := self._link.refusal) is not None:
                stream.close(refusal)
        return stream

    # requests

    def _set(self, payload: Body, own_id: str | None = None) -> Alert:
        taken: list[Alert] = []

        # Called in the reader's thread, so the alert is stored before it can fire.
        def on_answer(answer: Body, connection: int) -> None:
            if not is_error(answer):
                with self._lock:
                    taken.append(self._session.alerts.set(payload, answer, connection, own_id))

        self._request("set_alert", payload, on_answer)
        return taken[-1]

    def _request(self, event: str, payload: Body | None = None, on_answer: OnAnswer | None = None, namespace: str = "/") -> Body:
        """Send a request and return its answer. If the connection is lost, send it again, once."""
        check(event, payload or {})
        deadline, attempts = time.monotonic() + self.timeout, 0
        while self._link.await_up(deadline - time.monotonic()):
            try:
                if namespace != "/":
                    self._link.join().result(max(0, deadline - time.monotonic()))
                body = self._link.request(event, payload or {}, on_answer, namespace).result(max(0, deadline - time.monotonic()))
            except ConnectionLost as lost:
                attempts += lost.sent
                if attempts == _MAX_LOST_SENDS:
                    message = f"the connection was lost {attempts} times before an answer to {event}"
                    raise Refused("disconnected", message, {"attempts": attempts}) from None
                continue
            except FutureTimeout:
                break
            if is_error(body):
                raise Refused(body["code"], body["message"], body["details"])
            return body
        raise RequestTimeout(f"no answer to {event} within {self.timeout} s")

    # events of the link

    def _deliver(self, items: Sequence[Item]) -> None:
        """Take items of the session. The caller holds the lock."""
        self._filler.put(items)

    def _pass_on(self, items: Sequence[Item]) -> None:
        """Pass items to the streams and handlers. The caller holds the lock."""
        streams = list(self._streams)
        for item in items:
            if isinstance(item, Gap):
                log.warning("%s: %s messages missing (%s)", item.instrument, item.missed or "some", item.reason)
            for stream in streams:
                stream.put(item)
            self._notify(item)

    def _report(self, error: ConnectionFailed) -> None:
        """Pass an error that no request has to `on_error`."""
        with self._lock:
            self._deliver([Problem(error.code or "", str(error), error.details)])

    def _handled(self, event: str) -> None:
        """The session has taken an event."""

    def _space_joined(self) -> None:
        """The namespace `/metrics` is joined, for the first time or again."""

    def _space_received(self, event: str, body: Any) -> None:
        """An event of `/metrics` has arrived."""

    def _space_refused(self, error: Refused) -> None:
        """The hub has refused `/metrics`."""

    def _set_alerts_again(self, connection: int) -> None:
        with self._lock:
            waiting = self._session.alerts.to_set_again(connection)
        for number, (own_id, payload) in enumerate(waiting):
            if number >= _ALERTS_PER_BURST:
                time.sleep(_ALERT_PAUSE_SECONDS)
            try:
                if self._link.up and self._session.alerts.holds(own_id):
                    self._set(payload, own_id)
            except Closed:
                return
            except TickwireError as error:
                log.warning("cannot set alert %s again: %s", own_id, error)


class _Listener:
    """Passes events of the link to the client."""

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
            again = client._session.all_again() if event == "instruments_changed" else []
        for request in again:
            client._link.request(*request, _log_refusal)
        client._handled(event)
        if event == "credentials_expiring":
            client._renewal.expiring(body)
        elif event == "error" and body.get("event") == "disconnect":
            self._closing(failures.of_event(body))

    def _closing(self, error: ConnectionFailed) -> None:
        """The hub has sent the reason for which it closes the connection next."""
        self._client._link.refused(error)
        if error.retry_after is not None:
            self._client._link.retry_after(error.retry_after)

    def space_joined(self) -> None:
        self._client._space_joined()

    def space_received(self, event: str, body: Any) -> None:
        if event == "error" and body.get("event") == "disconnect":
            self._closing(failures.of_event(body))
        else:
            self._client._space_received(event, body)

    def space_refused(self, error: Refused) -> None:
        self._client._space_refused(error)

    def restore(self, connection: int) -> None:
        self._client._set_alerts_again(connection)

    def limited(self, error: ConnectionFailed) -> None:
        self._client._report(error)

    def lost(self, reason: str, *, reconnecting: bool) -> None:
        client = self._client
        with client._lock:
            client._deliver(client._session.lost(reason, reconnecting=reconnecting))

    def refused(self, error: ConnectionFailed) -> None:
        self._client._report(error)
        self._client._end_streams(error)


def _log_refusal(body: Body, connection: int) -> None:
    if is_error(body):
        log.warning("added instruments are not subscribed: %s", body["message"])
