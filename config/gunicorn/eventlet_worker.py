"""gunicorn worker of the hub: `eventlet.wsgi.server` on gunicorn's socket.

gunicorn 26 dropped its own eventlet worker.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings

with warnings.catch_warnings():
    # eventlet warns that it is deprecated; docs/adr explains the choice.
    warnings.simplefilter("ignore")
    import eventlet
    import eventlet.greenio
    import eventlet.wsgi

from gunicorn.workers.base import Worker

log = logging.getLogger("hub.worker")

_IDLE_SECONDS = 60.0  # limit for the wait for a request, or for the rest of one


class EventletWorker(Worker):  # type: ignore[misc]
    """Serves until gunicorn stops it; then calls the `shutdown()` of the application and ends."""

    def init_process(self) -> None:
        # Before any import of the application.
        eventlet.monkey_patch()
        super().init_process()

    def run(self) -> None:
        acceptors = [eventlet.spawn(self._serve, each.sock) for each in self.sockets]
        while self.alive and os.getppid() == self.ppid:
            self.notify()
            for acceptor in acceptors:
                if acceptor.dead:
                    acceptor.wait()  # raises its exception, which ends this worker; gunicorn then starts another
                    return
            eventlet.sleep(0.2)
        self.notify()
        # Shutdown first: the application refuses new sessions itself, and the end of an acceptor
        # closes every WebSocket.
        if shutdown := getattr(self.wsgi, "shutdown", None):
            shutdown()
        for acceptor in acceptors:
            acceptor.kill()

    def _serve(self, listener: socket.socket) -> None:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
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
    """A pool without a practical limit (the application limits clients).

    The end of an acceptor does not wait for it.
    """

    def __init__(self) -> None:
        super().__init__(size=100_000)

    def waitall(self) -> None:
        return
