"""A hub and a REST that need a credential, on the hub's own transport.

`POST /control` changes the behaviour; the body is one of these:

| body | effect |
| --- | --- |
| `{"accept": [text, …]}` | the credentials that are accepted from now on |
| `{"expire": seconds}` | every client receives `credentials_expiring` |
| `{"removed": [room, …]}` | `refreshed` has these rooms |
| `{"end": reason, "closing": "packets"}` | every client receives error and DISCONNECT, then 4401 |
| `{"end": reason, "closing": "code"}` | every client is closed with 4401 alone |
| `{"drop": true}` | every client is closed without a reason |
| `{"refuse": {"path", "status", "body", "retry_after", "times"}}` | HTTP requests are refused |
| `{"connects": {"code", "details", "times"}}` | CONNECT packets are refused with this code |

`GET /seen` returns `[[kind, credential], …]`: the kinds are `connect`, `refresh` and the paths of
REST. Each client receives a price of each instrument that it holds every 40 ms; `since` is served
from all prices so far.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import eventlet
import orjson
from flask import Flask, Response, request

from api.access.model import Handshake
from api.errors import ErrorCode, Refusal, Unauthorized, error_body
from api.hub.transport.eventlet_loop import Protocol, make_socketio
from api.hub.transport.host import Limits
from api.hub.transport.session import Session
from api.hub.transport.socketio_server import ClientManager
from config.http_errors import http_error_body
from tests.standins.ending_hub import price

TIME = "2025-11-18T12:30:00.000000Z"
PAIRS = ["EUR_USD", "GBP_USD"]
_ROOM = "price_"


class _Hub:
    """The handlers of all clients, and the routes of REST."""

    def __init__(self) -> None:
        self.app = Flask(__name__)
        self.socketio = make_socketio(self.app, ClientManager(self._greet), Limits(ping_interval=5, ping_timeout=20))
        self.accepted: set[str] = set()
        self.seen: list[tuple[str, str | None]] = []
        self.held: dict[str, list[str]] = {}  # sid -> instruments
        self.sent: dict[str, list[dict[str, Any]]] = defaultdict(list)  # instrument -> prices
        self.removed: list[str] = []
        self.refusal: dict[str, Any] = {"times": 0}  # of HTTP requests
        self.connects: dict[str, Any] = {"times": 0}  # refusal of CONNECT
        self.socketio.on_event("connect", self._admit)
        self.socketio.on_event("disconnect", lambda sid, reason: self.held.pop(sid, None))
        self.socketio.on_event("*", self._event)
        self.app.add_url_rule("/control", view_func=self._control, methods=["POST"])
        self.app.add_url_rule("/seen", view_func=lambda: Response(orjson.dumps(self.seen)))
        published = {"accepted": 1, "duplicates": 0, "rejected": []}
        for path, method, body in (("/symbols", "GET", {"symbols": []}), ("/prices", "POST", published)):
            self.app.add_url_rule(path, path, self._guarded(path, body), methods=[method])
        self.socketio.start_background_task(self._publish)

    # REST

    def _guarded(self, path: str, body: dict[str, Any]) -> Callable[[], Any]:
        def view() -> Any:
            header = request.headers.get("Authorization", "")
            text = header.removeprefix("Bearer ") if header else request.headers.get("X-API-Key")
            self.seen.append((path, text))
            return body if text in self.accepted else (http_error_body("unauthorized", "A valid credential is needed."), 401)

        view.__name__ = path
        return view

    def refused(self, path: str) -> tuple[str, list[tuple[str, str]], bytes] | None:
        """The answer to a request that `{"refuse": …}` names."""
        chosen = self.refusal
        if not chosen["times"] or not path.startswith(chosen["path"]):
            return None
        chosen["times"] -= 1
        headers = [("Content-Type", "application/json")]
        if "retry_after" in chosen:
            headers.append(("Retry-After", str(chosen["retry_after"])))
        return f"{chosen['status']} Refused", headers, orjson.dumps(chosen.get("body", {"code": 3, "message": "Too many connections"}))

    # clients

    def _admit(self, sid: str, handshake: Handshake) -> None:
        auth: Mapping[str, Any] = handshake.auth or {}
        text = auth.get("token") or auth.get("api_key")
        self.seen.append(("connect", text))
        if self.connects["times"]:
            self.connects["times"] -= 1
            raise Refusal(ErrorCode(self.connects["code"]), "Refused.", self.connects["details"])
        if text not in self.accepted:
            raise Unauthorized("unknown", sent=text is not None)

    def _greet(self, sid: str, namespace: str) -> None:
        self.held[sid] = []
        body = {"client_id": sid, "message": "", "server_time": TIME, "available_pairs": PAIRS, "ping_interval": 25, "ping_timeout": 20}
        self._send(sid, "connection_established", {**body, "key_id": "abcdefgh", "scopes": ["read"], "expires_at": TIME})

    def _send(self, sid: str, event: str, body: dict[str, Any]) -> dict[str, Any]:
        self.socketio.emit(event, body, to=sid)
        return body

    def _event(self, sid: str, name: str, payload: dict[str, Any] | None = None) -> Any:
        if name == "refresh" and payload is not None:
            return self._refresh(sid, str(payload["token"]))
        if name == "subscribe" and payload is not None:
            return self._subscribe(sid, payload["pairs"], payload.get("since") or {})
        return self._send(sid, "subscriptions_info", {"pairs": self.held[sid], "pair_count": len(self.held[sid]), "timestamp": TIME})

    def _refresh(self, sid: str, token: str) -> dict[str, Any]:
        self.seen.append(("refresh", token))
        if token not in self.accepted:
            return self._send(sid, "error", error_body(ErrorCode.UNAUTHORIZED, "A valid credential is needed.", "refresh", {}))
        for room in self.removed:
            self.held[sid].remove(room.removeprefix(_ROOM))
        body = {"expires_at": TIME, "scopes": ["read"], "instruments": ["*"], "removed": self.removed, "timestamp": TIME}
        return self._send(sid, "refreshed", body)

    def _subscribe(self, sid: str, pairs: list[str], since: dict[str, Any]) -> dict[str, Any]:
        added = [pair for pair in pairs if pair not in self.held[sid]]
        self.held[sid] += added
        body = {"pairs": self.held[sid], "pair_count": len(self.held[sid]), "added": added, "rejected": [], "rejected_count": 0}
        snapshot = {pair: self.sent[pair][-1] for pair in pairs if self.sent[pair]}
        recovered = dict.fromkeys(since, True)
        answer = self._send(
            sid, "subscription_confirmed", {**body, "snapshot": snapshot, "recovered": recovered, "max_rate": None, "timestamp": TIME}
        )
        for pair, position in since.items():
            for missed in self.sent[pair][position["seq"] :]:
                self._send(sid, "price_update", missed)
        return answer

    def _publish(self) -> None:
        while True:
            eventlet.sleep(0.04)
            for pair in PAIRS:
                self.sent[pair].append(price(pair, len(self.sent[pair]) + 1))
                for sid in [sid for sid, pairs in self.held.items() if pair in pairs]:
                    self._send(sid, "price_update", self.sent[pair][-1])

    # control

    def _control(self) -> dict[str, Any]:
        for name, value in request.get_json().items():
            if name == "accept":
                self.accepted = set(value)
            elif name == "removed":
                self.removed = value
            elif name == "refuse":
                self.refusal = value
            elif name == "connects":
                self.connects = value
            elif name == "expire":
                end = (datetime.now(UTC) + timedelta(seconds=value)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                for sid in list(self.held):
                    self._send(sid, "credentials_expiring", {"expires_at": end, "in_seconds": value})
            elif name == "drop":
                for _, session in self._sessions():
                    session.close("dropped")
            elif name == "end":
                for sid, session in self._sessions():
                    self._end(sid, session, value, request.get_json()["closing"])
        return {}

    def _sessions(self) -> list[tuple[str, Session]]:
        """The clients, without those whose end this hub has not handled yet."""
        found = []
        for sid in list(self.held):
            with suppress(KeyError):
                found.append((sid, self.socketio.server.session_of(sid, "/")))
        return found

    def _end(self, sid: str, session: Session, reason: str, closing: str) -> None:
        self.held.pop(sid, None)  # no more prices
        limited = reason == "limit"
        if closing == "packets":
            details = {"max_connections": 1, "retry_after": 0.2} if limited else {"reason": reason, "reconnect": False}
            code = ErrorCode.TOO_MANY_REQUESTS if limited else ErrorCode.UNAUTHORIZED
            message = "More than 1 connections." if limited else "The credential is no longer valid."
            self._send(sid, "error", error_body(code, message, "disconnect", details))
            if session.socket is not None and not limited:
                self.socketio.server.disconnect(sid)
            while not (session.closed or session.outbox.idle):
                eventlet.sleep(0.01)
        session.close("credential", code=4429 if limited else 4401)


def create() -> Any:
    """Return the WSGI application."""
    logging.basicConfig(level=logging.INFO)
    hub = _Hub()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        refused = None if "sid=" in environ.get("QUERY_STRING", "") else hub.refused(environ["PATH_INFO"])
        if refused is None:
            return hub.app(environ, start_response)
        status, headers, body = refused
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    application.protocol = Protocol  # type: ignore[attr-defined]
    return application
