"""The layer of plain WebSockets: the parts that all their routes share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.access.model import Authenticator
from api.access.peers import Peers
from api.access.table import TableChange
from api.errors import Refusal
from api.hub.fanout import Fanout
from api.hub.plain.clients import PlainClients
from api.hub.plain.route import PlainRoutes
from api.hub.plain.service import Chosen, Service
from api.hub.plain.sockets import PlainSockets
from api.hub.rights.limits import HubLimits
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.plain_socket import PlainSocket
from api.hub.transport.web.door import Application
from api.hub.transport.websocket import Taken

_NAMESPACE = "/ws"  # of the fan-out; no client of Socket.IO is in it


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSettings:
    """The settings of plain WebSockets; times are in seconds.

    `max_clients` is the limit of each route. `required` is True if callers need a credential.
    `interval` is that of the fan-out.
    """

    max_clients: int
    heartbeat: float
    join: float
    required: bool
    interval: float


class PlainLayer:
    """Sockets, rights and one fan-out for all routes; a route has its own clients.

    A broadcast names its rooms: without rooms it would reach the clients of all routes. `clock`
    returns aware UTC, `retry_after()` the time after which a refused client may try again.
    `kind_of` returns the kind of a room, for the figures of the hub.
    """

    def __init__(
        self,
        settings: PlainSettings,
        engine: EngineServer,
        authenticator: Authenticator,
        limits: HubLimits,
        peers: Peers,
        clock: Callable[[], datetime],
        retry_after: Callable[[], float],
        kind_of: Callable[[str], str],
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._authenticator = authenticator
        self._limits = limits
        self._peers = peers
        self._clock = clock
        self._retry_after = retry_after
        self._clients: dict[str, PlainClients[Any]] = {}  # route -> its clients
        self._sockets = PlainSockets(engine, heartbeat=settings.heartbeat, join=settings.join)
        self.fanout = Fanout(time.monotonic, engine.loop.call_later, _NAMESPACE, engine.loop.busy, kind_of, settings.interval)
        engine.each_tick.append(self._tick)

    def __len__(self) -> int:
        """The number of admitted clients of all routes."""
        return sum(map(len, self._clients.values()))

    def conflated(self) -> int:
        """Return the number of frames that all outboxes have dropped since the start."""
        return self._sockets.conflated()

    def waiting_bytes(self) -> list[int]:
        """Return the bytes that wait in the outbox of each socket."""
        return [peer.outbox.size for peer in self._sockets]

    def add(self, service: Service[Chosen]) -> None:
        """Serve the route of `service` from now on."""
        self._clients[service.route] = PlainClients(
            service,
            self._sockets,
            self.fanout,
            self._authenticator,
            self._limits,
            self._peers,
            self._clock,
            required=self._settings.required,
            max_clients=self._settings.max_clients,
            join_seconds=self._settings.join,
            retry_after=self._retry_after,
        )

    def routes(self, others: Application, detach: Callable[[dict[str, Any]], Taken]) -> PlainRoutes:
        """Return the WSGI application of the routes, which passes on all other requests."""
        return PlainRoutes(others, self._clients, self._sockets, self._peers, detach, self._engine.closing)

    def take(self, change: TableChange, pause: Callable[[], None]) -> None:
        """Apply a change of the table of keys. `pause` lets other greenlets run."""
        for clients in self._clients.values():
            clients.rights.take(change, pause)

    def end_surplus(self, name: str, refusal: Refusal) -> None:
        """Close a session above a limit of its caller: a plain one, or one of Socket.IO."""
        if not self._sockets.end_surplus(name, refusal):
            self._engine.end_surplus(name, refusal)

    def _tick(self) -> None:
        for clients in self._clients.values():
            clients.rights.tick(lambda: self._engine.pause(0))

    # the end of the hub

    def sockets(self) -> list[PlainSocket]:
        """Return the open sockets, also those that wait for a credential."""
        return list(self._sockets)

    def dismiss(self, peer: PlainSocket, refusal: Refusal) -> None:
        """Close a socket of a hub that stops: an error frame, then 1001."""
        self.fanout.send_pending()
        self._sockets.dismiss(peer, refusal)

    @property
    def flushing(self) -> bool:
        """True while a dismissed socket has not taken its last bytes."""
        return self._sockets.flushing
