"""gunicorn worker of the hub: `eventlet.wsgi.server` on gunicorn's socket.

gunicorn 26 dropped its own eventlet worker.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from functools import partial
from typing import Any

with warnings.catch_warnings():
    # eventlet warns that it is deprecated; docs/adr explains the choice.
    warnings.simplefilter("ignore")
    import eventlet
    import eventlet.greenio
    import eventlet.patcher
    import eventlet.wsgi

from gunicorn.workers.base import Worker

from config.loops import HEARTBEATS, PROCESS_END, keep
from config.process.acceptor import ACCEPTOR, PAUSE_SECONDS, Acceptor, Connection
from config.process.watchdog import OsThreads, Watchdog

log = logging.getLogger("hub.worker")

_IDLE_SECONDS = 60.0  # limit for the wait for a request, or for the rest of one
_ACCEPT_SECONDS = 5.0  # longest wait for a connection, then the acceptor beats


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
        """Notify gunicorn while the application waits for the database."""
        while not self.booted and not self._is_stopped():
            self.notify()
            eventlet.sleep(1.0)

    def _stop(self) -> None:
        self.alive = False

    def run(self) -> None:
        HEARTBEATS.expect("worker", 1.0)
        acceptors = [eventlet.spawn(keep, "acceptor", partial(self._serve, each.sock), _is_ending, PROCESS_END) for each in self.sockets]
        keep("worker", self._notify_until_stopped, self._is_stopped, PROCESS_END)
        PROCESS_END.expect()
        # Shutdown first: the application refuses new sessions itself, and the end of an acceptor
        # closes idle connections.
        if shutdown := getattr(self.wsgi, "shutdown", None):
            shutdown()
        for acceptor in acceptors:
            acceptor.kill()
        if PROCESS_END.code is not None:
            sys.exit(PROCESS_END.code)

    def _notify_until_stopped(self) -> None:
        while not self._is_stopped():
            self.notify()
            HEARTBEATS.beat("worker")
            eventlet.sleep(0.2)
        self.notify()

    def _is_stopped(self) -> bool:
        return not self.alive or os.getppid() != self.ppid

    def _serve(self, listener: socket.socket) -> None:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        HEARTBEATS.expect("acceptor", 2 * _ACCEPT_SECONDS)
        eventlet.wsgi.server(
            _Listener(listener, ACCEPTOR),
            self.wsgi,
            log=log,
            log_output=False,
            protocol=getattr(self.wsgi, "protocol", eventlet.wsgi.HttpProtocol),
            custom_pool=_Pool(),
            max_http_version="HTTP/1.1",
            debug=False,
            socket_timeout=_IDLE_SECONDS,
        )


def _is_ending() -> bool:
    return PROCESS_END.begun


class _Listener:
    """The listening socket of `eventlet.wsgi.server`, whose `accept` survives passing errors."""

    def __init__(self, listener: socket.socket, acceptor: Acceptor) -> None:
        self._listener = listener
        self._green = eventlet.greenio.GreenSocket(listener)
        self._green.settimeout(_ACCEPT_SECONDS)
        self._acceptor = acceptor
        self.family, self.getsockname, self.close = listener.family, self._green.getsockname, self._green.close

    def accept(self) -> Connection:
        """Wait for a connection."""
        while (connection := self._acceptor.accept(self._wait, self._listener.accept)) is None:
            HEARTBEATS.beat("acceptor")
            eventlet.sleep(PAUSE_SECONDS if self._acceptor.pause_left else 0)
        return connection

    def _wait(self) -> Any:
        while True:
            HEARTBEATS.beat("acceptor")
            try:
                return self._green.accept()
            except TimeoutError:
                continue


class _Pool(eventlet.GreenPool):  # type: ignore[misc]
    """A pool without a practical limit (the application limits clients).

    The end of an acceptor does not wait for it.
    """

    def __init__(self) -> None:
        super().__init__(size=100_000)

    def waitall(self) -> None:
        return
