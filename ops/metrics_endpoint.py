"""HTTP listener of METRICS_PORT, for processes without gunicorn: `/metrics` and `/live`.

One thread serves all connections and waits for none of them. A connection carries one request. It
is closed if the request is late, too large or no HTTP, so slow clients delay nobody.
"""

from __future__ import annotations

import logging
import re
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from config.access.modes import is_loopback
from config.exposition import Exposition, render, represent_text
from config.http_errors import http_error_body
from config.loops import HEARTBEATS, UNFIT_CODE, Heartbeats, keep_in_thread, liveness
from config.pacing import StopSignal
from config.process.acceptor import Acceptor
from config.settings import Settings
from ops.running import port_message

log = logging.getLogger(__name__)

LOOP = "metrics"
MAX_CONNECTIONS = 32  # a further one takes the place of the oldest
MAX_REQUEST_BYTES = 8 * 1024
REQUEST_SECONDS = 5.0  # for a whole request to arrive
ANSWER_SECONDS = 10.0  # for a whole answer to leave
LINGER_SECONDS = 1.0  # for the peer to read the answer and close
POLL_SECONDS = 0.5
ROUND_SECONDS = 20.0  # the longest round: every client asks for the metrics at once
_CHUNK_BYTES = 4096
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.[01]").fullmatch
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of HTTP; the connection ends after it."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()

    def encode(self, *, with_body: bool = True) -> bytes:
        """Head and body; the head alone for a HEAD request."""
        lines = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            *self.headers,
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode("latin-1") + (self.body if with_body else b"")


def refusal(status: HTTPStatus, message: str, *headers: str, code: str = "", details: Mapping[str, Any] | None = None) -> Answer:
    """An error in the one shape. Its code is the name of the status, unless there is another."""
    body = http_error_body(code or status.name.lower(), message, dict(details or {}))
    return Answer(status, orjson.dumps(body), headers=headers)


class Pages:
    """The two routes of a process."""

    def __init__(self, exposition: Exposition, heartbeats: Heartbeats = HEARTBEATS) -> None:
        self._exposition = exposition
        self._heartbeats = heartbeats

    def answer(self, head: bytes) -> bytes:
        """The whole answer to the head of a request, without its empty line."""
        line, *headers = head.split(b"\r\n")
        request = _REQUEST_LINE(line)
        if request is None:
            return refusal(HTTPStatus.BAD_REQUEST, "This is no request of HTTP/1.1.").encode()
        method, target = request[1].decode(), request[2].decode()
        if method not in ("GET", "HEAD"):
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are answered.", "Allow: GET, HEAD").encode()
        return self._page(target, _accept_of(headers)).encode(with_body=method == "GET")

    def _page(self, target: str, accept: str) -> Answer:
        path, _, query = target.partition("?")
        try:
            if path == "/metrics":
                return self._metrics(accept, query)
            if path == "/live":
                return self._live()
        except Exception:
            log.exception("a request of the metrics listener failed", extra={"path": path})
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "The request failed; the log has the reason.", code="internal")
        return refusal(HTTPStatus.NOT_FOUND, "There are /metrics and /live.")

    def _metrics(self, accept: str, query: str) -> Answer:
        """The metrics of this process. It has no JSON: that one is about the whole system."""
        try:
            representation = represent_text(accept, query)
        except ValueError as error:
            problem = {"format": [str(error)]}
            return refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "format is invalid.", code="invalid_payload", details=problem)
        text, content_type = render(self._exposition.families(), representation)
        return Answer(HTTPStatus.OK, text, content_type, ("Vary: Accept",))

    def _live(self) -> Answer:
        """200 while every long-lived loop keeps its rounds. The servers are not asked."""
        body, status = liveness(self._heartbeats.silent())
        return Answer(HTTPStatus(status), orjson.dumps(body))


def _accept_of(headers: list[bytes]) -> str:
    pairs = [line.partition(b":") for line in headers]
    return ",".join(value.decode("latin-1").strip() for name, _, value in pairs if name.strip().lower() == b"accept")


@dataclass(slots=True)
class _Client:
    """One connection: `left` of its answer is to be sent; then its peer has to close."""

    connection: socket.socket
    deadline: float
    received: bytearray = field(default_factory=bytearray)
    left: memoryview = field(default_factory=lambda: memoryview(b""))
    is_answered: bool = False


