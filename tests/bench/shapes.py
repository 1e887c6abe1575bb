"""The shapes of load: the connected clients, the published messages and the resulting figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench import measure
from tests.bench.client import Plan
from tests.bench.measure import Figures, Session

INSTRUMENTS = 40  # the largest number of rooms of a shape
EVERYBODY = ("tickwire", "node", "flask", "floor")


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

    def plans(self, instruments: Sequence[str], *, port: int, protocol: str, greeting: bool, deflate: bool) -> list[Plan]:
        """Return the plan of each client; the clients take the instruments in turn."""
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
        # Without Flask-SocketIO: most machines cannot serve this rate with it, even without stalls.
        Shape(
            "e", "500 clients of which 50 stop reading, 100 messages/s", 500, measure.stalled, peers=("tickwire", "node"), stalled_every=10
        ),
        Shape("s", "saturation: 500 clients in one room, as fast as it goes", 500, measure.saturation),
    )
}
