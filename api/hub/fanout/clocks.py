"""Clocks of rates: they keep the latest frame of each room until their next tick. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import TypeVar

from api.hub.fanout.slots import slots_of
from api.hub.transport.wire import Frame

_ROUNDING_SECONDS = 1e-6
_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Late:
    """A room of a client that came from another clock, until its first price of this one."""

    not_before: float  # monotonic time: one period after the last tick of the other clock
    frame: Frame | None  # not sent yet


class Clock:
    """The ticks of a rate, or of one slot of its period.

    Without a slot, an idle clock ticks at once, and never sooner than one period after its last
    tick. With a slot, it ticks at `(k + slot / slots) * period` of the monotonic clock.
    """

    __slots__ = ("_due", "_offset", "_turn", "armed", "late", "latest", "newcomers", "period", "rate", "slot", "ticked")

    def __init__(self, rate: float, slot: int | None) -> None:
        self.period = 1 / rate
        self.rate = rate
        self.slot = slot
        self._offset = 0.0 if slot is None else slot / slots_of(rate) * self.period
        self._turn = self._due = -1  # k of the last tick, and of the next one
        self.armed = False  # the next tick is scheduled
        self.ticked = float("-inf")  # monotonic time of the last tick
        self.latest: dict[str, Frame] = {}  # room -> its last frame, not sent yet
        # client -> room -> frame that the client has: by its snapshot, or from another clock
        self.newcomers: dict[str, dict[str, Frame]] = {}
        self.late: dict[str, dict[str, _Late]] = {}  # client -> room

    def arm(self, now: float) -> float:
        """Return the seconds until the next tick."""
        self.armed = True
        if self.slot is None:
            return max(0.0, self.ticked + self.period - now)
        self._due = max(self._turn + 1, ceil((now - self._offset) / self.period))
        return max(0.0, self._offset + self._due * self.period - now)

    def tick(self, now: float) -> tuple[dict[str, Frame], dict[str, dict[str, Frame]]]:
        """Begin a period; return `latest` and `newcomers` of the last one."""
        self.armed = False
        self.ticked = now
        # A late tick may be in the turn of the next one. `_due` corrects a timer that is early.
        self._turn = max(self._due, floor((now - self._offset) / self.period))
        latest, self.latest = self.latest, {}
        newcomers, self.newcomers = self.newcomers, {}
        return latest, newcomers

    def due(self, client: str, changed: Mapping[str, Frame], has: Mapping[str, Frame]) -> list[Frame]:
        """Return the frames of this tick for a client that is new or late in some rooms.

        `changed` are the latest frames of its rooms; the client has those of `has`.
        """
        frames = {room: frame for room, frame in changed.items() if has.get(room) is not frame}
        rooms = self.late.get(client, {})
        for room, late in list(rooms.items()):
            waiting = frames.pop(room, late.frame)
            if self.ticked < late.not_before - _ROUNDING_SECONDS:
                late.frame = waiting
                continue
            del rooms[room]
            if waiting is not None:
                frames[room] = waiting
        if not rooms:
            self.late.pop(client, None)
        return list(frames.values())

    @property
    def waits(self) -> bool:
        """Whether a late room has a frame that needs another tick."""
        return any(late.frame is not None for rooms in self.late.values() for late in rooms.values())

    def has_latest(self, client: str, rooms: Iterable[str]) -> None:
        """Note that a client has the latest frames of these rooms."""
        if waiting := {room: self.latest[room] for room in rooms if room in self.latest}:
            self.newcomers.setdefault(client, {}).update(waiting)

    def forget(self, client: str, rooms: Collection[str]) -> None:
        """Forget the state of a client in these rooms."""
        _drop(self.newcomers, client, rooms)
        _drop(self.late, client, rooms)

    def seen(self, client: str, room: str) -> None:
        """Note that a client receives the latest state of a room outside of the ticks."""
        self.has_latest(client, (room,))
        if late := self.late.get(client, {}).get(room):
            late.frame = None

    def move(self, client: str, room: str, to: Clock) -> bool:
        """Hand a room of a client over to another clock of its rate; return True if a frame waits.

        The client receives no frame twice, loses none, and has at most one in a period.
        """
        late = self.late.get(client, {}).get(room)
        waiting = self.latest.get(room)
        if waiting is not None and self.newcomers.get(client, {}).get(room) is waiting:
            waiting = None
        if late is not None:
            waiting = waiting or late.frame
        self.forget(client, (room,))
        if waiting is None:
            to.has_latest(client, (room,))
        not_before = self.ticked + self.period if late is None else late.not_before
        to.late.setdefault(client, {})[room] = _Late(not_before, waiting)
        return waiting is not None


def _drop(kept: dict[str, dict[str, _Value]], client: str, rooms: Collection[str]) -> None:
    if of_client := kept.get(client):
        for room in [room for room in of_client if room in rooms]:
            del of_client[room]
        if not of_client:
            del kept[client]


class Clocks:
    """All clocks of one fan-out. `tick` is called at each tick of a clock."""

    def __init__(
        self, now: Callable[[], float], call_later: Callable[[float, Callable[[], None]], None], tick: Callable[[Clock], None]
    ) -> None:
        self._now = now
        self._call_later = call_later
        self._tick = tick
        self._clocks: dict[tuple[float, int | None], Clock] = {}  # rate, slot -> clock

    def of(self, rate: float, slot: int | None) -> Clock:
        """Return the clock of a slot, or the joint one of the rate."""
        found = self._clocks.get((rate, slot))
        if found is None:
            found = self._clocks[rate, slot] = Clock(rate, slot)
        return found

    def __iter__(self) -> Iterator[Clock]:
        return iter(self._clocks.values())

    def note(self, clock: Clock, room: str, frame: Frame) -> None:
        """Keep the frame until the next tick of the clock."""
        clock.latest[room] = frame
        if not clock.armed:
            self.arm(clock)

    def arm(self, clock: Clock) -> None:
        """Schedule the next tick of a clock that has none."""
        self._call_later(clock.arm(self._now()), lambda: self._tick(clock))
