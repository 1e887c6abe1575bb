"""The connection to the hub over python-socketio, with reconnection.

Events reach the listener in the order of arrival.
"""

from __future__ import annotations

import copy
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from socketio.exceptions import ConnectionError as SocketConnectionError
from socketio.exceptions import SocketIOError

from tickwire_client import failures
from tickwire_client.credentials import Credentials
from tickwire_client.errors import Closed, ConnectionFailed, ConnectionLost, Refused
from tickwire_client.failures import HttpAnswer
from tickwire_client.messages import Body
from tickwire_client.sockets import POLL_SECONDS, await_event, make_socket
from tickwire_client.space import Space

log = logging.getLogger("tickwire_client")

_MIN_FLOOD_PAUSE_SECONDS = 1.0

# Called with (body of the ack, number of the connection), in the reader's thread.
OnAnswer = Callable[[Body, int], None]


class LinkListener(Protocol):
    """Receives the events of a link.

    All methods except `restore` run in the thread that reads the socket: they MUST NOT wait for an
    answer.
    """

    def greeted(self, body: Body) -> list[tuple[str, Body]]:
        """The hub has sent its greeting. Return the requests to send before all others."""

    def received(self, event: str, body: Any) -> None:
        """An event has arrived."""

    def restore(self, connection: int) -> None:
        """The link has reconnected. Requests that wait for answers are allowed here."""

    def space_joined(self) -> None:
        """The hub has accepted the client in the namespace `/metrics`, once per connection."""

    def space_received(self, event: str, body: Any) -> None:
        """An event of `/metrics` has arrived."""

    def space_refused(self, error: Refused) -> None:
        """The hub has refused the client in `/metrics`."""

    def limited(self, error: ConnectionFailed) -> None:
        """The hub has closed the connection: too many messages, or too many connections."""

    def lost(self, reason: str, *, reconnecting: bool) -> None:
        """The connection has ended, or an attempt to reconnect has failed."""

    def refused(self, error: ConnectionFailed) -> None:
        """The hub has refused the client for good. The link does not reconnect."""


