"""The routes of plain WebSockets: the answers before the switch to WebSocket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

import orjson

from api.access.peers import Peers
from api.errors import HTTP_STATUS, ErrorCode, Refusal
from api.hub.plain.sockets import PlainSockets
from api.hub.transport.plain_socket import PlainSocket
from api.hub.transport.web.door import Application
from api.hub.transport.web.http_requests import credential_headers, handshake_headers, refusal_headers
from api.hub.transport.websocket import Taken, WebSocket, accept, is_upgrade
from config.http_errors import http_error_body
from config.logs.client import client_fields

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, str]]
_UPGRADE: Headers = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
_VERSION = "13"  # of RFC 6455


class NotUpgraded(Exception):
    """A request that does not ask for a WebSocket in the way of RFC 6455."""


class Opener(Protocol):
    """Opens the sockets of one route."""

    def open(self, address: str, credentials: Mapping[str, str], query: str) -> PlainSocket:
        """Return the socket of a new connection, with its first frames. Raises `Refusal`."""


class PlainRoutes:
    """A WSGI application that serves plain WebSockets and passes on all other requests.

    `routes` maps a path to its clients. `detach` takes the socket of a request away from the HTTP
    server. `closing` has the sockets of the server that have sent Close.
    """

    def __init__(
        self,
        others: Application,
        routes: Mapping[str, Opener],
        sockets: PlainSockets,
        peers: Peers,
        detach: Callable[[dict[str, Any]], Taken],
        closing: set[WebSocket],
    ) -> None:
        self._others = others
        self._routes = routes
        self._sockets = sockets
        self._peers = peers
        self._detach = detach
        self._closing = closing

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        clients = self._routes.get(environ.get("PATH_INFO", ""))
        if clients is None:
            return self._others(environ, start_response)
        if environ["REQUEST_METHOD"] == "OPTIONS":
            start_response("204 No Content", [("Cache-Control", "no-store")])
            return []
        try:
            self._open(clients, environ)
        except NotUpgraded as error:
            more = [*_UPGRADE, ("Sec-WebSocket-Version", _VERSION)]
            body = http_error_body(ErrorCode.INVALID_PAYLOAD.value, str(error), {"upgrade": ["websocket"]})
            return _answer(HTTPStatus.UPGRADE_REQUIRED, body, more, start_response)
        except Refusal as refusal:
            body = http_error_body(refusal.code.value, str(refusal), refusal.details)
            return _answer(HTTPStatus(HTTP_STATUS[refusal.code]), body, refusal_headers(refusal), start_response)
        return []

    def _open(self, clients: Opener, environ: dict[str, Any]) -> None:
        """Turn the connection into a WebSocket. Raises `NotUpgraded` and `Refusal`."""
        answer = self._accept(environ)
        address = self._peers.client(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR"))
        peer = clients.open(address, credential_headers(environ), environ.get("QUERY_STRING", ""))
        taken = self._detach(environ)
        try:
            taken.sock.send(answer)
        except OSError:
            log.debug("connection lost during a handshake", extra=client_fields(peer.sid, "connect"))  # the first read finds it too
        peer.open_socket(WebSocket(taken, self._sockets.loop, peer, self._sockets.limits, self._closing))

    def _accept(self, environ: dict[str, Any]) -> bytes:
        """Return the answer that accepts the handshake. It declines all extensions."""
        headers = handshake_headers(environ)
        if environ["REQUEST_METHOD"] != "GET" or not is_upgrade(headers):
            path = environ["PATH_INFO"]
            raise NotUpgraded(f"{path} is a WebSocket: send a request to upgrade, for example with `new WebSocket(url)`.")
        if headers.get("sec-websocket-version") != _VERSION:
            raise NotUpgraded(f"The version of the WebSocket protocol must be {_VERSION}.")
        if (answer := accept(headers)) is None:
            raise Refusal(ErrorCode.INVALID_PAYLOAD, "Invalid handshake.", {"Sec-WebSocket-Key": ["16 bytes in base64."]})
        return answer


def _answer(status: HTTPStatus, content: Any, more: Headers, start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = orjson.dumps(content)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"), *more]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]
