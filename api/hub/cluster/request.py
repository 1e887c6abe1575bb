"""The answer of `POST /hub/drain`: for programs on this machine, and callers with `operate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from api.access.audit import Audit
from api.access.model import OPERATE, Authenticator
from api.access.peers import Peers
from api.errors import HTTP_STATUS, ErrorCode, Refusal, forbidden_scope
from api.hub.cluster.drain import Drain
from api.hub.health import Answer
from api.hub.transport.web.http_requests import refusal_headers, request_handshake
from config.access.modes import is_loopback
from config.http_errors import http_error_body

_FORWARDING = frozenset({"HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA"})
_FORWARDING_PREFIX = "HTTP_X_FORWARDED_"


class DrainRequests:
    """Begins the drain for callers that may. `clients()` is the number of clients of the hub."""

    def __init__(self, drain: Drain, authenticator: Authenticator, peers: Peers, audit: Audit, clients: Callable[[], int]) -> None:
        self._drain = drain
        self._authenticator = authenticator
        self._peers = peers
        self._audit = audit
        self._clients = clients

    def answer(self, environ: Mapping[str, Any]) -> Answer:
        """Return body, status and headers; a repeated request changes nothing."""
        try:
            self._check(environ)
        except Refusal as refusal:
            self._audit.forbidden(refusal)
            body = http_error_body(refusal.code.value, str(refusal), refusal.details)
            return body, HTTP_STATUS[refusal.code], refusal_headers(refusal)
        self._drain.begin()
        return {"draining": True, "clients": self._clients()}, 202, [("Cache-Control", "no-store")]

    def _check(self, environ: Mapping[str, Any]) -> None:
        """Raise `Refusal` for web pages, and for other machines without `operate`."""
        if "HTTP_ORIGIN" in environ:
            raise Refusal(ErrorCode.FORBIDDEN, "A web page may not drain a hub.")
        if not is_local(environ) and not self._authenticator.authenticate(request_handshake(environ, self._peers)).allows(OPERATE):
            raise forbidden_scope(OPERATE)


def is_local(environ: Mapping[str, Any]) -> bool:
    """Return True for a request of this machine that no proxy has forwarded."""
    forwarded = any(name in _FORWARDING or name.startswith(_FORWARDING_PREFIX) for name in environ)
    return is_loopback(environ.get("REMOTE_ADDR", "")) and not forwarded
