"""The rights of connected plain clients as they change: new tokens, expiry, revocation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from api.access.audit import Audit
from api.access.model import Access, Authenticator, Handshake
from api.access.table import AccessTable, TableChange, has_expired
from api.errors import ErrorCode, Refusal, Unauthorized
from api.hub.clients import Client, Clients
from api.hub.rights.expiry import Expiries
from api.hub.rights.limits import HubLimits


class Ends(Protocol):
    """Judges the rights of clients, and sends them the notices and the ends of their rights."""

    def check(self, client: Client, access: Access) -> None:
        """Raise `Refusal` unless the client may stay with these rights."""

    def changed(self, client: Client) -> None:
        """Let the client have what its new rights allow."""

    def notify(self, client: Client, now: datetime) -> None:
        """Send the notice that the credential expires soon."""

    def end(self, client: Client, refusal: Refusal) -> None:
        """Send the error and close the connection."""


class PlainRights:
    """Gives connected clients other rights, or ends their connections.

    A connection ends if its handshake would be refused with the new rights. `clock` returns aware
    UTC.
    """

    def __init__(
        self, clients: Clients, authenticator: Authenticator, limits: HubLimits, ends: Ends, clock: Callable[[], datetime], audit: Audit
    ) -> None:
        self._clients = clients
        self._authenticator = authenticator
        self._limits = limits
        self._ends = ends
        self._clock = clock
        self._audit = audit
        self._expiries = Expiries(clients, clock, ends.notify, lambda client: ends.end(client, _ended("expired")))

    def watch(self, client: Client) -> None:
        """Begin to watch the expiry of a new client."""
        self._expiries.watch(client)

    def tick(self, pause: Callable[[], None]) -> None:
        """Notify clients whose rights expire soon, and end those whose rights have expired."""
        self._expiries.tick(pause)

    def renew(self, client: Client, handshake: Handshake) -> Client:
        """Give a client the rights of a further credential. Raises `Refusal`.

        It belongs to the same caller. A client without a credential may identify itself.
        """
        access = self._authenticator.authenticate(handshake)
        self._ends.check(client, access)
        if client.access.anonymous:
            return self._identify(client, access, handshake)
        if access.caller != client.access.caller:
            refusal = Unauthorized("another_caller", sent=True, key_id=access.key_id)
            self._audit.refused(refusal, client.address)
            raise refusal
        return self._change(client, access)

    def _identify(self, client: Client, access: Access, handshake: Handshake) -> Client:
        self._limits.connections.check(access, client.address)
        self._limits.close(client.id)
        shared = self._limits.open(client.id, handshake, access)
        return self._change(replace(client, shared=shared, owner=access.caller or client.owner), access)

    def take(self, change: TableChange, pause: Callable[[], None]) -> None:
        """Apply a change of the table of keys to the clients that it is about."""
        for client in self._clients.concerned_now(change, pause):
            self._judge(client, change.after)

    def _judge(self, client: Client, table: AccessTable) -> None:
        before = client.access
        if table.revokes(before):
            self._ends.end(client, _ended("revoked"))
        elif before.key_id is not None:
            access = table.by_id[before.key_id].access
            if has_expired(access, self._clock()):
                self._ends.end(client, _ended("expired"))
            else:
                self._adjust(client, access)

    def _adjust(self, client: Client, access: Access) -> None:
        try:
            self._ends.check(client, access)
        except Refusal as refusal:
            refusal.details.update(reason="key_changed", reconnect=False)
            self._ends.end(client, refusal)
        else:
            self._change(client, access)

    def _change(self, client: Client, access: Access) -> Client:
        if access is client.access:
            return client
        changed = self._clients.change(client, access)
        self._expiries.watch(changed)
        self._ends.changed(changed)
        return changed


_MESSAGES = {"expired": "The credential has expired: connect with a new one.", "revoked": "The credential was revoked."}


def _ended(reason: str) -> Refusal:
    return Refusal(ErrorCode.UNAUTHORIZED, _MESSAGES[reason], {"reason": reason, "reconnect": False})
