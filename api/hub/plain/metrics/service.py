"""The route `/ws/metrics`: answers to its clients, snapshots and notifications."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from api.access.model import OBSERVE, Access
from api.errors import forbidden_scope
from api.hub.clients import Client
from api.hub.fanout import Fanout
from api.hub.messages import Message
from api.hub.metrics.snapshots import unix_text
from api.hub.plain.frames import PONG
from api.hub.plain.metrics import frames
from api.hub.plain.metrics.frames import Command
from api.hub.plain.metrics.notifications import notification_of
from api.hub.plain.metrics.query import MetricsOptions, read_query
from api.hub.plain.metrics.rooms import PlainRooms
from api.hub.transport.plain_socket import PlainSocket
from api.hub.transport.wire import Frame


class PlainMetrics:
    """The service of metrics. It depends on `observe` alone: instrument patterns do not limit it.

    `interval` is that of snapshots, in seconds. `clock` returns aware UTC.
    """

    route = "/ws/metrics"

    def __init__(self, fanout: Fanout, interval: float, clock: Callable[[], datetime]) -> None:
        self.rooms = PlainRooms(fanout)
        self._frequency = round(1 / interval, 6)  # Hz
        self._clock = clock

    def read_query(self, query: str) -> MetricsOptions:
        return read_query(query)

    def check(self, options: MetricsOptions, access: Access) -> None:
        if not access.allows(OBSERVE):
            raise forbidden_scope(OBSERVE)

    # clients

    def open(self, client: Client, peer: PlainSocket, options: MetricsOptions) -> None:
        self.rooms.open(client.id, peer.outbox, options.sections, options.max_rate)
        channels = self.rooms.channels(client.id)
        peer.outbox.put(frames.connected(client.id, self._now(), self._frequency, channels, options.max_rate))
        if newest := self.rooms.newest(client.id):
            peer.outbox.put(newest)

    def change(self, client: Client, peer: PlainSocket, options: MetricsOptions) -> None:
        return  # other rights than `observe` have no effect

    def close(self, client: str) -> None:
        self.rooms.close(client)

    # frames of clients

    def read(self, data: bytes, *, binary: bool) -> Command:
        return frames.read(data, binary)

    def serve(self, peer: PlainSocket, options: MetricsOptions, command: Command) -> None:
        if command.kind == "subscribe":
            self.rooms.subscribe(peer.id, command.channels)
            peer.outbox.put(frames.subscribed("subscribed", self.rooms.channels(peer.id), self._now()))
        elif command.kind == "unsubscribe":
            self.rooms.unsubscribe(peer.id, command.channels)
            peer.outbox.put(frames.subscribed("unsubscribed", self.rooms.channels(peer.id), self._now()))
        elif command.kind == "health":
            peer.outbox.put(frames.health(self._now()))
        elif command.kind == "ping":
            peer.outbox.put(PONG)
        elif not options.text_heartbeat:
            raise frames.no_such_frame()  # a text pong without a text ping

    def expiring(self, expires_at: str, in_seconds: int) -> Frame:
        return frames.expiring(expires_at, in_seconds, self._now())

    def refreshed(self, expires_at: str | None) -> Frame:
        return frames.refreshed(expires_at, self._now())

    # messages

    def event(self, message: Message) -> None:
        """Send an alert or a trade to the clients that hold `alerts` or `trades`."""
        if found := notification_of(message.data):
            self.rooms.notify(*found, self._now())

    def _now(self) -> str:
        return unix_text(self._clock())
