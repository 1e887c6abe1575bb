"""The shapes of load: who is connected, what is published, and which figures come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench import measure
from tests.bench.client import Plan
from tests.bench.measure import Figures, Session

INSTRUMENTS = 40  # as many rooms as the widest shape has
EVERYBODY = ("tickwire", "node", "flask", "floor")


@dataclass(frozen=True, slots=True)
class Shape:
    """`topics` instruments take turns, `per_beat` prices are published together every `beat` seconds; a client subscribes to `rooms`."""

    key: str
    title: str
    clients: int
    measure: Callable[[Session, float], Figures]
    peers: tuple[str, ...] = EVERYBODY
    topics: int = 1
    rooms: int = 1
    per_beat: int = 1
    beat: float = 0.01
    stalled_every: int = 0  # one in so many clients will stop reading

    def plans(self, instruments: Sequence[str], *, port: int, protocol: str, greeting: bool, deflate: bool) -> list[Plan]:
        """What each client is to do; the clients take the instruments in turns."""
        return [
            Plan(
                port=port,
                protocol=protocol,
                pairs=tuple(instruments[(client + room) % self.topics] for room in range(self.rooms)),
                greeting=greeting,
                deflate=deflate,
                stalls=bool(self.stalled_every) and client % self.stalled_every == 0,
            )
            for client in range(self.clients)
        ]


SHAPES = {
    shape.key: shape
    for shape in (
        Shape("a", "500 clients in one room, 100 messages/s", 500, measure.traffic),
        Shape("b", "300 clients × 20 rooms, 10 Hz each", 300, measure.traffic, topics=20, rooms=20, per_beat=20, beat=0.1),
        Shape("c", "1,000 clients over 40 rooms, 100 messages/s over all", 1000, measure.traffic, topics=INSTRUMENTS),
        Shape("d", "2,000 idle clients", 2000, measure.idle, peers=("tickwire", "node", "flask"), rooms=0),
        # Without Flask-SocketIO: this rate is more than it can do on most machines, stalled clients or none.
        Shape(
            "e", "500 clients of which 50 stop reading, 100 messages/s", 500, measure.stalled, peers=("tickwire", "node"), stalled_every=10
        ),
        Shape("s", "saturation: 500 clients in one room, as fast as it goes", 500, measure.saturation),
    )
}
