"""The running hub: a WSGI application with an orderly shutdown."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from api.errors import ErrorCode, Refusal, error_body
from api.hub.fanout import Fanout
from api.hub.health import HubHealth
from api.hub.own_report import HubReport
from api.hub.relay import Relay
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import Protocol
from api.hub.transport.http_requests import refused
from api.hub.transport.web.door import Application
from api.hub.transport.web.early import Early, EarlyCredentials
from api.refresh.leases import LeaseLoop
from api.refresh.service import AccessControl

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0  # at a shutdown, for all outboxes together
FLUSH_POLL_SECONDS = 0.02
_NOT_NOW = refused(Refusal(ErrorCode.UNAVAILABLE, "The server is starting or stopping.", {"retry_after": 2}))


class Hub:
    """The running hub: a WSGI application with an orderly shutdown."""

    def __init__(
        self,
        app: Application,
        engine: EngineServer,
        fanouts: Mapping[str, Fanout],
        relay: Relay,
        report: HubReport,
        leases: LeaseLoop,
        health: HubHealth,
        access: AccessControl,
        early: EarlyCredentials,
        stop: threading.Event,
    ) -> None:
        # the class with which the HTTP server must read the hub's connections
        self.protocol = Protocol.of_server(engine.places, self._check_early)
        self._app = app
        self._engine = engine
        self._fanouts = fanouts
        self._relay = relay
        self._report = report
        self._leases = leases
        self._health = health
        self._access = access
        self._early = early
        self._stop = stop

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        early = not self._ready and environ.get("PATH_INFO", "").startswith("/socket.io/")
        if (early or self._stop.is_set()) and "sid=" not in environ.get("QUERY_STRING", ""):
            start_response(_NOT_NOW.status, [("Content-Type", "application/json"), ("Connection", "close"), *_NOT_NOW.headers])
            return [_NOT_NOW.body]
        return self._app(environ, start_response)

    @property
    def _ready(self) -> bool:
        """False until the hub can serve clients.

        It needs the log for the missed messages of a client, and the keys for a client that must
        have one.
        """
        return self._relay.loaded and self._health.accepts

    def _check_early(self, line: bytes, head: bytes, peer: str, local: Callable[[], str]) -> Early | None:
        return None if self._stop.is_set() or not self._ready else self._early.check(line, head, peer, local)

    def shutdown(self) -> None:
        """Send every client an `error` with `retry_after`, then close its transport.

        Takes at most `FLUSH_SECONDS`, and one answer of Redis for the places of the clients.
        """
        self._stop.set()
        clients = [(fanout, client) for fanout in self._fanouts.values() for client in fanout.clients()]
        log.info("hub stops", extra={"clients": len(clients)})
        for fanout, client in clients:
            # Jitter, so that the clients do not reconnect all at once.
            details = {"retry_after": round(random.uniform(1.0, 5.0), 2)}  # noqa: S311
            body = error_body(ErrorCode.UNAVAILABLE, "The server restarts; please reconnect.", "disconnect", details)
            fanout.emit(client, "error", orjson.dumps(body))
        deadline = time.monotonic() + FLUSH_SECONDS
        self._report.drain()
        while self._engine.waiting_bytes() and time.monotonic() < deadline:
            time.sleep(FLUSH_POLL_SECONDS)
        self._engine.close_all()
        while self._engine.closing and time.monotonic() < deadline:
            time.sleep(FLUSH_POLL_SECONDS)
        self._access.wait_for_end(deadline - time.monotonic())
        self._leases.release()
        self._report.close()
