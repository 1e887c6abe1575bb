"""The parts of `/ws/metrics` together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.access.model import Authenticator
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal
from api.hub.fanout import Fanout
from api.hub.messages import Message
from api.hub.metrics.snapshots import unix_text
from api.hub.plain.clients import ROUTE, PlainClients
from api.hub.plain.notifications import notification_of
from api.hub.plain.rooms import PlainRooms
from api.hub.plain.route import PlainRoute
from api.hub.plain.sockets import PlainSockets
from api.hub.rights.limits import HubLimits
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.web.door import Application


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSettings:
    """The settings of `/ws/metrics`; times are in seconds.

    `required` is True if callers need a credential. `interval` is that of snapshots.
    """

    max_clients: int
    heartbeat: float
    join: float
    interval: float
    required: bool


class PlainMetrics:
    """Plain WebSockets with metrics, with a fan-out of their own.

    `clock` returns aware UTC, `retry_after()` the time after which a refused client may try again.
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
    ) -> None:
        self._engine = engine
        self._peers = peers
        self._clock = clock
        self.fanout = Fanout(time.monotonic, engine.loop.call_later, ROUTE, engine.loop.busy)
        self.rooms = PlainRooms(self.fanout)
        self._sockets = PlainSockets(engine, heartbeat=settings.heartbeat, join=settings.join)
        self.clients = PlainClients(
            self._sockets,
            self.rooms,
            authenticator,
            limits,
            peers,
            clock,
            required=settings.required,
            max_clients=settings.max_clients,
            join_seconds=settings.join,
            frequency=round(1 / settings.interval, 6),
            retry_after=retry_after,
        )
        engine.each_tick.append(lambda: self.clients.rights.tick(lambda: engine.pause(0)))

    def route(self, others: Application, detach: Callable[[dict[str, Any]], Any]) -> PlainRoute:
        """Return the WSGI application of the route, which passes on all other requests."""
        return PlainRoute(others, self.clients, self._sockets, self._peers, detach, self._engine.closing)

    def event(self, message: Message) -> None:
        """Send an alert or a trade to the clients that hold `alerts` or `trades`."""
        if found := notification_of(message.data):
            self.rooms.notify(*found, unix_text(self._clock()))

    def end_surplus(self, name: str, refusal: Refusal) -> None:
        """Close a session above a limit of its caller: a plain one, or one of Socket.IO."""
        if not self.clients.end_surplus(name, refusal):
            self._engine.end_surplus(name, refusal)

    def stop(self, retry_after: Callable[[], float]) -> None:
        """Close all sockets of a hub that stops: an error frame, then 1001."""
        message = "The server restarts; please reconnect."
        self._sockets.stop(lambda: Refusal(ErrorCode.UNAVAILABLE, message, {"retry_after": retry_after()}))

    @property
    def flushing(self) -> bool:
        """True while a stopped socket has not taken its last bytes."""
        return self._sockets.flushing
