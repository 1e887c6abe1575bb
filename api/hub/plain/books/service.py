"""The route `/ws`: answers to its clients, books, heartbeats, status and alerts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from api.access.model import READ, Access
from api.errors import forbidden_instrument, forbidden_scope, unknown_instrument
from api.hub.books.alerts import Alert
from api.hub.books.feed import BookFeed
from api.hub.books.status import StatusFeed
from api.hub.clients import Client
from api.hub.fanout import Fanout
from api.hub.plain.books import frames
from api.hub.plain.books.frames import Command
from api.hub.plain.books.query import BookOptions, read_query
from api.hub.plain.books.rooms import PlainBookRooms
from api.hub.plain.frames import PONG
from api.hub.transport.client_json import MAX_QUOTE_LENGTH
from api.hub.transport.plain_socket import PlainSocket
from api.hub.transport.wire import Frame
from db.timestamps import format_time


class PlainBooks:
    """The service of order books. It needs `read`; heartbeats, status and alerts need `observe`.

    `known` are the instruments that a client may name; they change. `clock` returns aware UTC.
    """

    route = "/ws"

    def __init__(self, fanout: Fanout, feed: BookFeed, status: StatusFeed, known: Collection[str], clock: Callable[[], datetime]) -> None:
        self._status = status
        self._known = known
        self._clock = clock
        self._rooms = PlainBookRooms(fanout, feed, self._now)
        feed.heartbeats.append(self._send_heartbeat)
        status.changes.append(self._send_status)
        status.alerts.append(self._send_alert)

    def read_query(self, query: str) -> BookOptions:
        return read_query(query)

    def check(self, options: BookOptions, access: Access) -> None:
        if not access.allows(READ):
            raise forbidden_scope(READ)
        for name in options.symbols or ():
            if name not in self._known:
                raise unknown_instrument(name[:MAX_QUOTE_LENGTH], self._known, access.includes)
            if not access.includes(name):
                raise forbidden_instrument(name)

    # clients

    def open(self, client: Client, peer: PlainSocket, options: BookOptions) -> None:
        self._rooms.open(client.id, peer.outbox)
        self.change(client, peer, options)

    def change(self, client: Client, peer: PlainSocket, options: BookOptions) -> None:
        if self._rooms.observe(client) and (status := self._status.current()) is not None:
            peer.outbox.put(self._status_frame(status))
        for frame in self._rooms.enter(client, options):
            peer.outbox.put(frame)

    def close(self, client: str) -> None:
        self._rooms.close(client)

    # frames of clients

    def read(self, data: bytes, *, binary: bool) -> Command:
        return frames.read(data, binary=binary)

    def serve(self, peer: PlainSocket, options: BookOptions, command: Command) -> None:
        peer.outbox.put(PONG if command == "text ping" else frames.message("pong", self._now(), {}))

    def expiring(self, expires_at: str, in_seconds: int) -> Frame:
        return frames.message("credentials_expiring", self._now(), {"expires_at": expires_at, "in_seconds": in_seconds})

    def refreshed(self, expires_at: str | None) -> Frame:
        return frames.message("refreshed", self._now(), {"expires_at": expires_at})

    # messages for operators

    def _send_heartbeat(self, body: Mapping[str, Any]) -> None:
        self._rooms.send_to_observers(frames.heartbeat(body))

    def _send_status(self, status: Mapping[str, Any]) -> None:
        self._rooms.send_to_observers(self._status_frame(status))

    def _send_alert(self, alert: Alert) -> None:
        self._rooms.send_to_observers(frames.message("alert", self._now(), alert._asdict()))

    def _status_frame(self, status: Mapping[str, Any]) -> Frame:
        return frames.message("status", self._now(), status)

    def _now(self) -> str:
        return format_time(self._clock())
