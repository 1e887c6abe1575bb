"""The connection to the hub over python-socketio, with reconnection.

Events reach the listener in the order of arrival.
"""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import socketio
import websocket
from socketio.exceptions import ConnectionError as SocketConnectionError
from socketio.exceptions import SocketIOError

from tickwire_client.errors import Closed, ConnectionFailed
from tickwire_client.messages import Body

log = logging.getLogger("tickwire_client")

_FLOOD_CLOSE_CODE = 4429  # the hub closes a client that keeps sending above its rate
_MIN_FLOOD_PAUSE_SECONDS = 1.0

# Called with (body of the ack, number of the connection), in the reader's thread.
OnAnswer = Callable[[Body, int], None]


class ConnectionLost(Exception):
    """The connection ended before the answer came. `sent` is False if the request was not sent."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(reason)


class _WebSocket(websocket.WebSocket):
    """Keeps the code of the Close frame, which python-engineio drops."""

    close_code: int | None = None

    def recv_data(self, control_frame: bool = False) -> tuple[int, bytes]:
        opcode, data = super().recv_data(control_frame)
        if opcode == websocket.ABNF.OPCODE_CLOSE and len(data) >= 2:
            self.close_code = int.from_bytes(data[:2])
        return opcode, data


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

    def flooded(self) -> None:
        """The hub has closed the connection, because this client sent too much."""

    def lost(self, reason: str) -> None:
        """The connection has ended, or an attempt to reconnect has failed."""


class Link:
    """One connection at a time. A thread waits for its end and reconnects with back-off."""

    def __init__(self, url: str, listener: LinkListener, transports: Sequence[str], timeout: float, delays: tuple[float, float]) -> None:
        self._url, self._listener, self._transports, self._timeout, self._delays = url, listener, list(transports), timeout, delays
        self._lock = threading.Condition()
        self._sio: Any = None  # the Socket.IO client, from the greeting of the hub on
        self._number = 0  # of the current connection
        self._pending: set[Future[Any]] = set()
        self._closing = threading.Event()
        self._retry_after: float | None = None
        self._thread: threading.Thread | None = None

    @property
    def up(self) -> bool:
        return self._sio is not None

    def open(self) -> None:
        """Connect, or raise `ConnectionFailed`. Then reconnect until `close()`. Call it once."""
        if self._thread is not None or self._closing.is_set():
            raise Closed("a client connects once")
        sio = self._first()
        self._thread = threading.Thread(target=self._run, args=(sio,), name="tickwire-link", daemon=True)
        self._thread.start()

    def _first(self) -> Any:
        """Connect. If the hub is full, wait as it requests, within the time limit of requests."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._connect()
            except ConnectionFailed as error:
                after = error.retry_after
                if after is None or time.monotonic() + after > deadline or self._closing.wait(after):
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
        """Wait for a connection; return False after `seconds`. Raises `Closed` on a closed link."""
        if self._thread is None:
            raise Closed("the client is not connected: use it in a with block, or call connect()")
        with self._lock:
            self._lock.wait_for(lambda: self.up or self._closing.is_set(), max(0, seconds))
            if self._closing.is_set():
                raise Closed("the client is closed")
            return self.up

    def request(self, event: str, payload: Body, on_answer: OnAnswer | None = None) -> Future[Body]:
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
                sio.emit(event, payload, callback=answered)
            except (SocketIOError, ConnectionLost):
                self._pending.discard(future)
                future.set_exception(ConnectionLost("not connected", sent=False))
        return future

    def retry_after(self, seconds: float) -> None:
        """Wait so long before the next attempt, as the hub requested."""
        self._retry_after = seconds

    # the thread

    def _run(self, sio: Any) -> None:
        while sio is not None:
            sio.eio.wait()  # until the reader thread ends, which is the only reliable sign
            self._end("closed" if self._closing.is_set() else "connection lost")
            flooded = getattr(sio.eio.ws, "close_code", None) == _FLOOD_CLOSE_CODE
            if flooded:
                self._listener.flooded()
            sio = self._reconnect(_MIN_FLOOD_PAUSE_SECONDS if flooded else 0.0)

    def _reconnect(self, least: float) -> Any:
        """Retry until it succeeds; return None if the link is closed meanwhile.

        The first pause has at least `least` seconds.
        """
        delay, longest = self._delays
        while True:
            usual = max(delay * random.uniform(0.5, 1), least * random.uniform(1, 1.5))  # noqa: S311
            pause, self._retry_after, least = self._retry_after or usual, None, 0.0
            if self._closing.wait(pause):
                return None
            delay = min(delay * 2, longest)
            try:
                sio = self._connect()
                if self._closing.is_set():
                    sio.disconnect()
                    return None
                self._listener.restore(self._number)
                return sio
            except ConnectionFailed as error:
                self._retry_after = error.retry_after
                self._listener.lost(str(error))
            except Exception:
                log.exception("cannot reconnect")

    def _connect(self) -> Any:
        options = {"reconnection": False, "handle_sigint": False, "websocket_extra_options": {"class_": _WebSocket}}
        sio = socketio.Client(request_timeout=self._timeout, **options)
        _keep_order(sio)
        greeted, refusal = threading.Event(), []
        sio.on("*", lambda event, *bodies: self._received(sio, greeted, event, bodies[0] if bodies else None))
        sio.on("connect_error", lambda *bodies: refusal.append(bodies[0] if bodies else None))
        try:
            sio.connect(self._url, transports=self._transports, wait_timeout=self._timeout)
        except (SocketConnectionError, ValueError) as error:
            raise _translate_failure(self._url, error, refusal) from None
        if not greeted.wait(self._timeout):
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
            self._lock.notify_all()
        greeted.set()

    def _end(self, reason: str) -> None:
        with self._lock:
            was_up, self._sio = self._sio is not None, None
            pending, self._pending = self._pending, set()
        if was_up:
            self._listener.lost(reason)
        for future in pending:
            if not future.done():
                future.set_exception(ConnectionLost(reason, sent=True))


