"""The clients of one route of plain WebSockets: admission, credentials, and their frames."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Generic

from api.access.model import Access, Authenticator, Handshake
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal
from api.hub.clients import Client, Clients
from api.hub.fanout import Fanout
from api.hub.plain import frames
from api.hub.plain.rights import PlainRights
from api.hub.plain.service import Chosen, Service
from api.hub.plain.sockets import UNAUTHORIZED_CODE, PlainSockets, no_credential
from api.hub.rights.limits import HubLimits
from api.hub.transport.limits.bucket import Bucket
from api.hub.transport.limits.places import TooMany
from api.hub.transport.limits.totals import PROTOCOL_ERROR, SERVER_FULL
from api.hub.transport.plain_socket import FLOOD_CODE, TRY_AGAIN_CODE, PlainSocket
from db.timestamps import format_time

FORBIDDEN_CODE, BAD_REQUEST_CODE = 4403, 4400
# The Close code of a client that may not stay, by the code of the error frame before it.
_CLOSE_CODES = {
    ErrorCode.FORBIDDEN: FORBIDDEN_CODE,
    ErrorCode.UNKNOWN_INSTRUMENT: BAD_REQUEST_CODE,
    ErrorCode.TOO_MANY_REQUESTS: FLOOD_CODE,
    ErrorCode.SERVER_FULL: TRY_AGAIN_CODE,
    ErrorCode.UNAVAILABLE: TRY_AGAIN_CODE,
}

# The reason of its end, likewise.
_REASONS = {
    ErrorCode.UNKNOWN_INSTRUMENT: PROTOCOL_ERROR,
    ErrorCode.TOO_MANY_REQUESTS: "rate limit",
    ErrorCode.SERVER_FULL: SERVER_FULL,
}


class PlainClients(Generic[Chosen]):
    """Serves the frames of the clients of one route.

    `required` is True if callers need a credential. `retry_after()` returns the seconds after which
    a client may try again that found the hub full.
    """

    def __init__(
        self,
        service: Service[Chosen],
        sockets: PlainSockets,
        fanout: Fanout,
        authenticator: Authenticator,
        limits: HubLimits,
        peers: Peers,
        clock: Callable[[], datetime],
        *,
        required: bool,
        max_clients: int,
        join_seconds: float,
        retry_after: Callable[[], float],
    ) -> None:
        self._service = service
        self._sockets = sockets
        self._fanout = fanout
        self._authenticator = authenticator
        self._limits = limits
        self._peers = peers
        self._required = required
        self._max_clients = max_clients
        self._join_seconds = join_seconds
        self._retry_after = retry_after
        self._options: dict[str, Chosen] = {}  # id of a socket -> its options
        self._clients = Clients()
        self.rights = PlainRights(self._clients, authenticator, limits, self, clock, limits.audit)

    def __len__(self) -> int:
        return len(self._clients)

    # admission

    def open(self, address: str, credentials: Mapping[str, str], query: str) -> PlainSocket:
        """Return the socket of a new connection, with its first frames. Raises `Refusal`.

        `credentials` are the headers that carry one. Without a needed one, the socket waits for the
        frame `auth:TOKEN`. `query` is that of the URL.
        """
        options = self._service.read_query(query)
        self._check_room()
        try:
            self._sockets.places.check(address)
        except TooMany as error:
            raise Refusal(ErrorCode.TOO_MANY_REQUESTS, str(error), {error.name: error.limit, "retry_after": self._retry_after()}) from None
        name = str(uuid.uuid4())
        handshake = Handshake("websocket", address, credentials, self._service.route)
        access = self._rights_of(handshake, options)
        if access is not None:
            shared = self._limits.open(name, handshake, access)
        peer = self._sockets.add(name, address, self, text_heartbeat=options.text_heartbeat)
        self._options[name] = options
        if access is not None:
            self._admit(peer, access, shared)
        return peer

    def _check_room(self) -> None:
        if len(self._clients) >= self._max_clients:
            message = f"The server holds its {self._max_clients} connections to {self._service.route}; try again later."
            details = {"max_connections": self._max_clients, "retry_after": self._retry_after()}
            raise Refusal(ErrorCode.SERVER_FULL, message, details)

    def _rights_of(self, handshake: Handshake, options: Chosen) -> Access | None:
        """Return the rights of a handshake; None if a credential must follow. Raises `Refusal`."""
        if self._required and not handshake.headers:
            return None
        may_follow = {} if handshake.headers else {ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN}
        try:
            access = self._authenticator.authenticate(handshake)
            self._service.check(options, access)
        except Refusal as refusal:
            if refusal.code not in may_follow:
                self._limits.audit.forbidden(refusal)
                raise
            return None
        return access

    def _join(self, peer: PlainSocket, token: str) -> None:
        """Admit a waiting client with its credential, or close the connection."""
        handshake = self._handshake(peer, token)
        try:
            access = self._authenticator.authenticate(handshake)
            self._service.check(self._options[peer.id], access)
            self._check_room()
            shared = self._limits.open(peer.id, handshake, access)
        except Refusal as refusal:
            self._limits.audit.forbidden(refusal)
            self._refuse(peer, refusal)
        else:
            self._admit(peer, access, shared)

    def _admit(self, peer: PlainSocket, access: Access, shared: Bucket | None) -> None:
        self._sockets.joined(peer)
        owner = access.caller or ("" if self._peers.exempt(peer.address) else peer.address)
        client = Client(peer.id, self._fanout, access, peer.bucket, owner, peer.address, shared)
        self._clients.add(client)
        self._service.open(client, peer, self._options[peer.id])
        self.rights.watch(client)

    def _handshake(self, peer: PlainSocket, token: str) -> Handshake:
        return Handshake("websocket", peer.address, {}, self._service.route, {"token": token})

    def _refuse(self, peer: PlainSocket, refusal: Refusal) -> None:
        code = _CLOSE_CODES.get(refusal.code, UNAUTHORIZED_CODE)
        peer.close(_REASONS.get(refusal.code, "unauthorized"), code=code, error=frames.error(refusal))

    # calls of sockets

    def received(self, peer: PlainSocket, data: bytes, binary: bool) -> None:
        """Answer one frame of a client; an invalid one does not end the connection."""
        client = self._clients.get(peer.id)
        try:
            if client is not None:
                self._limits.charge(client)
                self._serve(peer, client, data, binary)
            elif not peer.bucket.paid:
                details = {"retry_after": peer.bucket.retry_after()}
                raise Refusal(ErrorCode.TOO_MANY_REQUESTS, f"More than {peer.bucket.per_second:g} frames per second.", details)
            elif (token := frames.token_of(data, binary=binary)) is not None:
                self._join(peer, token)
            else:
                self._service.read(data, binary=binary)  # an unknown frame is refused as such
                raise no_credential(self._join_seconds)
        except Refusal as refusal:
            self._limits.audit.forbidden(refusal)
            peer.outbox.put(frames.error(refusal))

    def _serve(self, peer: PlainSocket, client: Client, data: bytes, binary: bool) -> None:
        if (token := frames.token_of(data, binary=binary)) is None:
            self._service.serve(peer, self._options[peer.id], self._service.read(data, binary=binary))
            return
        renewed = self.rights.renew(client, self._handshake(peer, token)).access
        expires_at = None if renewed.expires_at is None else format_time(renewed.expires_at)
        peer.outbox.put(self._service.refreshed(expires_at))

    def ended(self, peer: PlainSocket) -> None:
        """Remove a client and its places."""
        self._options.pop(peer.id, None)
        self._limits.close(peer.id)
        self._clients.remove(peer.id)
        self._service.close(peer.id)

    # calls of rights and leases

    def check(self, client: Client, access: Access) -> None:
        """Raise `Refusal` unless the client may stay with these rights."""
        self._service.check(self._options[client.id], access)

    def changed(self, client: Client) -> None:
        """Let the client have what its new rights allow."""
        if peer := self._sockets.get(client.id):
            self._service.change(client, peer, self._options[client.id])

    def notify(self, client: Client, now: datetime) -> None:
        """Send the notice that the credential expires soon."""
        expires_at = client.access.expires_at
        peer = self._sockets.get(client.id)
        if peer is not None and expires_at is not None:
            seconds = round((expires_at - now).total_seconds())
            peer.outbox.put(self._service.expiring(format_time(expires_at), seconds))

    def end(self, client: Client, refusal: Refusal) -> None:
        """Send the error and close the connection."""
        if peer := self._sockets.get(client.id):
            self._refuse(peer, refusal)

    def end_surplus(self, peer: PlainSocket, refusal: Refusal) -> None:
        """Close a client above a limit of its caller."""
        self._refuse(peer, refusal)
