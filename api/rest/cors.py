"""Host and Origin of each request to REST, and the CORS headers of its answers."""

from __future__ import annotations

from flask import Flask, Response, current_app, request

from api.access.counts import HOST, ORIGIN, AccessCounts
from api.access.hosts import OPEN_PATHS, SENT_HEADERS, Hosts, Origins
from api.errors import ErrorCode
from api.refused_origins import RefusedOrigins
from api.rest.errors import ApiError

_READABLE_HEADERS = "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Next-Page-Token, X-Request-ID"
_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PREFLIGHT_SECONDS = "600"


def register(app: Flask, hosts: Hosts, origins: Origins, refused: RefusedOrigins, counts: AccessCounts) -> None:
    """Refuse foreign hosts and origins first; call it before other checks are registered.

    A foreign page may send a request that reads, but its browser withholds the answer from it:
    both count as refused.
    """

    def check() -> Response | None:
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        if request.path not in OPEN_PATHS and not hosts.allow(host, lambda: request.environ.get("SERVER_NAME", "")):
            counts.refused(HOST)
            raise ApiError(403, ErrorCode.FORBIDDEN, "the host is not allowed: see ALLOWED_HOSTS")
        if origin is None:
            return None
        allowed = origins.allow(origin, host)
        if not allowed:
            refused.note(origin)
            counts.refused(ORIGIN)
        if not allowed and (origin in ("", "null") or request.method not in _READING_METHODS):
            raise ApiError(403, ErrorCode.FORBIDDEN, "the origin is not allowed: see CORS_ORIGINS")
        return _preflight() if allowed and "Access-Control-Request-Method" in request.headers else None

    def answer(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if not origins.everyone:
            response.vary.add("Origin")
        if origin is not None and origins.allow(origin, request.headers.get("Host")):
            response.headers.extend([each for each in origins.headers(origin) if each[0] != "Vary"])
            response.headers["Access-Control-Expose-Headers"] = _READABLE_HEADERS
        return response

    app.before_request(check)
    app.after_request(answer)


def _preflight() -> Response | None:
    """Answer the question of a browser, if the path exists."""
    adapter = current_app.create_url_adapter(request)
    methods = sorted(adapter.allowed_methods()) if adapter is not None else []
    if request.method != "OPTIONS" or not methods:
        return None
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = ", ".join(methods)
    response.headers["Access-Control-Allow-Headers"] = SENT_HEADERS
    response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
    return response
