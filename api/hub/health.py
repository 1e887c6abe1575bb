"""The answers of `/hub/health` and `/hub/live`, which are open.

`/hub/health` has details for callers with `observe`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from api.access.model import OBSERVE, Authenticator
from api.access.peers import Peers
from api.errors import HTTP_STATUS, Refusal
from api.hub.stats import RelayState
from api.hub.transport.web.http_requests import refusal_headers, request_handshake
from api.refresh.service import AccessControl
from config.access.modes import REQUIRED
from config.loops import liveness

Answer = tuple[dict[str, Any], int, list[tuple[str, str]]]  # body, status, headers


def live(silent: Iterable[str]) -> Answer:
    """Return the answer of `/hub/live`: 503 if a loop has missed its rounds, else 200.

    An outage of Redis is no reason: a new process would lose all clients and still have no Redis.
    """
    return *liveness(silent), []


class HubHealth:
    """Answers 200 if the hub serves new clients, else 503.

    `serves` returns False while the hub is in trouble or about to stop. `details` returns further
    fields for callers with `observe`, who also see the state of the table of keys.
    """

    def __init__(
        self,
        relay: RelayState,
        access: AccessControl,
        authenticator: Authenticator,
        peers: Peers,
        serves: Callable[[], bool],
        details: Callable[[], dict[str, Any]],
    ) -> None:
        self._relay = relay
        self._access = access
        self._authenticator = authenticator
        self._peers = peers
        self._serves = serves
        self._details = details

    def answer(self, environ: Mapping[str, Any]) -> Answer:
        """Return body, status and headers of the answer to a request."""
        try:
            observes = self._observes(environ)
        except Refusal as refusal:
            error = {"code": refusal.code.value, "message": str(refusal), "details": refusal.details}
            return {"error": error}, HTTP_STATUS[refusal.code], refusal_headers(refusal)
        serves = self.accepts and self._relay.loaded and self._relay.connected and self._serves()
        body = {"status": "healthy" if serves else "unhealthy", "redis_connected": self._relay.connected}
        if observes:
            body |= {"access": self._access.table_state, **self._details()}
        return body, 200 if serves else 503, []

    @property
    def accepts(self) -> bool:
        """False if credentials are required and the keys have not been read yet."""
        return self._access.mode != REQUIRED or self._access.tables.table is not None

    def _observes(self, environ: Mapping[str, Any]) -> bool:
        """Return True for a caller with `observe`. Raises `Refusal` for a bad credential."""
        handshake = request_handshake(environ, self._peers)
        if not handshake.headers:
            return self._access.mode != REQUIRED and self._access.anonymous.allows(OBSERVE)
        return self._authenticator.authenticate(handshake).allows(OBSERVE)
