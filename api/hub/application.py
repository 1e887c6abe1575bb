"""The running hub: a WSGI application with an orderly shutdown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from api.errors import ErrorCode, Refusal
from api.hub.cluster.drain import Drain
from api.hub.health import HubHealth
from api.hub.metrics.report_queue import ReportQueue
from api.hub.own_report import HubReport
from api.hub.plain.layer import PlainLayer
from api.hub.relay.relay import Relay
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import Protocol
from api.hub.transport.web.door import Door
from api.hub.transport.web.early import Early, EarlyCredentials
from api.hub.transport.web.http_requests import Refused, refusal_body, refused
from api.hub.transport.web.opening import Opening, opens_websocket
from api.refresh.leases import LeaseLoop
from api.refresh.service import AccessControl
from config.loops import PROCESS_END

CLOSE_SECONDS = 3.0  # after the drain, for the answers to the Close frames
CLOSE_POLL_SECONDS = 0.02
_ENGINE_PATH = "/socket.io/"
_CLIENT_PATHS = (_ENGINE_PATH, "/ws")
_REFUSAL = Refusal(ErrorCode.UNAVAILABLE, "The server is starting or stopping.", {"retry_after": 2})
_NOT_NOW_PLAIN = orjson.dumps({"error": refusal_body(_REFUSAL)["error"]})  # without the shape of Engine.IO


class Hub:
    """The running hub: a WSGI application with an orderly shutdown."""

    def __init__(
        self,
        app: Door,
        engine: EngineServer,
        drain: Drain,
        relay: Relay,
        report: HubReport,
        reports: ReportQueue,
        leases: LeaseLoop,
        health: HubHealth,
        access: AccessControl,
        early: EarlyCredentials,
        plain: PlainLayer,
        stop: threading.Event,
    ) -> None:
        # the class with which the HTTP server must read the hub's connections
        self.protocol = Protocol.of_server(engine.places, engine.handshakes.answer, self._check_early)
        # takes new connections before the HTTP server does
        self.arrivals = engine.arrivals
        engine.handshakes.gate = self._check_handshake
        self._app = app
        self._engine = engine
        self._drain = drain
        self._relay = relay
        self._report = report
        self._reports = reports
        self._leases = leases
        self._health = health
        self._access = access
        self._early = early
        self._plain = plain
        self._stop = stop

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/hub/live":  # also of a hub that stops
            return self._app(environ, start_response)
        if environ.get("PATH_INFO") == _ENGINE_PATH and opens_websocket(environ):
            return self._engine.handle_request(environ, start_response)  # with `_check_handshake`
        if self._refuses(environ):
            answer = _not_now()
            start_response(answer.status, [("Content-Type", answer.kind), *answer.headers])
            return [answer.body if environ.get("PATH_INFO", "").startswith(_ENGINE_PATH) else _NOT_NOW_PLAIN]
        return self._app(environ, start_response)

    def _check_handshake(self, opening: Opening) -> list[tuple[str, str]]:
        """Check a WebSocket handshake as `__call__` and the door check every other request.

        Returns the CORS headers of a refusal. Raises `Refused`.
        """
        if not self._opens:
            raise _not_now()
        headers = opening.headers
        return self._app.check(_ENGINE_PATH, opening.query, headers.get("host"), headers.get("origin"), opening.local)

    def _refuses(self, environ: dict[str, Any]) -> bool:
        """Return True for a request that the hub does not serve now; those of sessions it does."""
        path = environ.get("PATH_INFO", "")
        if path.startswith(_ENGINE_PATH) and "sid=" in environ.get("QUERY_STRING", ""):
            return False
        return self._stop.is_set() or (path.startswith(_CLIENT_PATHS) and not self._opens)

    @property
    def _opens(self) -> bool:
        """True if the hub opens sessions."""
        return not self._stop.is_set() and self._ready and not self._drain.begun

    @property
    def _ready(self) -> bool:
        """False until the hub can serve clients.

        It needs the log for the missed messages of a client, and the keys for a client that must
        have one.
        """
        return self._relay.loaded and self._health.accepts

    def _check_early(self, line: bytes, head: bytes, peer: str, local: Callable[[], str]) -> Early | None:
        return self._early.check(line, head, peer, local) if self._opens else None

    def shutdown(self) -> None:
        """Drain the hub, then end its loops and leave the registry.

        Reports of bots that wait are written and answered before the last clients leave. If a loop
        has ended, there is no time for slices.
        """
        if PROCESS_END.code is not None:
            self._drain.hasten()
        self._drain.finish()
        self._reports.close()
        self._stop.set()
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._reports.busy and time.monotonic() < deadline:
            time.sleep(CLOSE_POLL_SECONDS)
        self._engine.close_all()
        while (self._engine.closing or self._plain.flushing) and time.monotonic() < deadline:
            time.sleep(CLOSE_POLL_SECONDS)
        self._access.wait_for_end(deadline - time.monotonic())
        self._leases.release()
        self._report.close()


def _not_now() -> Refused:
    """Return the refusal of a hub that starts or stops."""
    answer = refused(_REFUSAL)
    answer.headers = [("Connection", "close"), *answer.headers]
    return answer
