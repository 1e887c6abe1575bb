"""Cohorts of clients with equal holdings, and the cohorts of each room. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from api.hub.fanout.clocks import Clock, Clocks
from api.hub.fanout.slots import JOINT_ROOMS, slot_of
from api.hub.transport.outbox import Outbox
from api.hub.transport.send_many import Group, Source
from api.hub.transport.wire import Frame

Holding = tuple[str, float | None]  # room, highest rate in Hz; None: every message
_EVERYBODY: dict[int, set[str]] = {}
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Cohort:
    """Clients with the same holdings."""

    __slots__ = ("boxes", "chosen", "clocks", "group", "holdings", "kinds", "pending", "slotted")

    def __init__(self, holdings: frozenset[Holding], clocks: dict[Clock, list[str]], kinds: Mapping[str, int], source: Source) -> None:
        self.holdings = holdings
        self.clocks = clocks  # clock -> its rooms
        self.kinds = kinds  # kind of room -> number of rooms
        self.slotted = frozenset(clock.rate for clock in clocks if clock.slot is not None)  # rates
        self.boxes: dict[str, Outbox] = {}  # client -> its outbox
        self.group = Group(self.boxes.values(), source)
        self.pending: list[Frame] = []  # sent by the next flush
        self.chosen: dict[int, set[str]] = _EVERYBODY  # index of a pending frame for some clients -> these

    def add(self, client: str, box: Outbox) -> None:
        """Add a client."""
        self.boxes[client] = box
        box.enter(self.group)

    def remove(self, client: str) -> None:
        """Remove a client."""
        self.boxes.pop(client).leave(self.group)


class Cohorts:
    """All cohorts of one fan-out, with the source of their batches.

    `kind_of` returns the kind of a room.
    """

    def __init__(self, clocks: Clocks, kind_of: Callable[[str], str], source: Source) -> None:
        self._clocks = clocks
        self._source = source
        self._kind_of = kind_of
        self._cohorts: dict[frozenset[Holding], Cohort] = {}
        self.live: dict[str, dict[Cohort, None]] = {}  # room -> cohorts without a rate
        self.rated: dict[str, dict[Clock, dict[Cohort, None]]] = {}  # room -> clock -> cohorts
        self.timed: dict[Clock, dict[Cohort, list[str]]] = {}  # clock -> cohort -> its rooms

    def __iter__(self) -> Iterator[Cohort]:
        return iter(self._cohorts.values())

    def of(self, held: Mapping[str, float | None]) -> Cohort:
        """Return the cohort of these holdings; a new one has no clients yet."""
        holdings = frozenset(held.items())
        cohort = self._cohorts.get(holdings)
        if cohort is None:
            kinds = Counter(map(self._kind_of, held))
            cohort = self._cohorts[holdings] = Cohort(holdings, self._clocks_of(holdings), kinds, self._source)
            for room, rate in holdings:
                if rate is None:
                    self.live.setdefault(room, {})[cohort] = None
            for clock, rooms in cohort.clocks.items():
                self.timed.setdefault(clock, {})[cohort] = rooms
                for room in rooms:
                    self.rated.setdefault(room, {}).setdefault(clock, {})[cohort] = None
        return cohort

    def drop(self, cohort: Cohort) -> None:
        """Remove a cohort without clients."""
        del self._cohorts[cohort.holdings]
        for room, rate in cohort.holdings:
            if rate is None:
                _remove(self.live, room, cohort)
        for clock, rooms in cohort.clocks.items():
            _remove(self.timed, clock, cohort)
            for room in rooms:
                _remove(self.rated[room], clock, cohort)
                if clock not in self.rated[room]:
                    clock.latest.pop(room, None)  # later frames of the room do not reach the clock
                if not self.rated[room]:
                    del self.rated[room]

    def holders(self, room: str) -> Iterator[Cohort]:
        """Yield the cohorts in a room, at any rate."""
        yield from self.live.get(room, ())
        for cohorts in self.rated.get(room, {}).values():
            yield from cohorts

    def clock_of(self, cohort: Cohort, room: str, rate: float) -> Clock:
        """Return the clock of a room that the cohort holds at a rate."""
        return self._clocks.of(rate, slot_of(room, rate) if rate in cohort.slotted else None)

    def _clocks_of(self, holdings: frozenset[Holding]) -> dict[Clock, list[str]]:
        rated: dict[float, list[str]] = {}  # rate -> rooms
        for room, rate in holdings:
            if rate is not None:
                rated.setdefault(rate, []).append(room)
        clocks: dict[Clock, list[str]] = {}
        for rate, rooms in rated.items():
            joint = len(rooms) <= JOINT_ROOMS
            for room in rooms:
                clocks.setdefault(self._clocks.of(rate, None if joint else slot_of(room, rate)), []).append(room)
        return clocks


def _remove(index: dict[_Key, dict[Cohort, _Value]], key: _Key, cohort: Cohort) -> None:
    """Remove the cohort from the index, and the key if no cohort is left."""
    del index[key][cohort]
    if not index[key]:
        del index[key]
