"""The plain sockets of all routes of a hub: heartbeats, deadlines, floods and the end of each."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from api.errors import ErrorCode, Refusal
from api.hub.plain import frames
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.plain_socket import FLOOD_CODE, PING, SLOW_CODE, PlainSocket
from config.logs.client import client_fields
from config.pacing import Throttle

log = logging.getLogger(__name__)

UNAUTHORIZED_CODE, GOING_AWAY_CODE = 4401, 1001
_SILENT_CODE = 1002  # RFC 6455 requires an answer to each Ping
_SILENT_HEARTBEATS = 2  # without a frame of the client


class Handler(Protocol):
    """Receives the messages of the sockets of a route, and their ends."""

    def received(self, peer: PlainSocket, data: bytes, binary: bool) -> None:
        """Handle a message."""

    def ended(self, peer: PlainSocket) -> None:
        """Forget a client. Raises nothing."""

    def end_surplus(self, peer: PlainSocket, refusal: Refusal) -> None:
        """Close a client above a limit of its caller."""


class PlainSockets:
    """The host of plain sockets. The clock of the hub calls `tick`.

    A socket waits for a credential until `joined`. Its places are those of sessions: it counts for
    its address, and it is in the pool of sessions without a namespace while it waits. `heartbeat`
    and `join` are in seconds.
    """

    def __init__(self, engine: EngineServer, *, heartbeat: float, join: float) -> None:
        self.loop = engine.loop
        self.limits = engine.limits
        self.allowance = engine.allowance
        self.places = engine.places
        self._engine = engine
        self._now = engine.allowance.now
        self._heartbeat = heartbeat
        self._join = join
        self._sockets: dict[str, PlainSocket] = {}  # id -> socket
        self._handlers: dict[str, Handler] = {}  # id -> the handler of its route
        self._texting: set[str] = set()  # ids of sockets that receive a text ping too
        self._waiting: dict[str, float] = {}  # id -> latest time of its credential, in that order
        self._pings: deque[tuple[float, str]] = deque()  # (time of the next one, id), also of ended sockets
        self._conflated = 0  # frames dropped by sockets that have ended
        self._slow = Throttle(monotonic=self._now)
        self._dismissed: list[PlainSocket] = []  # some may still have bytes to take
        engine.each_tick.append(self.tick)

    def __len__(self) -> int:
        return len(self._sockets)

    def get(self, name: str) -> PlainSocket | None:
        """Return the socket of a client; None if it has ended."""
        return self._sockets.get(name)

    def conflated(self) -> int:
        """Return the number of frames that all outboxes have dropped since the start."""
        return self._conflated + sum(peer.outbox.conflated for peer in self._sockets.values())

    def __iter__(self) -> Iterator[PlainSocket]:
        """Iterate over a copy: sockets may come and go in the meantime."""
        return iter(list(self._sockets.values()))

    # opening

    def add(self, name: str, address: str, handler: Handler, *, text_heartbeat: bool) -> PlainSocket:
        """Return a new socket, which waits for a credential. `places.check` comes before."""
        self._engine.make_room()
        peer = PlainSocket(self, name, address, frames.gap_notice)
        self._engine.totals.opened += 1
        self._sockets[name] = peer
        self._handlers[name] = handler
        if text_heartbeat:
            self._texting.add(name)
        self.places.open(peer)
        now = self._now()
        self._waiting[name] = now + self._join
        self._pings.append((now + self._heartbeat, name))
        return peer

    def joined(self, peer: PlainSocket) -> None:
        """Record that the client has the right to be here."""
        self._waiting.pop(peer.id, None)
        self.places.leave_pool(peer)

    # calls of sockets

    def received(self, peer: PlainSocket, data: bytes, binary: bool) -> None:
        self._handlers[peer.id].received(peer, data, binary)

    def forget(self, peer: PlainSocket, reason: str) -> None:
        self._engine.totals.end(reason)
        self._conflated += peer.outbox.conflated
        self._sockets.pop(peer.id, None)
        self._texting.discard(peer.id)
        self._waiting.pop(peer.id, None)
        self.places.forget(peer)
        if handler := self._handlers.pop(peer.id, None):
            handler.ended(peer)

    def flooded(self, peer: PlainSocket) -> None:
        self._engine.floods.count(peer.id, peer.address)
        peer.close("rate limit", code=FLOOD_CODE, linger_seconds=self.limits.flood_linger_seconds)

    def defer(self, peer: PlainSocket, reason: str, code: int | None) -> None:
        self.loop.call_later(0, lambda: self._end(peer, reason, code))

    def _end(self, peer: PlainSocket, reason: str, code: int | None) -> None:
        if code == SLOW_CODE and not peer.closed:
            self._engine.slow_clients += 1
            if count := self._slow.due("slow"):
                fields = {**client_fields(peer.id, "disconnect"), "waiting_bytes": peer.outbox.size, "count": count}
                log.warning("disconnected a slow client", extra=fields)
        peer.close(reason, code=code)

    def end_surplus(self, name: str, refusal: Refusal) -> bool:
        """Close a client above a limit of its caller; return False if it is not one of ours."""
        peer = self._sockets.get(name)
        if peer is not None:
            self._handlers[name].end_surplus(peer, refusal)
        return peer is not None

    # the clock

    def tick(self) -> None:
        """Ping clients; close silent and blocked ones, and those without a credential in time."""
        now = self._now()
        for name in [name for name, due in self._waiting.items() if due <= now]:
            self._sockets[name].close("unauthorized", code=UNAUTHORIZED_CODE, error=frames.error(no_credential(self._join)))
        latest = now - _SILENT_HEARTBEATS * self._heartbeat
        suspects = [peer for peer in self._sockets.values() if peer.heard <= latest or peer.blocked_since is not None]
        for peer in suspects:
            silent = peer.heard <= latest
            blocked = 0.0 if peer.blocked_since is None else now - peer.blocked_since
            if blocked > self.limits.blocked_seconds or (silent and blocked):
                self._end(peer, "slow consumer", SLOW_CODE)  # it was not pinged: a blocked socket takes no Ping
            elif silent:
                peer.close("ping timeout", code=_SILENT_CODE)
        while self._pings and self._pings[0][0] <= now:
            _, name = self._pings.popleft()
            if (found := self._sockets.get(name)) is not None:
                self._ping(found)
                self._pings.append((now + self._heartbeat, name))

    def _ping(self, peer: PlainSocket) -> None:
        """Send a Ping, unless the socket takes no bytes: pings that wait prove nothing."""
        if not peer.outbox.stalled:
            peer.outbox.put(PING)
            if peer.id in self._texting and peer.id not in self._waiting:
                peer.outbox.put(frames.TEXT_PING)

    # the end of the hub

    def dismiss(self, peer: PlainSocket, refusal: Refusal) -> None:
        """Close a socket of a hub that stops: an error frame, then 1001."""
        peer.close("server disconnect", code=GOING_AWAY_CODE, error=frames.error(refusal))
        self._dismissed.append(peer)

    @property
    def flushing(self) -> bool:
        """True while a dismissed socket has not taken its last bytes."""
        return any(peer.flushing for peer in self._dismissed)


def no_credential(seconds: float) -> Refusal:
    """Return the refusal of a client that has sent no credential."""
    return Refusal(ErrorCode.UNAUTHORIZED, f"Send the text frame auth:TOKEN within {seconds:g} s.", {"frame": ["auth:TOKEN"]})
