"""gunicorn worker of the hub: `eventlet.wsgi.server` on gunicorn's socket.

gunicorn 26 dropped its own eventlet worker.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

with warnings.catch_warnings():
    # eventlet warns that it is deprecated; docs/adr explains the choice.
    warnings.simplefilter("ignore")
    import eventlet
    import eventlet.greenio
    import eventlet.patcher
    import eventlet.wsgi
    from eventlet import hubs
    from eventlet.queue import Empty, LightQueue

from gunicorn.workers.base import Worker

from config.loops import HEARTBEATS, PROCESS_END, keep
from config.process.acceptor import ACCEPTOR, PAUSE_SECONDS, Acceptor, Connection
from config.process.watchdog import OsThreads, Watchdog

log = logging.getLogger("hub.worker")

_TCP_NOTSENT_LOWAT = 25
_DEFER_SECONDS = 1  # for the first bytes of a connection, before it is accepted without
UNSENT_BYTES = 16_384  # of one client in the kernel, above which its socket takes no more
_NOTIFY_SECONDS = 0.5  # between two signs of life for gunicorn, and the longest wait of a stop for this loop
_IDLE_SECONDS = 60.0  # limit for the wait for a request, or for the rest of one
_ACCEPT_SECONDS = 5.0  # longest wait for a connection, then the acceptor beats
_CONNECTIONS_PER_TURN = 32  # accepted before other work of the loop
_real_socket = eventlet.patcher.original("socket").socket  # not eventlet's green one


class EventletWorker(Worker):  # type: ignore[misc]
    """Serves until gunicorn stops it, then calls the `shutdown()` of the application and ends.

    If one of its loops ends, it stops in the same way and exits with 70; gunicorn starts another.
    """

    def init_process(self) -> None:
        # Before any import of the application.
        eventlet.monkey_patch()
        threads = OsThreads(eventlet.patcher.original("threading").Thread, eventlet.patcher.original("time").sleep)
        PROCESS_END.in_order(self._stop, threads.start_deadline)
        Watchdog(threads).start()
        eventlet.spawn(self._notify_until_loaded)  # it ends with the load of the application
        super().init_process()

    def _notify_until_loaded(self) -> None:
        """Notify gunicorn while the application waits for the database.

        A signal sets `alive`, which the waiting application does not read: the process ends here.
        """
        while not self.booted:
            if self._is_stopped():
                log.info("stopped before the application has loaded")
                os._exit(0)
            self.notify()
            eventlet.sleep(0.2)

    def _stop(self) -> None:
        self.alive = False

    def run(self) -> None:
        HEARTBEATS.expect("worker", 1.0)
        acceptors = [eventlet.spawn(keep, "acceptor", partial(self._serve, each.sock), _is_ending, PROCESS_END) for each in self.sockets]
        keep("worker", partial(self._notify_while, lambda: not self._is_stopped()), self._is_stopped, PROCESS_END)
        PROCESS_END.expect()
        # Shutdown first: the application refuses new sessions itself, and the end of an acceptor
        # closes idle connections.
        if shutdown := getattr(self.wsgi, "shutdown", None):
            notifier = eventlet.spawn(self._notify_while, lambda: True)  # a drain may last longer than gunicorn's timeout
            shutdown()
            notifier.kill()
        for acceptor in acceptors:
            acceptor.kill()
        if PROCESS_END.code is not None:
            sys.exit(PROCESS_END.code)

    def _notify_while(self, condition: Callable[[], bool]) -> None:
        while condition():
            self.notify()
            HEARTBEATS.beat("worker")
            eventlet.sleep(_NOTIFY_SECONDS)
        self.notify()

    def _is_stopped(self) -> bool:
        return not self.alive or os.getppid() != self.ppid

    def _serve(self, listener: socket.socket) -> None:
        set_options(listener)
        HEARTBEATS.expect("acceptor", 2 * _ACCEPT_SECONDS)
        eventlet.wsgi.server(
            _Listener(listener, ACCEPTOR, getattr(self.wsgi, "arrivals", None)),
            self.wsgi,
            log=log,
            log_output=False,
            protocol=getattr(self.wsgi, "protocol", eventlet.wsgi.HttpProtocol),
            custom_pool=_Pool(),
            max_http_version="HTTP/1.1",
            debug=False,
            socket_timeout=_IDLE_SECONDS,
        )


def set_options(listener: socket.socket) -> None:
    """Set the options of a listener, and those that accepted sockets inherit."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A connection is accepted together with its first bytes, which saves a turn of the loop. A
    # silent one is accepted about a second later. The option does not exist outside Linux.
    with suppress(AttributeError, OSError):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)
    try:
        # Otherwise `send()` takes 4 MB for a client that does not read: minutes of old prices.
        listener.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    except OSError as error:
        log.warning("the kernel may keep megabytes for each slow client", extra={"option": "TCP_NOTSENT_LOWAT", "reason": str(error)})