class Link:
    """One connection at a time. A thread waits for its end and reconnects with back-off."""

    def __init__(
        self,
        url: str,
        listener: LinkListener,
        transports: Sequence[str],
        timeout: float,
        delays: tuple[float, float],
        credentials: Credentials,
    ) -> None:
        self._url, self._listener, self._transports, self._timeout, self._delays = url, listener, list(transports), timeout, delays
        self._credentials = credentials
        self._lock = threading.Condition()
        self._sio: Any = None  # the Socket.IO client, from the greeting of the hub on
        self._number = 0  # of the current connection
        self._pending: set[Future[Any]] = set()
        self._closing = threading.Event()
        self._retry_after: float | None = None
        self._limited: ConnectionFailed | None = None  # the hub has sent that this connection is above a limit
        self._refusal: ConnectionFailed | None = None  # the link ends for good, at the latest with this connection
        self._thread: threading.Thread | None = None
        self._space = Space(credentials, listener.space_joined, listener.space_refused)

    @property
    def up(self) -> bool:
        return self._sio is not None

    @property
    def connection(self) -> int:
        """The number of the current connection; 0 without one."""
        return self._number if self.up else 0

    @property
    def refusal(self) -> ConnectionFailed | None:
        """A new exception with the reason for which the link has ended for good, or None."""
        return None if self._refusal is None or self.up else copy.copy(self._refusal)

    def open(self) -> None:
        """Connect, or raise `ConnectionFailed`. Then reconnect until `close()`. Call it once."""
        if self._thread is not None or self._closing.is_set():
            raise Closed("a client connects once")
        sio = self._first()
        self._thread = threading.Thread(target=self._run, args=(sio,), name="tickwire-link", daemon=True)
        self._thread.start()

    def _first(self) -> Any:
        """Connect. If the hub names a time to wait, wait within the time limit of requests."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._connect()
            except ConnectionFailed as error:
                if error.retry_after is None or failures.is_permanent(error):
                    raise
                pause = failures.spread(error.retry_after)
                if time.monotonic() + pause > deadline or self._closing.wait(pause):
                    raise

    def close(self) -> None:
        """Disconnect for good. Pending requests raise `Closed`."""
        self._closing.set()
        with self._lock:
            sio = self._sio
            self._lock.notify_all()
        if sio is not None:
            sio.disconnect()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._timeout + 5)
        self._end("closed")

    def await_up(self, seconds: float) -> bool:
        """Wait for a connection; return False after `seconds`.

        The thread that connects does not wait. Raises `Closed` on a closed link, and
        `ConnectionFailed` if the hub has refused the client for good.
        """
        if self._thread is None:
            raise Closed("the client is not connected: use it in a with block, or call connect()")
        if self._thread is threading.current_thread():
            seconds = 0
        with self._lock:
            self._lock.wait_for(lambda: self.up or self._closing.is_set() or self.refusal, max(0, seconds))
            if self._closing.is_set():
                raise Closed("the client is closed")
            if (refusal := self.refusal) is not None:
                raise refusal
            return self.up

    def closes_within(self, seconds: float) -> bool:
        """Wait; return True at once when the link is closed."""
        return self._closing.wait(seconds)

    def reconnect(self) -> None:
        """Close the connection; the thread opens the next one, with a new credential."""
        with self._lock:
            sio = self._sio
        if sio is not None:
            sio.disconnect()

    def join(self) -> Future[None]:
        """Join `/metrics`, on this connection and the later ones, unless that was done.

        The future raises `Refused` or `ConnectionLost`.
        """
        with self._lock:
            if self._sio is not None:
                return self._space.join(self._sio)
        lost: Future[None] = Future()
        lost.set_exception(ConnectionLost("not connected", sent=False))
        return lost

    def request(self, event: str, payload: Body, on_answer: OnAnswer | None = None, namespace: str = "/") -> Future[Body]:
        """Send an event. The future holds the body of the ack, or raises `ConnectionLost`."""
        future: Future[Body] = Future()
        with self._lock:
            sio, number = self._sio, self._number

            def answered(*bodies: Any) -> None:
                if on_answer is not None:
                    on_answer(bodies[0], number)
                self._pending.discard(future)
                if not future.done():
                    future.set_result(bodies[0])

            try:
                if sio is None:
                    raise ConnectionLost("not connected", sent=False)
                self._pending.add(future)
                sio.emit(event, payload, namespace, answered)
            except (SocketIOError, ConnectionLost):
                self._pending.discard(future)
                future.set_exception(ConnectionLost("not connected", sent=False))
        return future

    def retry_after(self, seconds: float) -> None:
        """Wait at least so long before the next attempt, as the hub requested."""
        self._retry_after = seconds

    def refused(self, error: ConnectionFailed) -> None:
        """The hub has sent the reason for which it closes the connection next."""
        if failures.is_permanent(error):
            self._refusal = error
        elif error.code == "too_many_requests":
            self._limited = error

    # the thread

    def _run(self, sio: Any) -> None:
        while sio is not None:
            sio.eio.wait()  # until the reader thread ends, which is the only reliable sign
            close_code = getattr(sio.eio.ws, "close_code", None)
            self._refusal = self._refusal or failures.of_close(close_code)
            reason = "closed" if self._closing.is_set() else str(self._refusal or "connection lost")
            self._end(reason)
            if self._refusal is not None and not self._closing.is_set():
                self._listener.refused(self._refusal)
                return
            limited, self._limited = self._limited or failures.of_flood(close_code), None
            if limited is not None:
                self._listener.limited(limited)
            sio = self._reconnect(0.0 if limited is None else _MIN_FLOOD_PAUSE_SECONDS)

    def _reconnect(self, least: float) -> Any:
        """Retry until it succeeds; return None if the link is closed or refused meanwhile.

        The first pause has at least `least` seconds.
        """
        delay, longest = self._delays
        while True:
            usual = max(delay * random.uniform(0.5, 1), least * random.uniform(1, 1.5))  # noqa: S311
            pause = failures.spread(self._retry_after) if self._retry_after else usual
            self._retry_after, least = None, 0.0
            if self._closing.wait(pause):
                return None
            delay = min(delay * 2, longest)
            try:
                sio = self._connect()
                if self._closing.is_set():
                    sio.disconnect()
                    return None
                self._restore(sio)
                return sio
            except ConnectionFailed as error:
                permanent = failures.is_permanent(error)
                self._listener.lost(str(error), reconnecting=not permanent)
                if permanent:
                    self._stop(error)
                    return None
                self._retry_after = error.retry_after
            except Exception:
                log.exception("cannot reconnect")

    def _restore(self, sio: Any) -> None:
        """Let the listener restore its state. Its requests end with the connection."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(POLL_SECONDS):
                if sio.eio.state != "connected":
                    self._end(str(self._refusal or "connection lost"))
                    return

        watcher = threading.Thread(target=watch, name="tickwire-restore", daemon=True)
        watcher.start()
        try:
            self._listener.restore(self._number)
        finally:
            done.set()
            watcher.join()

    def _stop(self, error: ConnectionFailed) -> None:
        with self._lock:
            self._refusal = error
            self._lock.notify_all()
        self._listener.refused(error)

    def _connect(self) -> Any:
        payload = self._credentials.renew()
        answers: list[HttpAnswer] = []
        sio = make_socket(self._timeout, answers)
        greeted, answered, refusal = threading.Event(), threading.Event(), []

        def refused(*bodies: Any) -> None:
            refusal.append(bodies[0] if bodies else None)
            answered.set()

        sio.on("*", lambda event, *bodies: self._received(sio, greeted, event, bodies[0] if bodies else None))
        self._space.attach(sio, self._listener.space_received)
        sio.on("connect", answered.set)
        sio.on("connect_error", refused)
        try:
            # `auth` is a function, so that python-socketio holds no credential. Its own wait misses
            # the answer if the client joins `/metrics` meanwhile, and outlasts a lost connection.
            sio.connect(self._url, auth=lambda: payload, namespaces="/", transports=self._transports, wait=False)
            if not await_event(answered, sio, self._timeout) or refusal:
                sio.disconnect()
                raise SocketConnectionError("the server did not accept the client")
        except (SocketConnectionError, ValueError) as error:
            raise failures.of_attempt(self._url, error, refusal, answers[-1] if answers else None) from None
        if not await_event(greeted, sio, self._timeout):
            if sio.eio.state != "connected":
                raise ConnectionFailed(f"no connection to {self._url}: it was lost before the greeting of the hub")
            sio.disconnect()
            raise ConnectionFailed(f"{self._url} is a Socket.IO server but not a hub: it sent no connection_established")
        return sio

    def _received(self, sio: Any, greeted: threading.Event, event: str, body: Any) -> None:
        if event != "connection_established":
            self._listener.received(event, body)
            return
        opening = self._listener.greeted(body)
        with self._lock:
            self._sio, self._number = sio, self._number + 1
            for name, payload in opening:
                sio.emit(name, payload)
            self._space.resume(sio)
            self._lock.notify_all()
        greeted.set()

    def _end(self, reason: str) -> None:
        with self._lock:
            was_up, self._sio = self._sio is not None, None
            pending, self._pending = self._pending, set()
            self._space.ended()
            self._lock.notify_all()
        if was_up:
            self._listener.lost(reason, reconnecting=not self._closing.is_set() and self._refusal is None)
        for future in pending:
            if not future.done():
                future.set_exception(ConnectionLost(reason, sent=True))
