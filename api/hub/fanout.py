"""Who gets what: membership of rooms, and the way out to the clients.

`relay` and `events` speak to the `Fanout` interface alone. Behind it stands python-socketio's own emit for now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from api.hub.wire import Frame

Rooms = tuple[str, ...]  # where a broadcast goes; none means to everyone

MOST_WAITING = 10_000  # packets that may wait for one client before it is disconnected as slow


class Fanout(Protocol):
    """The hub's outgoing side. None of its methods yields to another client's work."""

    delivered: int  # messages handed to clients' queues by broadcast
    slow_clients: int  # clients disconnected because they did not keep up

    def broadcast(self, rooms: Rooms, frames: Sequence[Frame]) -> None:
        """Send the frames, in order, once to every client that is in any of the rooms."""

    def send(self, client: str, frame: Frame) -> None:
        """Send one frame to one client, behind everything already sent to it."""

    def join(self, client: str, room: str) -> None:
        """Put the client into the room; once is as good as twice."""

    def leave(self, client: str, room: str) -> None:
        """Take the client out of the room."""

    def rooms(self, client: str) -> set[str]:
        """The rooms the client is in."""

    def members(self, room: str) -> int:
        """How many clients are in the room."""

    def clients(self) -> list[str]:
        """Every connected client."""

    def drop_slow(self) -> list[str]:
        """Disconnect the clients that have let too much wait, and return them."""

    def close(self, client: str) -> None:
        """End the client's transport after what was sent to it; the client is free to reconnect."""

    def idle(self) -> bool:
        """Whether everything that was to go out before a `close` has gone."""


class SocketIOFanout:
    """`Fanout` on a python-socketio server: one queue per client, drained by a greenlet of its own."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.delivered = 0
        self.slow_clients = 0
        self._closing: list[Any] = []  # transports told to close

    def broadcast(self, rooms: Rooms, frames: Sequence[Frame]) -> None:
        everyone = list(rooms) or None
        receivers = sum(1 for _ in self._server.manager.get_participants("/", everyone))
        for frame in frames:
            if receivers:
                self._server.emit(frame.event, orjson.Fragment(frame.body), room=everyone)
            self.delivered += receivers

    def send(self, client: str, frame: Frame) -> None:
        self._server.emit(frame.event, orjson.Fragment(frame.body), room=client)

    def join(self, client: str, room: str) -> None:
        self._server.enter_room(client, room)

    def leave(self, client: str, room: str) -> None:
        self._server.leave_room(client, room)

    def rooms(self, client: str) -> set[str]:
        return {room for room in self._server.rooms(client) if room != client}

    def members(self, room: str) -> int:
        return len(self._server.manager.rooms.get("/", {}).get(room, ()))

    def clients(self) -> list[str]:
        return list(self._server.manager.rooms.get("/", {}).get(None, ()))

    def drop_slow(self) -> list[str]:
        slow = [client for client in self.clients() if (socket := self._socket(client)) and socket.queue.qsize() > MOST_WAITING]
        for client in slow:
            self.slow_clients += 1
            self._socket(client).close(wait=False, abort=True)
        return slow

    def close(self, client: str) -> None:
        if socket := self._socket(client):
            # Without a CLOSE packet: python-socketio takes that for good and does not come back.
            socket.close(wait=False, abort=True)
            self._closing.append(socket)

    def idle(self) -> bool:
        return all(_flushed(socket) for socket in self._closing)

    def _socket(self, client: str) -> Any:
        return self._server.eio.sockets.get(self._server.manager.eio_sid_from_sid(client, "/"))


def _flushed(socket: Any) -> bool:
    """Whether a closed transport has taken what was queued: the None that ends it is all there is left."""
    return socket.queue.empty() or socket.queue.queue[0] is None
