"""The rights of connected clients as they change: new tokens, expiry, revocation, changed keys."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, Protocol

import orjson

from api.access.audit import Audit, NoAudit
from api.access.model import Access, Authenticator, Handshake
from api.access.table import AccessTable, TableChange, has_expired
from api.errors import ErrorCode, Unauthorized, error_body
from api.hub.alerts.requests import AlertRequests
from api.hub.clients import Client, Clients
from api.hub.rights.expiry import Expiries
from api.hub.rooms.candles import CandleRooms
from api.hub.rooms.prices import PriceRooms
from config.access.scopes import SCOPES
from db.timestamps import format_time

log = logging.getLogger(__name__)

Reason = Literal["expired", "revoked", "key_changed"]
EXPIRING = "credentials_expiring"
_REFRESHABLE = "/"  # the namespace with the event `refresh`
_MESSAGES: dict[Reason, str] = {
    "expired": "The credential has expired: connect with a new one.",
    "revoked": "The credential was revoked.",
    "key_changed": "The rights of the key are fewer now: connect again.",
}


class Connections(Protocol):
    """The part of the transport that changes of rights need."""

    def expel(self, client: str, namespace: str, error: bytes) -> None:
        """Send an `error` with this body, and end the session of the client."""

    def accept(self, client: str, namespace: str, auth: Mapping[str, Any]) -> None:
        """Record the new credential of the client's session."""


class NoConnections:
    """Ends no session: for parts without a transport."""

    def expel(self, client: str, namespace: str, error: bytes) -> None:
        """Do nothing."""

    def accept(self, client: str, namespace: str, auth: Mapping[str, Any]) -> None:
        """Do nothing."""


class LiveRights:
    """Gives connected clients other rights, or ends their sessions.

    Fewer rights leave rooms and delete alerts at once; more rights wait for `subscribe`. `pause`
    lets other greenlets run. `clock` returns aware UTC. `audit` receives tokens of other callers.
    `denied` returns more rooms of a namespace that a client with these rights must not be in.
    """

    def __init__(
        self,
        clients: Clients,
        rooms: tuple[PriceRooms, CandleRooms],
        alerts: AlertRequests,
        authenticator: Authenticator,
        connections: Connections,
        clock: Callable[[], datetime],
        audit: Audit | None = None,
        denied: Callable[[str, Access], list[str]] = lambda namespace, access: [],
    ) -> None:
        self._clients = clients
        self._prices, self._candles = rooms
        self._denied = denied
        self._alerts = alerts
        self._authenticator = authenticator
        self._connections = connections
        self._clock = clock
        self._audit = audit or NoAudit()
        self._expiries = Expiries(clients, clock, self._notify, lambda client: self._end(client, "expired"))
        self._ended: Counter[Reason] = Counter()  # reason -> sessions, since the last line of the log

    def watch(self, client: Client) -> None:
        """Begin to watch the expiry of a new client."""
        self._expiries.watch(client)

    def tick(self, pause: Callable[[], None]) -> None:
        """Notify clients whose rights expire soon, and end those whose rights have expired."""
        self._expiries.tick(pause)
        self._log_ended()

    def refresh(self, client: Client, token: str) -> dict[str, Any]:
        """Give a client the rights of a new token of the same caller. Raises `Refusal`.

        They hold for all namespaces of the session in which the client is this caller.
        """
        auth, namespace = {"token": token}, client.fanout.namespace
        handshake = Handshake("refresh", client.address, {}, namespace, auth)
        access = self._authenticator.authenticate(handshake)
        if access.caller is None or access.caller != client.access.caller:
            refusal = Unauthorized("another_caller", sent=True, key_id=access.key_id)
            self._audit.refused(refusal, client.address)
            raise refusal
        self._connections.accept(client.id, namespace, auth)
        for other in self._clients.beside(client):
            self._apply(other, access)
        removed = self._apply(client, access)
        return {**described(access), "instruments": list(access.patterns.texts), "removed": removed}

    def take(self, change: TableChange, pause: Callable[[], None]) -> None:
        """Apply a change of the table of keys to the clients that it is about."""
        for client in self._clients.concerned_now(change, pause):
            self._judge(client, change.after)
        self._log_ended()

    def _judge(self, client: Client, table: AccessTable) -> None:
        before = client.access
        if table.revokes(before):
            self._end(client, "revoked")
        elif before.key_id is not None:
            access = table.by_id[before.key_id].access
            if has_expired(access, self._clock()):
                self._end(client, "expired")
            elif access.covers(before, self._prices.known):
                self._apply(client, access)
            else:
                self._end(client, "key_changed")

    def _apply(self, client: Client, access: Access) -> list[str]:
        """Give a client these rights; return the rooms that it had to leave."""
        if access is client.access:
            return []
        client = self._clients.change(client, access)
        self._expiries.watch(client)
        held = client.fanout.rooms(client.id)
        denied = (*self._prices.denied(access), *self._candles.denied(access), *self._denied(client.fanout.namespace, access))
        removed = [room for room in denied if room in held]
        if removed:
            client.fanout.leave(client.id, removed)
        self._alerts.retain(client.id, access.includes)
        return removed

    def _notify(self, client: Client, now: datetime) -> None:
        if client.fanout.namespace != _REFRESHABLE:
            return
        access = client.access
        assert access.expires_at is not None  # noqa: S101 - without an expiry there is no entry
        body = {"expires_at": format_time(access.expires_at), "in_seconds": round((access.expires_at - now).total_seconds())}
        client.fanout.emit(client.id, EXPIRING, orjson.dumps(body))

    def _log_ended(self) -> None:
        if self._ended:
            log.info("sessions ended, because their rights ended", extra={"event": "auth", "sessions": dict(self._ended)})
            self._ended.clear()

    def _end(self, client: Client, reason: Reason) -> None:
        self._ended[reason] += 1
        details = {"reason": reason, "reconnect": False}
        body = error_body(ErrorCode.UNAUTHORIZED, _MESSAGES[reason], "disconnect", details)
        self._connections.expel(client.id, client.fanout.namespace, orjson.dumps(body))


def described(access: Access) -> dict[str, Any]:
    """Return expiry and scopes in the form of answers; both are null without a credential."""
    expires_at = None if access.expires_at is None else format_time(access.expires_at)
    return {"expires_at": expires_at, "scopes": None if access.anonymous else _named(access.scopes)}


@lru_cache(maxsize=64)
def _named(scopes: frozenset[str]) -> tuple[str, ...]:
    """Return the scopes in the order of our documents."""
    return tuple(name for name in SCOPES if name in scopes)
