"""Sends the latest frame of each room to clients with a rate, at the ticks of its clocks. Pure."""

from __future__ import annotations

from collections.abc import Callable

from api.hub.fanout.clocks import Clock, Clocks
from api.hub.fanout.cohorts import Cohorts
from api.hub.fanout.sending import Sender
from api.hub.transport.send_many import Group
from api.hub.transport.wire import Frame


class Ticks:
    """The clocks of one fan-out, with the cohorts that they serve.

    `fresh` returns the newest snapshot of a room of links, or None.
    """

    def __init__(
        self,
        now: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], None],
        sender: Sender,
        fresh: Callable[[str], Frame | None],
        kind_of: Callable[[str], str],
    ) -> None:
        self._now = now
        self._sender = sender
        self._fresh = fresh
        self.clocks = Clocks(now, call_later, self._tick)
        self.cohorts = Cohorts(self.clocks, kind_of, sender)

    def note(self, room: str, frame: Frame) -> None:
        """Keep the frame for the next tick of each clock of the room."""
        for clock in self.cohorts.rated.get(room, ()):
            self.clocks.note(clock, room, frame)

    def _tick(self, clock: Clock) -> None:
        latest, newcomers = clock.tick(self._now())
        self._sender.flush()
        ready = {room: sent for room, frame in latest.items() if (sent := self._sent(frame)) is not None}
        apart = newcomers.keys() | clock.late.keys()
        for cohort, rooms in list(self.cohorts.timed.get(clock, {}).items()):
            changed = [room for room in rooms if room in ready]
            if changed:
                others = cohort.group
                if not apart.isdisjoint(cohort.boxes):
                    others = Group([box for client, box in cohort.boxes.items() if client not in apart])
                self._sender.push(others, [ready[room] for room in changed])
            for client in apart & cohort.boxes.keys():
                due = clock.due(client, {room: latest[room] for room in changed}, newcomers.get(client, {}))
                if frames := [sent for frame in due if (sent := self._sent(frame)) is not None]:
                    self._sender.push(Group((cohort.boxes[client],)), frames)
        if clock.waits and not clock.armed:
            self.clocks.arm(clock)

    def _sent(self, frame: Frame) -> Frame | None:
        """Return the frame for clients with a rate: instead of a link, the newest snapshot."""
        return frame if frame.chain is None else self._fresh(frame.chain)
