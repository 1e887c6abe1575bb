"""gunicorn worker of REST: a front thread reads and sends, other threads make the answers.

No thread that makes an answer waits for a client: the front thread passes complete requests on and
sends the rest of each answer. Slow clients therefore cost a socket and bounded memory
(docs/adr/0026).
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import selectors
import socket
import time
from queue import Empty, SimpleQueue
from typing import Any

from gunicorn.workers.base import Worker

from config.gunicorn.acceptor import GuardedWorker, KeptThreads
from config.gunicorn.answers import Outcome, answer
from config.gunicorn.connection import SECONDS, Connection, State
from config.gunicorn.http_errors import RefusedRequest
from config.gunicorn.uploads import MAX_UPLOADS
from config.pacing import Throttle
from config.process.acceptor import Acceptor
from config.request_ids import make_ids

log = logging.getLogger("rest.worker")

MAX_UNSENT_BYTES = 64 * 1024 * 1024  # of all answers that are made, but not sent
RESERVED_DESCRIPTORS = 100  # for the database, Redis, files
_TURN_SECONDS = 0.5  # the longest time between two checks of the deadlines
_ACCEPTS_PER_TURN = 64
# The order in which connections are closed if there are too many; WORKING ones are never closed.
_CLOSED_FIRST = {State.CLOSING: 0, State.IDLE: 1, State.HEAD: 2, State.BODY: 2, State.UPLOAD: 2, State.SENDING: 3}


class RestWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """Serves until gunicorn stops it; then finishes the answers in progress and ends."""

    seconds = SECONDS

    def init_process(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._max_connections = max(1, min(self.cfg.worker_connections, soft - RESERVED_DESCRIPTORS))
        self._selector = selectors.DefaultSelector()
        self._acceptor = Acceptor()
        self._threads = KeptThreads(self.cfg.threads, lambda: not self.alive)
        self._finished: SimpleQueue[tuple[Connection, Outcome]] = SimpleQueue()
        self._connections: set[Connection] = set()
        self._refused = Throttle(monotonic=time.monotonic)
        self._checked = 0.0
        self._listening = False
        super().init_process()

    def run(self) -> None:
        for listener in self.sockets:
            listener.setblocking(False)
        self._selector.register(self.PIPE[0], selectors.EVENT_READ)
        while self.alive and os.getppid() == self.ppid:
            self.notify()
            pause = self._acceptor.pause_left
            self._listen(not pause)
            self._turn(min(_TURN_SECONDS, pause or _TURN_SECONDS))
        self._stop()

    def _stop(self) -> None:
        """Answer the requests that have arrived; close all other connections."""
        self.alive = False
        self._listen(False)
        for listener in self.sockets:
            listener.close()
        end = time.monotonic() + self.cfg.graceful_timeout
        self._turn(0)
        while self._connections and time.monotonic() < end:
            for connection in [each for each in self._connections if each.state not in (State.WORKING, State.SENDING, State.CLOSING)]:
                self._close(connection)
            self.notify()
            self._turn(_TURN_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _turn(self, seconds: float) -> None:
        """Serve the ready sockets and the finished answers; wait for them at most that long."""
        for key, _ in self._selector.select(seconds):
            if key.data is not None:
                self._advance(key.data)
            elif key.fd == self.PIPE[0]:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.PIPE[0], 4096)
            else:
                self._accept(key.fileobj)  # type: ignore[arg-type]
        with contextlib.suppress(Empty):
            while True:
                self._take_back(*self._finished.get_nowait())
        now = time.monotonic()
        if now - self._checked >= _TURN_SECONDS:
            self._checked = now
            self._expire(now)

    # connections

    def _listen(self, on: bool) -> None:
        """Watch the listeners, or let them rest."""
        if on != self._listening:
            for listener in self.sockets:
                if on:
                    self._selector.register(listener, selectors.EVENT_READ)
                else:
                    self._selector.unregister(listener)
            self._listening = on

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            found = self._acceptor.accept(listener.accept)
            if found is None:
                return
            sock, client = found
            if len(self._connections) >= self._max_connections and not self._make_room():
                sock.close()
                continue
            try:
                connection = Connection(sock, client, self.cfg, self.seconds)
            except OSError:  # the client is gone
                sock.close()
                continue
            self._connections.add(connection)
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _make_room(self) -> bool:
        """Close the connection that is worth least; return False if all are at work."""
        waiting = [each for each in self._connections if each.state is not State.WORKING]
        if waiting:
            self._close(min(waiting, key=lambda each: (_CLOSED_FIRST[each.state], each.deadline)))
        return bool(waiting)

    def _expire(self, now: float) -> None:
        for connection in [each for each in self._connections if each.deadline <= now]:
            if connection.state in (State.HEAD, State.BODY, State.UPLOAD):
                self._refuse(connection, RefusedRequest(408, "the request did not arrive in time"))
            else:
                self._close(connection)

    def _watch(self, connection: Connection, events: int) -> None:
        """Wait for the socket to be readable or writable, also if nothing was waited for."""
        try:
            self._selector.modify(connection.sock, events, connection)
        except KeyError:
            self._selector.register(connection.sock, events, connection)

    def _close(self, connection: Connection) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection.sock)
        connection.sock.close()
        connection.reader.close()
        self._connections.discard(connection)

    # requests

    def _advance(self, connection: Connection) -> None:
        """Read or send, by the state of the connection."""
        if connection not in self._connections:
            return  # closed in this turn
        try:
            if connection.state is State.SENDING:
                if connection.writer.send():
                    connection.enter(State.SENDING)
                if not connection.writer:
                    self._next(connection)
            elif not connection.receive():
                self._close(connection)
            elif connection.state is not State.CLOSING:
                self._pass_on(connection)
        except OSError:
            self._close(connection)

    def _pass_on(self, connection: Connection) -> None:
        """Pass the next request to a thread if it is complete."""
        reader = connection.reader
        try:
            request = reader.next_request()
        except RefusedRequest as refused:
            self._refuse(connection, refused)
            return
        if request is not None:
            self._selector.unregister(connection.sock)
            connection.enter(State.WORKING)
            self._threads.submit(self._work, connection, request)
        elif reader.in_body and connection.state is State.HEAD:
            if reader.in_upload and sum(each.state is State.UPLOAD for each in self._connections) >= MAX_UPLOADS:
                self._refuse(connection, RefusedRequest(503, f"{MAX_UPLOADS} uploads arrive already, try again later"))
                return
            connection.enter(State.UPLOAD if reader.in_upload else State.BODY)
            if reader.continue_due:
                connection.writer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                connection.writer.send()

    def _refuse(self, connection: Connection, refused: RefusedRequest) -> None:
        """Answer with the error, as far as the socket takes it, and end the connection."""
        request_id = make_ids().request_id
        if count := self._refused.due(str(refused.status)):
            fields = {"status": refused.status, "reason": str(refused), "count": count, "request_id": request_id}
            log.info("refused a request", extra=fields)
        with contextlib.suppress(OSError):
            connection.writer.sendall(refused.answer(request_id))
            connection.writer.send()
        connection.end()

    def _take_back(self, connection: Connection, outcome: Outcome) -> None:
        """Send the rest of an answer that a thread has made."""
        connection.kept = outcome is Outcome.KEPT
        try:
            if outcome is Outcome.LOST:
                self._close(connection)
            elif connection.writer:
                connection.enter(State.SENDING)
                self._watch(connection, selectors.EVENT_WRITE)
                self._bound_unsent()
            else:
                self._next(connection)
        except OSError:
            self._close(connection)

    def _bound_unsent(self) -> None:
        """Close the client without progress for longest while all answers have too many bytes."""
        sending = sorted((each for each in self._connections if each.state is State.SENDING), key=lambda each: each.deadline)
        total = sum(len(each.writer) for each in sending)
        for connection in sending:
            if total <= MAX_UNSENT_BYTES:
                return
            total -= len(connection.writer)
            self._close(connection)

    def _next(self, connection: Connection) -> None:
        """Go on after an answer: with a request that has arrived already, or wait for one."""
        self._watch(connection, selectors.EVENT_READ)
        if not connection.kept or not self.alive:
            connection.end()
        elif connection.reader.started:
            connection.enter(State.HEAD)
            self._pass_on(connection)
        else:
            connection.enter(State.IDLE)

    def _work(self, connection: Connection, request: Any) -> None:
        """Run in a thread: make the answer, then wake the front thread."""
        outcome = answer(self.wsgi, self.cfg, connection, request, last=not self.alive)
        self._finished.put((connection, outcome))
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes the front thread too
            os.write(self.PIPE[1], b"\0")


class GuardedRestWorker(GuardedWorker, RestWorker):
    """The worker of REST under the guard."""