class Listener:
    """Serves the connections of one listening socket. Run it in one thread.

    `answer` returns the whole answer to the head of a request.
    """

    def __init__(
        self, listening: socket.socket, answer: Callable[[bytes], bytes], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._answer = answer
        self._monotonic = monotonic
        self._acceptor = Acceptor(monotonic)
        self._selector = selectors.DefaultSelector()
        self._clients: dict[socket.socket, _Client] = {}  # the oldest one first

    def run(self, stop: StopSignal) -> None:
        """Serve until `stop` is set, then close every connection."""
        self._selector.register(self._listening, selectors.EVENT_READ)
        while not stop.is_set():
            for key, _ in self._selector.select(POLL_SECONDS):
                if key.data is None:
                    self._accept(stop)
                elif key.fileobj in self._clients:  # not closed in this round
                    self._serve(key.data)
            now = self._monotonic()
            for client in [each for each in self._clients.values() if each.deadline <= now]:
                self._expire(client)
        for client in list(self._clients.values()):
            self._close(client)
        self._selector.close()
        self._listening.close()

    def _accept(self, stop: StopSignal) -> None:
        accepted = self._acceptor.accept(self._listening.accept)
        if accepted is None:
            stop.wait(self._acceptor.pause_left)
            return
        connection: socket.socket = accepted[0]
        if len(self._clients) >= MAX_CONNECTIONS:
            self._close(next(iter(self._clients.values())))
        connection.setblocking(False)
        client = _Client(connection, self._monotonic() + REQUEST_SECONDS)
        self._clients[connection] = client
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _serve(self, client: _Client) -> None:
        """Read or send as much as is possible now."""
        try:
            if client.left:
                self._send(client)
            elif not (data := client.connection.recv(_CHUNK_BYTES)):
                self._close(client)
            elif not client.is_answered:
                client.received += data
                self._read(client)
        except BlockingIOError:
            return
        except OSError:  # the peer has reset the connection
            self._close(client)

    def _read(self, client: _Client) -> None:
        head, end, _ = bytes(client.received).partition(_END_OF_HEAD)
        if end:
            self._begin_answer(client, self._answer(head))
        elif len(head) > MAX_REQUEST_BYTES:
            text = f"A request has at most {MAX_REQUEST_BYTES} bytes."
            self._begin_answer(client, refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text).encode())

    def _begin_answer(self, client: _Client, answer: bytes) -> None:
        client.left, client.deadline = memoryview(answer), self._monotonic() + ANSWER_SECONDS
        self._selector.modify(client.connection, selectors.EVENT_WRITE, client)
        self._send(client)

    def _send(self, client: _Client) -> None:
        client.left = client.left[client.connection.send(client.left) :]
        if not client.left:
            # If data of the peer is unread at the close, the system drops the answer.
            client.is_answered, client.deadline = True, self._monotonic() + LINGER_SECONDS
            client.connection.shutdown(socket.SHUT_WR)
            self._selector.modify(client.connection, selectors.EVENT_READ, client)

    def _expire(self, client: _Client) -> None:
        """Answer a late request; drop a peer that does not take its answer, or does not close."""
        if client.is_answered or client.left:
            self._close(client)
            return
        text = f"No whole request arrived within {REQUEST_SECONDS:g} s."
        try:
            self._begin_answer(client, refusal(HTTPStatus.REQUEST_TIMEOUT, text).encode())
        except OSError:
            self._close(client)

    def _close(self, client: _Client) -> None:
        del self._clients[client.connection]
        self._selector.unregister(client.connection)
        client.connection.close()


def start(settings: Settings, exposition: Exposition) -> None:
    """Serve the metrics in a thread until the process ends, if METRICS_PORT is set.

    Exits with 2 if the port cannot be opened.
    """
    if settings.metrics_port is None:
        return
    listening = _open(settings.metrics_host, settings.metrics_port)
    if not is_loopback(settings.metrics_host):
        log.warning(
            "the metrics listener has no access control: let only the scraper reach its port",
            extra={"setting": "METRICS_HOST", "host": settings.metrics_host, "port": settings.metrics_port},
        )
    keep_in_thread(LOOP, Listener(listening, Pages(exposition).answer).run, round_seconds=ROUND_SECONDS)


def _open(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        log.error("%s", port_message("METRICS", host, port, error))
        raise SystemExit(UNFIT_CODE) from error
