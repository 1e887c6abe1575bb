"""The plain WebSocket that a suite of RFC 6455 needs: the route of the hub with an echo."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from api.access.peers import Peers
from api.errors import Refusal
from api.hub.plain.route import PlainRoutes
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

    def open(self, address: str, credentials: Mapping[str, str], query: str) -> PlainSocket:
        """Return the socket of a new connection."""
        peer = self._sockets.add(str(uuid.uuid4()), address, self, text_heartbeat=False)
        self._sockets.joined(peer)
        return peer

    def received(self, peer: PlainSocket, data: bytes, binary: bool) -> None:
        peer.outbox.put(wire.binary(data) if binary else wire.text(data))

    def ended(self, peer: PlainSocket) -> None:
        return

    def end_surplus(self, peer: PlainSocket, refusal: Refusal) -> None:
        raise AssertionError("no limit is expected")


def plain_echo(engine: EngineServer, others: Application) -> Application:
    """Return the application with `/ws/metrics` as an echo; all other requests go to `others`."""
    sockets = PlainSockets(engine, heartbeat=_HEARTBEAT_SECONDS, join=_HEARTBEAT_SECONDS)
    return PlainRoutes(others, {"/ws/metrics": _Echo(sockets)}, sockets, Peers(), detach, engine.closing)
