"""The environment of a session: the server that owns it, and the limits of all sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from api.hub.transport.limits.bucket import Allowance

_Session = TypeVar("_Session", contravariant=True)


def _no_ack(body: bytes) -> None:
    """Replace the ack of an event whose client requested none."""


class Later:
    """Returned by the handler of an event that answers later.

    The server sets `acknowledge`, which sends the ack with a JSON body if the client needs it.
    """

    __slots__ = ("acknowledge",)

    def __init__(self) -> None:
        self.acknowledge: Callable[[bytes], None] = _no_ack


class Host(Protocol[_Session]):
    """The parts of the server that a session uses."""

    allowance: Allowance  # of the buckets of all sessions

    def deliver(self, session: _Session, data: str | bytes) -> None:
        """Pass a message of the client to the application.

        Any exception of the application passes.
        """

    def forget(self, session: _Session, reason: str) -> None:
        """Remove a session that has ended. Raises nothing."""

    def defer(self, session: _Session, reason: str) -> None:
        """Close the session in the next round of the loop, because callers may be iterating."""

    def note_blocked(self, session: _Session) -> None:
        """Record that the socket of the session takes no bytes."""

    def note_flowing(self, session: _Session) -> None:
        """Record that the socket of the session takes bytes again."""

    def note_pong(self, session: _Session) -> None:
        """Record that the client has answered a ping."""

    def note_joined(self, session: _Session) -> None:
        """Record that the client has joined a namespace."""

    def end_flood(self, session: _Session) -> None:
        """Close a session whose packets keep arriving at an empty bucket."""

    def pause(self, seconds: float) -> None:
        """Let other clients have their turn, during the request of a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds and sizes in bytes, equal for all sessions of a server."""

    ping_interval: float
    ping_timeout: float
    max_message_bytes: int = 64 * 1024  # one message of a client; a subscribe to everything has a tenth of it
    max_unjoined: int = 100_000  # sessions without a namespace
    max_unjoined_per_address: int = 20
    max_connections_per_address: int = 100_000
    events_per_second: float = 50.0  # packets of one session, on average
    events_at_once: float = 200.0
    outbox_bytes: int = 256 * 1024  # that may wait for one client
    blocked_seconds: float = 30.0  # after which a socket that takes no bytes is closed
    request_seconds: float = 10.0  # in which the head of a request, and then its body, arrive
    connect_seconds: float = 45.0  # after which a session without a namespace is closed
    upgrade_seconds: float = 10.0  # from the WebSocket of an upgrade to its end
    linger_seconds: float = 3.0  # for the answer to our Close; then the socket is closed
    # The same after a flood: such a client does not answer the Close, and goes on sending.
    flood_linger_seconds: float = 1.0

    @property
    def tick_seconds(self) -> float:
        """The pause between two ticks of the clock."""
        return min(1.0, self.ping_interval / 10, self.ping_timeout / 10)
