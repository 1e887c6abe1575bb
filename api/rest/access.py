"""The caller of each request, and the scope of its route: one check before every view.

A route is open, or needs a scope; another one may suffice too. An open route may have details that
need a scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, g, request

from api.access.credentials import refuse_query
from api.access.model import KEPT_HEADERS, OPEN, Access, Authenticator, Handshake
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal, forbidden_scope
from config.access.modes import REQUIRED, AuthMode

# Header -> its name in the environment of WSGI, which costs less to read than the header.
_VARIABLES = {name: "HTTP_" + name.upper().replace("-", "_") for name in KEPT_HEADERS}
_CREDENTIALS = ("Authorization", "X-API-Key")


@dataclass(frozen=True, slots=True)
class Gate:
    """The rules of one app: `scopes`, `others` and `details` map endpoints to scopes.

    A caller needs the scope of the endpoint in `scopes`, or the one in `others` if it is there.
    `limited` is the authenticator of routes that need a scope: it takes their cost, too. An open
    route costs nothing. `peers` finds the address of a caller.
    """

    authenticator: Authenticator
    limited: Authenticator
    mode: AuthMode
    peers: Peers
    scopes: Mapping[str, str]
    details: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Set `g.access` to the rights of the caller. Raises `Refusal`.

        It is None on open routes, and if the caller of an open route with details has no right to
        them.
        """
        g.access = None
        if (endpoint := request.endpoint) is None:  # 404 or 405
            return
        refuse_query(request.query_string.decode("latin-1"))
        scope = self.scopes[endpoint]
        if scope != OPEN:
            g.access = access = self.limited.authenticate(self._handshake())
            if not access.allows(scope) and not access.allows(self.others.get(endpoint, scope)):
                raise forbidden_scope(scope)
        elif endpoint in self.details:
            g.access = self._viewer(self.details[endpoint])

    def _viewer(self, scope: str) -> Access | None:
        """Return the rights of a caller who may see the details of an open route, else None.

        A bad credential is refused here too. Load balancers send none, and are no refusal.
        """
        sent = any(name in request.headers for name in _CREDENTIALS)
        if not sent and self.mode == REQUIRED:
            return None
        try:
            access = self.authenticator.authenticate(self._handshake())
        except Refusal as refusal:
            if sent and refusal.code != ErrorCode.UNAVAILABLE:
                raise
            return None
        return access if access.allows(scope) else None

    def _handshake(self) -> Handshake:
        return handshake_of(request.environ, self.peers)


def handshake_of(environ: Mapping[str, Any], peers: Peers) -> Handshake:
    """Return the facts that identify the caller of a request, from its environment of WSGI."""
    headers = {name: environ[variable] for name, variable in _VARIABLES.items() if variable in environ}
    return Handshake("rest", peers.client(environ.get("REMOTE_ADDR", ""), headers.get("x-forwarded-for")), headers)


def guard(app: Flask, gate: Gate) -> None:
    """Check each request. Raises `ValueError` if an endpoint of the app has no scope."""
    if undeclared := endpoints_of(app) - gate.scopes.keys():
        raise ValueError("routes without a scope: " + ", ".join(sorted(undeclared)))
    app.before_request(gate.check)


def endpoints_of(app: Flask) -> set[str]:
    """Return the endpoints of all routes."""
    return {rule.endpoint for rule in app.url_map.iter_rules()}


def sees_details() -> bool:
    """Return True if the caller of an open route may see its details."""
    return g.access is not None
