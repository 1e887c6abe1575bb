"""The channels of `/metrics` that a client holds, and the broadcasts to their rooms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import combinations

import orjson

from api.access.model import OBSERVE, Access
from api.hub.channels import ALL_SECTIONS_ROOM
from api.hub.fanout import Fanout
from api.hub.messages import Message
from api.hub.metrics.snapshots import UPDATE, SnapshotTexts, ordered
from api.hub.schemas.metrics import ALERTS, EVENTS, METRICS_SPACE
from api.hub.transport.wire import event
from db.bus.observability.snapshots import SECTIONS
from db.topics import SYSTEM_ALERT

ALERT = "alert"  # name of the event
KEY = "metrics"  # conflation key of the snapshots


def room_of(sections: Sequence[str]) -> str:
    """Return the room of clients with exactly these sections.

    It is `metrics` for all four, `metrics:SECTION` for one, and `metrics:SECTION+SECTION` for more.
    """
    return ALL_SECTIONS_ROOM if len(sections) == len(SECTIONS) else f"{ALL_SECTIONS_ROOM}:{'+'.join(sections)}"


# room -> its sections
SECTIONS_OF = {room_of(chosen): chosen for size in range(1, len(SECTIONS) + 1) for chosen in combinations(SECTIONS, size)}


class MetricsRooms:
    """The rooms of one fan-out. A client is in one room of sections at most, with one rate.

    A snapshot is thus one message for each client, with the sections that the client holds.
    """

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self._latest: SnapshotTexts | None = None

    # clients

    def held(self, client: str) -> list[str]:
        """Return the channels of the client, in the order of the table."""
        rooms = self._fanout.rooms(client)
        return [*self._sections(client), *(room for room in (ALERTS, EVENTS) if room in rooms)]

    def rate(self, client: str) -> float | None:
        """Return the highest rate of the client's snapshots in Hz; None: all, or no section."""
        rooms = self._fanout.rooms(client)
        return next((rate for room, rate in rooms.items() if room in SECTIONS_OF), None)

    def join(self, client: str, names: Sequence[str], rate: float | None) -> None:
        """Add channels. With a section among them, all sections have this granted rate."""
        if sections := ordered(names):
            self._move(client, ordered((*self._sections(client), *sections)), rate)
        if others := [name for name in names if name not in SECTIONS]:
            self._fanout.join(client, others)

    def leave(self, client: str, names: Sequence[str]) -> list[str]:
        """Remove channels; return those that the client held."""
        removed = [name for name in self.held(client) if name in names]
        if ordered(removed):
            self._move(client, tuple(name for name in self._sections(client) if name not in removed), self.rate(client))
        if others := [name for name in removed if name not in SECTIONS]:
            self._fanout.leave(client, others)
        return removed

    def denied(self, access: Access) -> list[str]:
        """Return the rooms that a client with these rights must not be in."""
        return [] if access.allows(OBSERVE) else [*SECTIONS_OF, ALERTS, EVENTS]

    def snapshot(self, names: Sequence[str]) -> orjson.Fragment | None:
        """Return the newest body of these sections; None without a section or a snapshot."""
        sections = ordered(names)
        return orjson.Fragment(self._latest.socketio(sections)) if self._latest is not None and sections else None

    def _sections(self, client: str) -> tuple[str, ...]:
        return next((SECTIONS_OF[room] for room in self._fanout.rooms(client) if room in SECTIONS_OF), ())

    def _move(self, client: str, sections: tuple[str, ...], rate: float | None) -> None:
        if held := self._sections(client):
            self._fanout.leave(client, [room_of(held)])
        if sections:
            self._fanout.join(client, [room_of(sections)], rate)

    # broadcasts; they leave with the next flush

    def update(self, texts: SnapshotTexts) -> None:
        """Send a snapshot to all clients with a section."""
        self._latest = texts
        for room, sections in SECTIONS_OF.items():
            if self._fanout.occupied(room):
                self._fanout.broadcast((room,), event(UPDATE, texts.socketio(sections), KEY, METRICS_SPACE))

    def event(self, message: Message) -> None:
        """Send the alert of an event that announces its new state."""
        if message.data["event_type"] == SYSTEM_ALERT and isinstance(alert := message.data.get("details"), dict):
            self._fanout.broadcast((ALERTS,), event(ALERT, orjson.dumps(alert), namespace=METRICS_SPACE))


class SnapshotFeed:
    """Passes each snapshot of the bus to its receivers, which share its texts.

    `received` calls are in the loop of the relay: `takers` must not wait. `clock` returns aware
    UTC.
    """

    def __init__(self, clock: Callable[[], datetime], takers: list[Callable[[SnapshotTexts], None]]) -> None:
        self._clock = clock
        self.takers = takers

    def received(self, message: Message) -> None:
        """Pass on a message of `metrics_updates`, which is checked."""
        self._pass_on(SnapshotTexts.of_message(message.data, self._clock()))

    def take(self, body: bytes) -> None:
        """Pass on the body of a snapshot. Raises `ValueError` if it is none."""
        self._pass_on(SnapshotTexts.of(body, self._clock()))

    def _pass_on(self, texts: SnapshotTexts) -> None:
        for take in self.takers:
            take(texts)
