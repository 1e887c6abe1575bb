"""The channels of plain clients, and the frames of each snapshot: one per combination in use.

A room of the fan-out is a combination of sections. A client is in one such room, so it receives a
snapshot in one frame. The topics `alerts` and `trades` are rooms of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from api.hub.fanout import Fanout
from api.hub.metrics.snapshots import SnapshotTexts, ordered
from api.hub.plain.metrics import frames
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import Frame
from db.bus.observability.snapshots import SECTIONS

Sections = tuple[str, ...]


class _Held:
    """The channels of one client. `default` is True until it chooses its sections."""

    __slots__ = ("default", "rate", "sections", "topics")

    def __init__(self, sections: Sections | None, rate: float | None) -> None:
        self.default = sections is None
        self.sections = SECTIONS if sections is None else sections
        self.topics: tuple[str, ...] = ()
        self.rate = rate


class PlainRooms:
    """The outgoing side of `/ws/metrics`. No method yields to another greenlet."""

    def __init__(self, fanout: Fanout) -> None:
        self.fanout = fanout
        self._held: dict[str, _Held] = {}  # client -> its channels
        self._used: Counter[Sections] = Counter()  # combination of sections -> its clients
        self._newest: SnapshotTexts | None = None
        self._frames: dict[Sections, Frame] = {}  # of the newest snapshot

    # clients

    def open(self, client: str, box: Outbox, sections: Sections | None, rate: float | None) -> None:
        """Add a client; `sections` None is the default of all, `rate` is a granted one."""
        held = self._held[client] = _Held(sections, rate)
        self.fanout.add(client, box)
        self._enter(client, held.sections)

    def close(self, client: str) -> None:
        """Remove a client, if it is there."""
        if held := self._held.pop(client, None):
            self._use(held.sections, -1)
            self.fanout.remove(client)

    def channels(self, client: str) -> list[str]:
        """Return everything that the client holds: sections, then topics."""
        held = self._held[client]
        return [*held.sections, *held.topics]

    def subscribe(self, client: str, names: Sequence[str]) -> None:
        """Add channels. The first choice of a section replaces the default of all."""
        held, sections = self._held[client], ordered(names)
        if sections:
            before = () if held.default else held.sections
            self._choose(client, ordered((*before, *sections)))
        self._hold_topics(client, {*held.topics, *names})

    def unsubscribe(self, client: str, names: Sequence[str]) -> None:
        """Remove channels; the client need not hold them."""
        held, gone = self._held[client], set(names)
        if not gone.isdisjoint(SECTIONS):
            self._choose(client, tuple(name for name in held.sections if name not in gone))
        self._hold_topics(client, set(held.topics) - gone)

    def _choose(self, client: str, sections: Sections) -> None:
        held = self._held[client]
        held.default = False
        if sections != held.sections:
            self._use(held.sections, -1)
            if held.sections:
                self.fanout.leave(client, [_room(held.sections)])
            held.sections = sections
            self._enter(client, sections)

    def _enter(self, client: str, sections: Sections) -> None:
        self._use(sections, 1)
        if sections:
            self.fanout.join(client, [_room(sections)], self._held[client].rate)

    def _hold_topics(self, client: str, wanted: set[str]) -> None:
        held = self._held[client]
        topics = tuple(name for name in frames.TOPICS if name in wanted)
        if gone := set(held.topics) - set(topics):
            self.fanout.leave(client, gone)
        if new := set(topics) - set(held.topics):
            self.fanout.join(client, new)
        held.topics = topics

    def _use(self, sections: Sections, change: int) -> None:
        self._used[sections] += change
        if not self._used[sections]:
            del self._used[sections]
            self._frames.pop(sections, None)

    # messages

    def newest(self, client: str) -> Frame | None:
        """Return the newest snapshot with the sections of the client; None if there is none."""
        sections = self._held[client].sections
        return self._frame(self._newest, sections) if self._newest and sections else None

    def take(self, texts: SnapshotTexts) -> None:
        """Send a new snapshot to all clients. Prices that arrive meanwhile do not wait for all."""
        self._newest, self._frames = texts, {}
        for sections in self._used:
            if sections:
                self.fanout.broadcast((_room(sections),), self._frame(texts, sections))
        self.fanout.flush_in_parts()

    def notify(self, topic: str, body: bytes, at: str) -> None:
        """Send an alert or a trade to the clients that hold the topic; `body` is its JSON."""
        self.fanout.broadcast((topic,), frames.notification(topic, body, at))
        self.fanout.flush()

    def _frame(self, texts: SnapshotTexts, sections: Sections) -> Frame:
        if (frame := self._frames.get(sections)) is None:
            frame = self._frames[sections] = frames.snapshot(texts.plain(sections))
        return frame


def _room(sections: Sections) -> str:
    return "+".join(sections)
