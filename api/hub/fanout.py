"""Rooms, rates and broadcasts: clients with equal holdings share one joined batch.

A *cohort* is the set of all clients with the same holdings: the same rooms, each at the same rate.
A batch of messages is joined once per cohort. Each client of the cohort gets the same bytes in one
`send()`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import Frame, Replayed, event

Rooms = tuple[str, ...]  # destination of a broadcast; empty: every client of the namespace
_Key = TypeVar("_Key")
Holding = tuple[str, float | None]  # room, highest rate in Hz; None: every message

_PART_CLIENTS = 50  # about 0.3 ms of the loop
RATES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # Hz; few rates need few clocks


def granted(rate: float | None) -> float | None:
    """Return the highest of `RATES` that does not exceed `rate`, or the lowest of all."""
    return None if rate is None else max(each for each in RATES if each <= rate or each == RATES[0])


class _Cohort:
    """Clients with the same holdings."""

    __slots__ = ("boxes", "holdings", "pending", "rates")

    def __init__(self, holdings: frozenset[Holding]) -> None:
        self.holdings = holdings
        self.rates = sorted({rate for _, rate in holdings if rate is not None})
        self.boxes: dict[str, Outbox] = {}  # client -> its outbox
        self.pending: list[Frame] = []  # sent by the next flush


class _Clock:
    """The clock of one rate: the latest frame of each room since its last tick."""

    __slots__ = ("cohorts", "latest", "newcomers", "period", "ticked")

    def __init__(self, rate: float) -> None:
        self.period = 1 / rate
        self.ticked = float("-inf")  # monotonic time of the last tick
        self.latest: dict[str, Frame] = {}  # room -> its last frame, not sent yet
        self.cohorts: dict[_Cohort, list[str]] = {}  # cohort -> its rooms with this rate
        # client -> room -> frame that waited when the client joined; its snapshot contains that one
        self.newcomers: dict[str, dict[str, Frame]] = {}


class _Chains:
    """The source of the snapshots in the outbox of one client."""

    __slots__ = ("_client", "_fanout")

    def __init__(self, fanout: Fanout, client: str) -> None:
        self._fanout = fanout
        self._client = client

    def flush(self) -> None:
        self._fanout.flush()

    def fresh(self, room: str) -> Frame | None:
        return self._fanout.fresh_for(self._client, room)


class Fanout:
    """The outgoing side of one namespace. No method yields to another greenlet.

    `now` is a monotonic clock in seconds; `call_later(seconds, function)` calls the function once.
    `busy` is true while other work of the loop waits, before which `flush_in_parts` makes a pause.

    `fresh` returns the newest snapshot of a room of links, itself a link of the room, or None. Set
    it before the first client, in at most one namespace. The snapshot contains every link that was
    broadcast before, and the next link continues from it: an update of the source of the snapshots
    and the broadcast of its link happen without yielding. If `fresh` returns None, the next link is
    a snapshot.
    """

    fresh: Callable[[str], Frame | None] | None = None

    def __init__(
        self,
        now: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], None],
        namespace: str = "/",
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.namespace = namespace
        self._now = now
        self._call_later = call_later
        self._busy = busy
        self._parts: deque[tuple[list[Outbox], Sequence[Frame]]] = deque()  # outboxes that have to get frames yet
        self._boxes: dict[str, Outbox] = {}  # client -> its outbox
        self._holdings: dict[str, dict[str, float | None]] = {}  # client -> room -> rate
        self._cohorts: dict[frozenset[Holding], _Cohort] = {}
        self._cohort_of: dict[str, _Cohort] = {}
        self._live: dict[str, dict[_Cohort, None]] = {}  # room -> cohorts without a rate
        self._rated: dict[str, dict[float, dict[_Cohort, None]]] = {}  # room -> rate -> cohorts
        self._clocks: dict[float, _Clock] = {}
        self._touched: dict[_Cohort, None] = {}  # cohorts with pending frames
        self.delivered = 0  # messages handed to outboxes by broadcasts
        self.batches = 0  # sends to one cohort
        self.batched = 0  # messages in them

    # clients and rooms

    def add(self, client: str, box: Outbox) -> None:
        """Add a client without rooms; earlier broadcasts do not reach it."""
        self.flush()
        self._boxes[client] = box
        self._holdings[client] = {}
        if self.fresh is not None:
            box.chains = _Chains(self, client)
        self._settle(client)

    def remove(self, client: str) -> None:
        """Remove a client, if it is there."""
        if client in self._boxes:
            self._unsettle(client)
            for boxes, _ in self._parts:
                if self._boxes[client] in boxes:
                    boxes.remove(self._boxes[client])
            del self._boxes[client], self._holdings[client]

    def join(self, client: str, rooms: Iterable[str], rate: float | None = None) -> None:
        """Put the client into the rooms, or change their rate; `rate` is a granted one.

        Send the client a snapshot of each joined room of links in the same step, without yielding.
        The links of these rooms that wait are dropped, because the snapshot is newer.
        """
        self.flush()
        joined = dict.fromkeys(rooms, rate)
        self._boxes[client].supersede(joined)
        self._unsettle(client)
        self._holdings[client].update(joined)
        self._settle(client)
        if rate is not None and (clock := self._clocks.get(rate)):
            waiting = {room: clock.latest[room] for room in joined if room in clock.latest}
            if waiting:
                clock.newcomers.setdefault(client, {}).update(waiting)

    def leave(self, client: str, rooms: Iterable[str]) -> None:
        """Take the client out of the rooms."""
        self.flush()
        self._unsettle(client)
        for room in rooms:
            self._holdings[client].pop(room, None)
        self._settle(client)

    def supersede(self, client: str, rooms: Iterable[str]) -> None:
        """Drop the links of these rooms that wait for a client: an answer has newer snapshots.

        Send the answer in the same step, without yielding. `join` does this for the joined rooms.
        """
        self.flush()
        if box := self._boxes.get(client):
            box.supersede(frozenset(rooms))

    def __contains__(self, client: str) -> bool:
        return client in self._boxes

    def rooms(self, client: str) -> dict[str, float | None]:
        """Return the rooms of the client, each with its rate."""
        return self._holdings.get(client, {})

    def members(self) -> dict[str, int]:
        """Return the number of clients per room; empty rooms are left out."""
        counts: dict[str, int] = {}
        for cohort in self._cohorts.values():
            for room, _ in cohort.holdings:
                counts[room] = counts.get(room, 0) + len(cohort.boxes)
        return counts

    def clients(self) -> list[str]:
        """Return all clients."""
        return list(self._boxes)

    def occupied(self, room: str) -> bool:
        """Return True if a client is in the room, at any rate."""
        return room in self._live or room in self._rated

    def receivers(self, rooms: Rooms) -> list[str]:
        """Return the clients in any of the rooms, each once; without rooms, all clients."""
        if not rooms:
            return list(self._boxes)
        cohorts = dict.fromkeys(cohort for room in rooms for cohort in self._holders(room))
        return [client for cohort in cohorts for client in cohort.boxes]

    def _settle(self, client: str) -> None:
        """Put the client into the cohort of its holdings."""
        holdings = frozenset(self._holdings[client].items())
        cohort = self._cohorts.get(holdings)
        if cohort is None:
            cohort = self._cohorts[holdings] = _Cohort(holdings)
            for room, rate in holdings:
                if rate is None:
                    self._live.setdefault(room, {})[cohort] = None
                else:
                    self._rated.setdefault(room, {}).setdefault(rate, {})[cohort] = None
            for rate in cohort.rates:
                rooms = [room for room, each in holdings if each == rate]
                self._clocks.setdefault(rate, _Clock(rate)).cohorts[cohort] = rooms
        cohort.boxes[client] = self._boxes[client]
        self._cohort_of[client] = cohort

    def _unsettle(self, client: str) -> None:
        cohort = self._cohort_of.pop(client)
        del cohort.boxes[client]
        if cohort.boxes:
            return
        del self._cohorts[cohort.holdings]
        self._touched.pop(cohort, None)
        for room, rate in cohort.holdings:
            if rate is None:
                _remove(self._live, room, cohort)
            else:
                _remove(self._rated[room], rate, cohort)
                if not self._rated[room]:
                    del self._rated[room]
        for rate in cohort.rates:
            del self._clocks[rate].cohorts[cohort]

    # sending

    def send(self, client: str, *frames: Frame) -> None:
        """Send frames to one client, after all earlier broadcasts."""
        if self._touched or self._parts:
            self.flush()
        if box := self._boxes.get(client):
            box.push(_joined(frames), frames)

    def send_to(self, clients: Iterable[str], frame: Frame) -> None:
        """Send one frame to these clients, after all earlier broadcasts."""
        self.flush()
        self._push([self._boxes[client] for client in clients if client in self._boxes], (frame,))

    def emit(self, client: str, name: str, body: bytes) -> None:
        """Send one event in this namespace to one client; the frame is never conflated."""
        self.send(client, event(name, body, namespace=self.namespace))

    def replay(self, client: str, frames: Sequence[Replayed]) -> None:
        """Send frames of the past to one client, after all earlier broadcasts."""
        self.flush()
        if frames and (box := self._boxes.get(client)):
            box.replay(frames)

    def replaying(self, client: str) -> int:
        """Return the bytes of replayed frames that wait for the client."""
        return box.replaying if (box := self._boxes.get(client)) else 0

    def broadcast(self, rooms: Rooms, frame: Frame) -> None:
        """Send the frame once to every client in any of the rooms, with the next `flush`.

        A frame with a key has at most one room. Clients with a rate receive it with their clock.
        """
        cohorts: Iterable[_Cohort]
        if not rooms:
            cohorts = self._cohorts.values()
        elif frame.key is not None:
            cohorts = self._live.get(rooms[0], ())
            if rooms[0] in self._rated:
                self._note_rated(rooms[0], frame)
        else:
            # A client in both rooms of a frame receives it once, at any rate.
            cohorts = dict.fromkeys(cohort for room in rooms for cohort in self._holders(room))
        for cohort in cohorts:
            cohort.pending.append(frame)
            self._touched[cohort] = None

    def _holders(self, room: str) -> Iterable[_Cohort]:
        yield from self._live.get(room, ())
        for cohorts in self._rated.get(room, {}).values():
            yield from cohorts

    def flush(self) -> None:
        """Send all pending frames."""
        while self._parts:
            self._send_part()
        if not self._touched:
            return
        touched, self._touched = self._touched, {}
        for cohort in touched:
            frames, cohort.pending = cohort.pending, []
            self.batches += 1
            self.batched += len(frames)
            self._push(cohort.boxes.values(), frames)

    def flush_in_parts(self) -> None:
        """Send all pending frames, to a part of the clients now and to the others soon.

        Between two parts, other work of the loop that waits comes first. Later frames of this
        fan-out come after these.
        """
        while self._parts:
            self._send_part()
        touched, self._touched = self._touched, {}
        for cohort in touched:
            frames, cohort.pending = cohort.pending, []
            self.batches += 1
            self.batched += len(frames)
            boxes = list(cohort.boxes.values())
            self._parts.extend((boxes[at : at + _PART_CLIENTS], frames) for at in range(0, len(boxes), _PART_CLIENTS))
        sent = 0
        while self._parts and sent + len(self._parts[0][0]) <= _PART_CLIENTS:
            sent += len(self._parts[0][0])
            self._send_part()
        if self._parts:
            self._call_later(0, self._send_parts)

    def _send_parts(self) -> None:
        while self._parts:
            self._send_part()
            if self._parts and self._busy():
                self._call_later(0, self._send_parts)
                return

    def _send_part(self) -> None:
        self._push(*self._parts.popleft())

    def _push(self, boxes: Iterable[Outbox], frames: Sequence[Frame]) -> None:
        data = _joined(frames)
        count = 0
        for box in boxes:
            box.push(data, frames)
            count += 1
        self.delivered += count * len(frames)

    # rates

    def _note_rated(self, room: str, frame: Frame) -> None:
        for rate in self._rated[room]:
            clock = self._clocks[rate]
            if not clock.latest:
                # The clock was idle: it ticks now, or one period after its last tick.
                self._call_later(max(0.0, clock.ticked + clock.period - self._now()), lambda clock=clock: self._tick(clock))  # type: ignore[misc]
            clock.latest[room] = frame

    def _tick(self, clock: _Clock) -> None:
        latest, clock.latest = clock.latest, {}
        newcomers, clock.newcomers = clock.newcomers, {}
        clock.ticked = self._now()
        self.flush()
        ready = {room: sent for room, frame in latest.items() if (sent := self._rated_frame(frame)) is not None}
        for cohort, rooms in list(clock.cohorts.items()):
            if not (changed := [room for room in rooms if room in ready]):
                continue
            old = [box for client, box in cohort.boxes.items() if client not in newcomers]
            self._push(old, [ready[room] for room in changed])
            for client in newcomers.keys() & cohort.boxes.keys():
                if frames := [ready[room] for room in changed if newcomers[client].get(room) is not latest[room]]:
                    self._push((cohort.boxes[client],), frames)

    def _rated_frame(self, frame: Frame) -> Frame | None:
        """Return the frame for clients with a rate: instead of a link, the newest snapshot."""
        if frame.chain is None:
            return frame
        return None if self.fresh is None else self.fresh(frame.chain)

    def fresh_for(self, client: str, room: str) -> Frame | None:
        """Return the newest snapshot of a room; None if there is none or the client is not in it.

        The clock of the room does not send the client the change that the snapshot contains.
        """
        if self.fresh is None or room not in self._holdings.get(client, ()):
            return None
        rate = self._holdings[client][room]
        if rate is not None and (change := self._clocks[rate].latest.get(room)):
            self._clocks[rate].newcomers.setdefault(client, {})[room] = change
        return self.fresh(room)


def _joined(frames: Sequence[Frame]) -> bytes:
    return frames[0].wire if len(frames) == 1 else b"".join([frame.wire for frame in frames])


def _remove(index: dict[_Key, dict[_Cohort, None]], key: _Key, cohort: _Cohort) -> None:
    """Remove the cohort from the index, and the key if no cohort is left."""
    del index[key][cohort]
    if not index[key]:
        del index[key]
