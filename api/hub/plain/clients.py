"""The clients of `/ws/metrics`: admission, credentials, and the answers to their frames."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime

from api.access.model import OBSERVE, Access, Authenticator, Handshake
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal, forbidden_scope
from api.hub.clients import Client, Clients
from api.hub.metrics.snapshots import unix_text
from api.hub.plain import frames
from api.hub.plain.frames import Command
from api.hub.plain.query import Options
from api.hub.plain.rights import PlainRights
from api.hub.plain.rooms import PlainRooms
from api.hub.plain.sockets import UNAUTHORIZED_CODE, PlainSockets, no_credential
from api.hub.rights.limits import HubLimits
from api.hub.transport.limits.bucket import Bucket
from api.hub.transport.limits.places import TooMany
from api.hub.transport.plain_socket import FLOOD_CODE, TRY_AGAIN_CODE, PlainSocket
from db.timestamps import format_time

ROUTE = "/ws/metrics"
FORBIDDEN_CODE = 4403
# The Close code of a client that may not stay, by the code of the error frame before it.
_CLOSE_CODES = {
    ErrorCode.FORBIDDEN: FORBIDDEN_CODE,
    ErrorCode.TOO_MANY_REQUESTS: FLOOD_CODE,
    ErrorCode.SERVER_FULL: TRY_AGAIN_CODE,
    ErrorCode.UNAVAILABLE: TRY_AGAIN_CODE,
}


class PlainClients:
    """Serves the frames of plain clients.

    `frequency` is that of snapshots in Hz. `required` is True if callers need a credential.
    `retry_after()` returns the seconds after which a client may try again that found the hub full.
    """

    def __init__(
        self,
        sockets: PlainSockets,
        rooms: PlainRooms,
        authenticator: Authenticator,
        limits: HubLimits,
        peers: Peers,
        clock: Callable[[], datetime],
        *,
        required: bool,
        max_clients: int,
        join_seconds: float,
        frequency: float,
        retry_after: Callable[[], float],
    ) -> None:
        self._sockets = sockets
        self._rooms = rooms
        self._authenticator = authenticator
        self._limits = limits
        self._peers = peers
        self._clock = clock
        self._required = required
        self._max_clients = max_clients
        self._join_seconds = join_seconds
        self._frequency = frequency
        self._retry_after = retry_after
        self._options: dict[str, Options] = {}  # id of a waiting socket -> its options
        self._clients = Clients()
        self.rights = PlainRights(self._clients, authenticator, limits, self, clock, limits.audit)
        sockets.handler = self

    def __len__(self) -> int:
        return len(self._clients)

    # admission

    def open(self, address: str, credentials: Mapping[str, str], options: Options) -> PlainSocket:
        """Return the socket of a new connection, with its first frames. Raises `Refusal`.

        `credentials` are the headers that carry one. Without a needed one, the socket waits for the
        frame `auth:TOKEN`.
        """
        self._check_room()
        try:
            self._sockets.places.check(address)
        except TooMany as error:
            raise Refusal(ErrorCode.TOO_MANY_REQUESTS, str(error), {error.name: error.limit, "retry_after": self._retry_after()}) from None
        name = str(uuid.uuid4())
        handshake = Handshake("websocket", address, credentials, ROUTE)
        access = self._rights_of(handshake)
        if access is not None:
            shared = self._limits.open(name, handshake, access)
        peer = self._sockets.add(name, address, text_heartbeat=options.text_heartbeat)
        self._options[name] = options
        if access is not None:
            self._admit(peer, access, shared)
        return peer

    def _check_room(self) -> None:
        if len(self._clients) >= self._max_clients:
            message = f"The server holds its {self._max_clients} connections to {ROUTE}; try again later."
            details = {"max_connections": self._max_clients, "retry_after": self._retry_after()}
            raise Refusal(ErrorCode.SERVER_FULL, message, details)

    def _rights_of(self, handshake: Handshake) -> Access | None:
        """Return the rights of a handshake; None if a credential must follow. Raises `Refusal`."""
        if self._required and not handshake.headers:
            return None
        try:
            access = self._authenticator.authenticate(handshake)
        except Refusal as refusal:
            if handshake.headers or refusal.code != ErrorCode.UNAUTHORIZED:
                raise
            return None
        if access.allows(OBSERVE):
            return access
        if handshake.headers:
            raise forbidden_scope(OBSERVE)
        return None

    def _join(self, peer: PlainSocket, token: str) -> None:
        """Admit a waiting client with its credential, or close the connection."""
        handshake = self._handshake(peer, token)
        try:
            access = self._authenticator.authenticate(handshake)
            if not access.allows(OBSERVE):
                raise forbidden_scope(OBSERVE)
            self._check_room()
            shared = self._limits.open(peer.id, handshake, access)
        except Refusal as refusal:
            self._refuse(peer, refusal)
        else:
            self._admit(peer, access, shared)

    def _admit(self, peer: PlainSocket, access: Access, shared: Bucket | None) -> None:
        options = self._options.pop(peer.id)
        self._sockets.joined(peer)
        owner = access.caller or ("" if self._peers.exempt(peer.address) else peer.address)
        client = Client(peer.id, self._rooms.fanout, access, peer.bucket, owner, peer.address, shared)
        self._clients.add(client)
        self._rooms.open(peer.id, peer.outbox, options.sections, options.max_rate)
        channels = self._rooms.channels(peer.id)
        peer.outbox.put(frames.connected(peer.id, self._now(), self._frequency, channels, options.max_rate))
        if newest := self._rooms.newest(peer.id):
            peer.outbox.put(newest)
        self.rights.watch(client)

    def _handshake(self, peer: PlainSocket, token: str) -> Handshake:
        return Handshake("websocket", peer.address, {}, ROUTE, {"token": token})

    def _refuse(self, peer: PlainSocket, refusal: Refusal) -> None:
        code = _CLOSE_CODES.get(refusal.code, UNAUTHORIZED_CODE)
        peer.close("unauthorized", code=code, error=frames.error(refusal))

    # calls of sockets

    def received(self, peer: PlainSocket, data: bytes, binary: bool) -> None:
        """Answer one frame of a client; an invalid one does not end the connection."""
        client = self._clients.get(peer.id)
        try:
            if client is not None:
                self._limits.charge(client)
                self._serve(peer, client, frames.read(data, binary))
            elif not peer.bucket.paid:
                details = {"retry_after": peer.bucket.retry_after()}
                raise Refusal(ErrorCode.TOO_MANY_REQUESTS, f"More than {peer.bucket.per_second:g} frames per second.", details)
            elif (command := frames.read(data, binary)).kind == "auth":
                self._join(peer, command.token)
            else:
                raise no_credential(self._join_seconds)
        except Refusal as refusal:
            peer.outbox.put(frames.error(refusal))

    def _serve(self, peer: PlainSocket, client: Client, command: Command) -> None:
        if command.kind == "auth":
            renewed = self.rights.renew(client, self._handshake(peer, command.token)).access
            expires_at = None if renewed.expires_at is None else format_time(renewed.expires_at)
            peer.outbox.put(frames.refreshed(expires_at, self._now()))
        elif command.kind == "subscribe":
            self._rooms.subscribe(peer.id, command.channels)
            peer.outbox.put(frames.subscribed("subscribed", self._rooms.channels(peer.id), self._now()))
        elif command.kind == "unsubscribe":
            self._rooms.unsubscribe(peer.id, command.channels)
            peer.outbox.put(frames.subscribed("unsubscribed", self._rooms.channels(peer.id), self._now()))
        elif command.kind == "health":
            peer.outbox.put(frames.health(self._now()))
        elif command.kind == "ping":
            peer.outbox.put(frames.PONG)
        elif not self._sockets.sends_text_pings(peer):
            raise frames.no_such_frame()  # a text pong without a text ping

    def ended(self, peer: PlainSocket) -> None:
        """Remove a client and its places."""
        self._options.pop(peer.id, None)
        self._limits.close(peer.id)
        self._clients.remove(peer.id)
        self._rooms.close(peer.id)

    # calls of rights and leases

    def notify(self, client: Client, now: datetime) -> None:
        """Send the notice that the credential expires soon."""
        expires_at = client.access.expires_at
        peer = self._sockets.get(client.id)
        if peer is not None and expires_at is not None:
            seconds = round((expires_at - now).total_seconds())
            peer.outbox.put(frames.expiring(format_time(expires_at), seconds, self._now()))

    def end(self, client: Client, refusal: Refusal) -> None:
        """Send the error and close the connection."""
        if peer := self._sockets.get(client.id):
            self._refuse(peer, refusal)

    def end_surplus(self, name: str, refusal: Refusal) -> bool:
        """Close a client above a limit of its caller; return False if it is not one of ours."""
        peer = self._sockets.get(name)
        if peer is not None:
            self._refuse(peer, refusal)
        return peer is not None

    def _now(self) -> str:
        return unix_text(self._clock())
