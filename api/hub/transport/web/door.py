"""The checks of Host, Origin and URL before every request of the hub, and its CORS headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from api.access.counts import HOST, ORIGIN, AccessCounts
from api.access.credentials import refuse_query
from api.access.hosts import OPEN_PATHS, SENT_HEADERS, Hosts, Origins
from api.errors import Refusal
from api.hub.transport.web.http_requests import refusal_body
from api.refused_origins import RefusedOrigins
from config.http_errors import http_error_body

_PREFLIGHT = [("Access-Control-Allow-Methods", "OPTIONS, GET, POST"), ("Access-Control-Allow-Headers", SENT_HEADERS)]

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Door:
    """A WSGI application that passes on the requests of allowed hosts and origins.

    A credential in the URL is refused: proxies and browsers keep URLs.
    `SERVER_NAME` is the local address of the connection, as eventlet has it.
    """

    def __init__(self, application: Application, hosts: Hosts, origins: Origins, refused: RefusedOrigins, counts: AccessCounts) -> None:
        self._application = application
        self._hosts = hosts
        self._origins = origins
        self._refused = refused
        self._counts = counts

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, host, origin = environ.get("PATH_INFO", ""), environ.get("HTTP_HOST"), environ.get("HTTP_ORIGIN")
        if path not in OPEN_PATHS and not self._hosts.allow(host, environ.get("SERVER_NAME", "")):
            self._counts.refused(HOST)
            return _forbid(path, start_response, "the host is not allowed: see ALLOWED_HOSTS")
        if origin is None:
            return self._serve(path, environ, start_response)
        if not self._origins.allow(origin, host):
            self._counts.refused(ORIGIN)
            self._refused.note(origin)
            return _forbid(path, start_response, "the origin is not allowed: see CORS_ORIGINS")
        more = self._origins.headers(origin) + (_PREFLIGHT if environ["REQUEST_METHOD"] == "OPTIONS" else [])
        return self._serve(path, environ, lambda status, headers, *rest: start_response(status, [*headers, *more], *rest))

    def _serve(self, path: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            refuse_query(environ.get("QUERY_STRING", ""))
        except Refusal as refusal:
            body = refusal_body(refusal)
            return _answer("400 Bad Request", body if _is_engine(path) else {"error": body["error"]}, start_response)
        return self._application(environ, start_response)


def _forbid(path: str, start_response: Callable[..., Any], reason: str) -> Iterable[bytes]:
    """Answer 403, on `/socket.io/` in the shape of Engine.IO, elsewhere in ours."""
    engine = {"code": 4, "message": f"Forbidden: {reason}"}
    ours = http_error_body("forbidden", reason)
    return _answer("403 Forbidden", engine if _is_engine(path) else ours, start_response)


def _is_engine(path: str) -> bool:
    return path.startswith("/socket.io/")


def _answer(status: str, content: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = orjson.dumps(content)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(status, headers)
    return [body]
