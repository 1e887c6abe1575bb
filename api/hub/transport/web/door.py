"""The checks of Host, Origin and URL before every request of the hub, and its CORS headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from api.access.counts import HOST, ORIGIN, AccessCounts
from api.access.credentials import refuse_query
from api.access.hosts import OPEN_PATHS, SENT_HEADERS, Hosts, Origins
from api.errors import Refusal
from api.hub.transport.web.http_requests import Refused, answer_headers, refusal_body
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
        path, origin = environ.get("PATH_INFO", ""), environ.get("HTTP_ORIGIN")
        try:
            more = self.check(
                path, environ.get("QUERY_STRING", ""), environ.get("HTTP_HOST"), origin, lambda: environ.get("SERVER_NAME", "")
            )
        except Refused as refusal:
            start_response(refusal.status, answer_headers(refusal.kind, refusal.body, refusal.headers))
            return [refusal.body]
        if not more:
            return self._application(environ, start_response)
        more = more + (_PREFLIGHT if environ["REQUEST_METHOD"] == "OPTIONS" else [])
        return self._application(environ, lambda status, headers, *rest: start_response(status, [*headers, *more], *rest))

    def check(self, path: str, query: str, host: str | None, origin: str | None, local: Callable[[], str]) -> list[tuple[str, str]]:
        """Return the CORS headers of the answer. Raises `Refused`.

        `local()` is the address of our end of the connection.
        """
        if path not in OPEN_PATHS and not self._hosts.allow(host, local):
            self._counts.refused(HOST)
            raise _forbidden(path, "the host is not allowed: see ALLOWED_HOSTS")
        if origin is not None and not self._origins.allow(origin, host):
            self._counts.refused(ORIGIN)
            self._refused.note(origin)
            raise _forbidden(path, "the origin is not allowed: see CORS_ORIGINS")
        more = [] if origin is None else self._origins.headers(origin)
        try:
            refuse_query(query)
        except Refusal as refusal:
            body = refusal_body(refusal)
            raise _refused("400 Bad Request", body if _is_engine(path) else {"error": body["error"]}, more) from None
        return more


def _forbidden(path: str, reason: str) -> Refused:
    """Return the answer 403, on `/socket.io/` in the shape of Engine.IO, elsewhere in ours."""
    engine = {"code": 4, "message": f"Forbidden: {reason}"}
    return _refused("403 Forbidden", engine if _is_engine(path) else http_error_body("forbidden", reason))


def _is_engine(path: str) -> bool:
    return path.startswith("/socket.io/")


def _refused(status: str, content: dict[str, Any], more: Sequence[tuple[str, str]] = ()) -> Refused:
    return Refused(0, "", status, more, orjson.dumps(content))
