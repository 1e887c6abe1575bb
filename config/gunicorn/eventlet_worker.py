"""gunicorn's worker for the hub: `eventlet.wsgi.server` on gunicorn's socket, since gunicorn 26 dropped its own."""

from __future__ import annotations

import logging
import os
import socket
import warnings

with warnings.catch_warnings():
    # Known, and answered in docs/adr: the warning would greet every operator at every start.
    warnings.simplefilter("ignore")
    import eventlet
    import eventlet.greenio
    import eventlet.wsgi

from gunicorn.workers.base import Worker

log = logging.getLogger("hub.worker")

_IDLE_SECONDS = 60.0  # how long a connection may keep us waiting for a request, or for the rest of one


class EventletWorker(Worker):  # type: ignore[misc]
    """Serves until told to stop; then lets the application take leave (`shutdown()`) and ends."""

    def init_process(self) -> None:
        # Before anything of the application is imported.
        eventlet.monkey_patch()
        super().init_process()

    def run(self) -> None:
        # The dispatcher beneath is ours to wake: gunicorn's wake-up pipe would only fill.
        acceptors = [eventlet.spawn(self._serve, each.sock) for each in self.sockets]
        while self.alive and os.getppid() == self.ppid:
            self.notify()
            eventlet.sleep(0.2)
        self.notify()
        # First the leave, in which the application refuses new sessions itself: an acceptor that ends cuts every WebSocket off.
        if shutdown := getattr(self.wsgi, "shutdown", None):
            shutdown()
        for acceptor in acceptors:
            acceptor.kill()

    def _serve(self, listener: socket.socket) -> None:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
        eventlet.wsgi.server(
            eventlet.greenio.GreenSocket(listener),
            self.wsgi,
            log=log,
            log_output=False,
            protocol=getattr(self.wsgi, "protocol", eventlet.wsgi.HttpProtocol),
            custom_pool=_Pool(),
            max_http_version="HTTP/1.1",
            debug=False,
            socket_timeout=_IDLE_SECONDS,
        )


class _Pool(eventlet.GreenPool):  # type: ignore[misc]
    """As many connections as come (the application counts them), and nobody waits for them when the acceptor ends."""

    def __init__(self) -> None:
        super().__init__(size=100_000)

    def waitall(self) -> None:
        return
