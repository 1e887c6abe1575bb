"""The plain WebSocket that a suite of RFC 6455 needs: the route of the hub with an echo."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from api.access.peers import Peers
from api.hub.plain.clients import PlainClients
from api.hub.plain.query import Options
from api.hub.plain.route import PlainRoute
from api.hub.plain.sockets import PlainSockets
from api.hub.transport import wire
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import detach
from api.hub.transport.plain_socket import PlainSocket

_HEARTBEAT_SECONDS = 60.0  # longer than a case: a Ping of ours is no part of any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Echo:
    """Returns every message to its client, as text or as bytes."""

    def __init__(self, sockets: PlainSockets) -> None:
        self._sockets = sockets
        sockets.handler = self

    def open(self, address: str, credentials: Mapping[str, str], options: Options) -> PlainSocket:
        """Return the socket of a new connection."""
        peer = self._sockets.add(str(uuid.uuid4()), address, text_heartbeat=options.text_heartbeat)
        self._sockets.joined(peer)
        return peer

    def received(self, peer: PlainSocket, data: bytes, binary: bool) -> None:
        peer.outbox.put(wire.binary(data) if binary else wire.text(data))

    def ended(self, peer: PlainSocket) -> None:
        return


def plain_echo(engine: EngineServer, others: Application) -> Application:
    """Return the application with `/ws/metrics` as an echo; all other requests go to `others`."""
    sockets = PlainSockets(engine, heartbeat=_HEARTBEAT_SECONDS, join=_HEARTBEAT_SECONDS)
    clients = cast("PlainClients", _Echo(sockets))
    return PlainRoute(others, clients, sockets, Peers(), detach, engine.closing)
