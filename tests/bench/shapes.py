"""The shapes of load: the connected clients, the published messages and the resulting figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.bench import measure
from tests.bench.client import Plan
from tests.bench.measure import Figures, Session
from tests.bench.servers import Peer

INSTRUMENTS = 40  # with these every shape but `m` runs
MANY_INSTRUMENTS = 5000
EVERYBODY = ("tickwire", "tickwire_python", "node", "bun", "nchan", "flask", "floor", "floor_c", "join_c")
# The shapes and peers that run once more with the receive side of the kernel on another CPU.
RECEIVE_SHAPES, RECEIVE_PEERS, RECEIVE_ROUNDS = ("a", "b", "b2"), ("tickwire", "node", "bun", "floor", "floor_c", "join_c"), 2
QUICK_RECEIVE_SHAPES = ("a",)
QUICK_PEERS = ("tickwire", "node", "bun", "floor", "floor_c", "join_c")


def _but(*keys: str) -> tuple[str, ...]:
    return tuple(key for key in EVERYBODY if key not in keys)


@dataclass(frozen=True, slots=True)
class Shape:
    """A load: `per_beat` prices every `beat` seconds, of `topics` instruments in turn.

    A client subscribes to `rooms` of them.
    """

    key: str
    title: str
    clients: int
    measure: Callable[[Session, float], Figures]
    peers: tuple[str, ...] = EVERYBODY
    topics: int = 1
    rooms: int = 1
    per_beat: int = 1
    beat: float = 0.01
    stalled_every: int = 0  # every n-th client stops reading; 0: none
    most_rounds: int = 9

    def plans(self, instruments: Sequence[str], peer: Peer, port: int, *, deflate: bool = False) -> list[Plan]:
        """Return the plan of each client; the clients take the instruments in turn.

        Clients that stop reading have one more instrument, and so does a last client of its own.
        """
        usual = Plan(port, peer.protocol, greeting=peer.greeting, deflate=deflate and peer.protocol == "socketio", path=peer.path)
        plans = [
            replace(usual, pairs=tuple(instruments[(client + room) % self.topics] for room in range(self.rooms)))
            for client in range(self.clients)
        ]
        if not self.stalled_every:
            return plans
        own = instruments[self.topics]
        plans[:: self.stalled_every] = [replace(plan, pairs=(*plan.pairs, own), stalls=True) for plan in plans[:: self.stalled_every]]
        return [*plans, replace(usual, pairs=(own,))]


SHAPES = {
    shape.key: shape
    for shape in (
        Shape("a", "500 clients in one room, 100 messages/s", 500, measure.traffic, peers=_but("join_c")),
        Shape("b", "300 clients × 20 rooms, 10 Hz each, all on one beat", 300, measure.traffic, topics=20, rooms=20, per_beat=20, beat=0.1),
        Shape(
            "b2", "300 clients × 20 rooms, 10 Hz each, evenly spread", 300, measure.traffic, peers=_but("join_c", "flask"),
            topics=20, rooms=20, beat=0.005,
        ),
        Shape("c", "1,000 clients over 40 rooms, 100 messages/s over all", 1000, measure.traffic, peers=_but("join_c"), topics=INSTRUMENTS),
        Shape("d", "2,000 idle clients", 2000, measure.idle, peers=("tickwire", "node", "bun", "flask"), rooms=0, most_rounds=2),
        # Without Flask-SocketIO: most machines cannot serve this rate with it, even without stalls.
        Shape(
            "e", "500 clients of which 50 stop reading, 100 messages/s", 500, measure.stalled, peers=("tickwire", "node"), stalled_every=10,
        ),
        Shape(
            "m", "5,000 instruments, 2 clients with all of them", 2, measure.many, peers=("tickwire",),
            topics=MANY_INSTRUMENTS, rooms=MANY_INSTRUMENTS, most_rounds=2,
        ),
        Shape(
            "churn", "2,000 clients in one room, 50 messages/s, 100 connections/s", 2000, measure.churn, peers=("tickwire",), beat=0.02,
            most_rounds=2,
        ),
        Shape(
            "s", "saturation: 500 clients in one room, as fast as it goes", 500, measure.saturation,
            peers=("tickwire", "node", "flask", "floor", "floor_c"), most_rounds=2,
        ),
    )
}  # fmt: skip