def _is_ending() -> bool:
    return PROCESS_END.begun


class Arrivals(Protocol):
    """The part of an application that takes new connections before the HTTP server does."""

    def accept(self, sock: socket.socket, address: Any, pass_on: Callable[[socket.socket, Any, Any], None]) -> None:
        """Take a connection with a non-blocking socket.

        `pass_on` gives it to the HTTP server, with a value that the protocol finds in the attribute
        `passed` of its socket. It may be called later.
        """


class _Listener:
    """The listening socket of `eventlet.wsgi.server`, whose `accept` survives passing errors.

    A callback of the loop accepts connections: one greenlet and one timer for each of them would
    cost more than a WebSocket handshake. `accept` returns those that `arrivals` passes on; without
    it, all.
    """

    def __init__(self, listener: socket.socket, acceptor: Acceptor, arrivals: Arrivals | None) -> None:
        # A socket that is not green: the accepted ones are of its class.
        self._listener = _real_socket(fileno=listener.detach())
        self._listener.setblocking(False)
        self._acceptor = acceptor
        self._arrivals = arrivals
        self._passed = LightQueue()  # connections for the HTTP server; None wakes `accept`
        self._reading: Any = None  # the callback, while it is registered
        self._failure: Exception | None = None  # of the callback
        self.family, self.getsockname, self.close = self._listener.family, self._listener.getsockname, self._listener.close

    def accept(self) -> Connection:
        """Wait for a connection that the HTTP server must read."""
        while True:
            HEARTBEATS.beat("acceptor")
            if self._failure is not None:
                raise self._failure
            if self._acceptor.pause_left:
                eventlet.sleep(PAUSE_SECONDS)
                continue
            if self._passed.empty():
                self._accept_some()  # it finds a closed listener too, which the loop does not report
                self._start()
            with suppress(Empty):
                if (connection := self._passed.get(timeout=_ACCEPT_SECONDS)) is not None:
                    return connection  # type: ignore[no-any-return]

    def _start(self) -> None:
        if self._reading is None and not self._acceptor.pause_left:
            self._reading = hubs.get_hub().add(hubs.hub.READ, self._listener.fileno(), self._readable, lambda _: None, lambda: None)

    def _stop(self) -> None:
        if self._reading is not None:
            hubs.get_hub().remove(self._reading)
            self._reading = None

    def _readable(self, _: int) -> None:
        try:
            self._accept_some()
        except Exception as error:
            log.exception("failed to accept connections")
            self._failure = error  # for the greenlet of `accept`
        if self._failure is not None or self._acceptor.pause_left:
            self._stop()
            self._passed.put(None)

    def _accept_some(self) -> None:
        """Accept the connections that wait; a part of them, so that others have their turn."""
        for _ in range(_CONNECTIONS_PER_TURN):
            if (connection := self._acceptor.accept(self._listener.accept)) is None:
                return
            sock, address = connection
            hubs.notify_opened(sock.fileno())
            sock.setblocking(False)
            if self._arrivals is None:
                self._pass_on(sock, address, None)
            else:
                self._arrivals.accept(sock, address, self._pass_on)

    def _pass_on(self, sock: socket.socket, address: Any, passed: Any) -> None:
        green = eventlet.greenio.GreenSocket(sock, set_nonblocking=False)
        green.passed = passed
        self._passed.put((green, address))


class _Pool(eventlet.GreenPool):  # type: ignore[misc]
    """A pool without a practical limit (the application limits clients).

    The end of an acceptor does not wait for it.
    """

    def __init__(self) -> None:
        super().__init__(size=100_000)

    def waitall(self) -> None:
        return