def _keep_order(sio: Any) -> None:
    """Handle messages in the reader's thread, which keeps their order.

    python-socketio starts a thread for each message, so handlers could run in any order.
    """
    engine, start = sio.eio, sio.eio.start_background_task

    def start_in_order(target: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if target != engine.handlers.get("message"):
            return start(target, *arguments, **options)
        try:
            return target(*arguments)
        except Exception:
            log.exception("cannot handle a message")
            return None

    engine.start_background_task = start_in_order


def _translate_failure(url: str, error: Exception, refusal: list[Any]) -> ConnectionFailed:
    """The exception of a failed attempt. A refusal is `{"message", "data": <error body>}`."""
    answer = refusal[0] if refusal and isinstance(refusal[0], dict) else {}
    data = answer["data"] if isinstance(answer.get("data"), dict) else {}
    reason = data.get("message") or answer.get("message")
    after = (data.get("details") or {}).get("retry_after")
    text = f"no connection to {url}: {reason}" if reason else f"no connection to {url} ({_cause(error)})"
    return ConnectionFailed(text, data.get("code"), float(after) if isinstance(after, int | float) else None)


def _cause(error: BaseException) -> str:
    """The cause below the exceptions of python-socketio, in a few words."""
    below = error.__cause__ or error.__context__
    if below is not None and type(error).__module__.partition(".")[0] in ("socketio", "engineio"):
        return _cause(below)
    if isinstance(error, ConnectionRefusedError) or "Connection refused" in str(error):  # polling has the text alone
        return "refused"
    if isinstance(error, socket.gaierror | websocket.WebSocketAddressException):
        return "no such host"
    if isinstance(error, TimeoutError | websocket.WebSocketTimeoutException):
        return "timed out"
    if isinstance(error, websocket.WebSocketBadStatusException):
        return f"HTTP {error.status_code}: not a hub"
    return getattr(error, "strerror", None) or str(error)
