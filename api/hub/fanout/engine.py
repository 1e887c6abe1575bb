"""The outgoing side of one namespace: rooms, rates and broadcasts.

Clients with equal holdings (the same rooms, each at the same rate) are a *cohort* and share one
joined batch. Each client of the cohort gets the same bytes in one `send()`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable

from api.hub.fanout.cohorts import Cohort
from api.hub.fanout.interval import FlushInterval
from api.hub.fanout.sending import Sender, joined
from api.hub.fanout.ticks import Ticks
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import Frame, Replay, event
from db.topics import kind_of

Rooms = tuple[str, ...]  # destination of a broadcast; empty: every client of the namespace


class _Chains:
    """The source of the snapshots in the outbox of one client."""

    __slots__ = ("_client", "_fanout")

    def __init__(self, fanout: Fanout, client: str) -> None:
        self._fanout = fanout
        self._client = client

    def flush(self) -> None:
        self._fanout.send_pending()

    def fresh(self, room: str) -> Frame | None:
        return self._fanout.fresh_for(self._client, room)


class Fanout:
    """The outgoing side of one namespace. No method yields to another greenlet.

    `now` is a monotonic clock in seconds; `call_later(seconds, function)` calls the function once.
    `busy` is true while other work of the loop waits, before which `flush_in_parts` makes a pause.
    `kind_of` returns the kind of a room, by which `subscriptions` counts. `interval` is in seconds:
    broadcasts of that time go out together. Everything for one client alone flushes them first.

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
        kind_of: Callable[[str], str] = kind_of,
        interval: float = 0.0,
    ) -> None:
        self.namespace = namespace
        self.subscriptions: Counter[str] = Counter()  # kind of room -> clients in rooms, once for each room
        self._sender = Sender(call_later, busy)
        self._interval = FlushInterval(interval, call_later, lambda: self._sender.waits)
        self._boxes: dict[str, Outbox] = {}  # client -> its outbox
        self._holdings: dict[str, dict[str, float | None]] = {}  # client -> room -> rate
        self._ticks = Ticks(now, call_later, self._sender, lambda room: None if self.fresh is None else self.fresh(room), kind_of)
        self._cohorts = self._ticks.cohorts
        self._cohort_of: dict[str, Cohort] = {}

    # figures

    @property
    def delivered(self) -> int:
        """Number of messages handed to outboxes by broadcasts."""
        return self._sender.delivered

    @property
    def batches(self) -> int:
        """Number of sends to one cohort."""
        return self._sender.batches

    @property
    def batched(self) -> int:
        """Number of messages in these sends."""
        return self._sender.batched

    @property
    def sends(self) -> int:
        """Number of batches that broadcasts handed to outboxes."""
        return self._sender.sends

    @property
    def sent_bytes(self) -> int:
        """Number of bytes in these batches."""
        return self._sender.sent_bytes

    # clients and rooms

    def add(self, client: str, box: Outbox) -> None:
        """Add a client without rooms; earlier broadcasts do not reach it."""
        self.send_pending()
        self._boxes[client] = box
        self._holdings[client] = {}
        if self.fresh is not None:
            box.chains = _Chains(self, client)
        self._settle(client)

    def remove(self, client: str) -> None:
        """Remove a client, if it is there."""
        if client in self._boxes:
            for clock, held in self._cohort_of[client].clocks.items():
                clock.forget(client, held)
            self._unsettle(client)
            self._sender.forget_box(self._boxes[client])
            del self._boxes[client], self._holdings[client]

    def join(self, client: str, rooms: Iterable[str], rate: float | None = None) -> None:
        """Put the client into the rooms, or change their rate; `rate` is a granted one.

        Send the client a snapshot of each joined room of links in the same step, without yielding.
        The links of these rooms that wait are dropped, because the snapshot is newer.
        """
        self.send_pending()
        joined = dict.fromkeys(rooms, rate)
        self._boxes[client].supersede(joined)
        self._change(client, {**self._holdings[client], **joined}, joined)
        for clock, held in self._cohort_of[client].clocks.items():
            if clock.latest:
                clock.has_latest(client, (room for room in held if room in joined))

    def leave(self, client: str, rooms: Iterable[str]) -> None:
        """Take the client out of the rooms."""
        self.send_pending()
        left = frozenset(rooms)
        self._change(client, {room: rate for room, rate in self._holdings[client].items() if room not in left}, left)

    def _change(self, client: str, holdings: dict[str, float | None], rooms: Collection[str]) -> None:
        """Change the holdings of a client, who joins or leaves `rooms`."""
        before, after = self._cohort_of[client], self._cohorts.of(holdings)
        for clock in before.clocks:
            clock.forget(client, rooms)
        self._holdings[client] = holdings
        if after is not before:
            self._move(client, before, after, rooms)
            self._unsettle(client)
            self._settle(client)

    def _move(self, client: str, before: Cohort, after: Cohort, rooms: Collection[str]) -> None:
        """Hand rooms over to other clocks, if their number at a rate has passed `JOINT_ROOMS`."""
        passed = before.slotted ^ after.slotted  # rates
        for clock in [each for each in before.clocks if each.rate in passed]:
            for room in before.clocks[clock]:
                if room not in rooms:
                    to = self._cohorts.clock_of(after, room, clock.rate)
                    if clock.move(client, room, to) and not to.armed:
                        self._ticks.clocks.arm(to)

    def supersede(self, client: str, rooms: Iterable[str]) -> None:
        """Drop the links of these rooms that wait for a client: an answer has newer snapshots.

        Send the answer in the same step, without yielding. `join` does this for the joined rooms.
        """
        self.send_pending()
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
        for cohort in self._cohorts:
            for room, _ in cohort.holdings:
                counts[room] = counts.get(room, 0) + len(cohort.boxes)
        return counts

    def clients(self) -> list[str]:
        """Return all clients."""
        return list(self._boxes)

    def occupied(self, room: str) -> bool:
        """Return True if a client is in the room, at any rate."""
        return room in self._cohorts.live or room in self._cohorts.rated

    @property
    def occupied_rooms(self) -> tuple[Container[str], Container[str]]:
        """The rooms with clients, now and after each change: without a rate, and with one."""
        return self._cohorts.live, self._cohorts.rated

    def receivers(self, rooms: Rooms) -> list[str]:
        """Return the clients in any of the rooms, each once; without rooms, all clients."""
        if not rooms:
            return list(self._boxes)
        cohorts = dict.fromkeys(cohort for room in rooms for cohort in self._cohorts.holders(room))
        return [client for cohort in cohorts for client in cohort.boxes]

    def _settle(self, client: str) -> None:
        """Put the client into the cohort of its holdings."""
        cohort = self._cohort_of[client] = self._cohorts.of(self._holdings[client])
        cohort.add(client, self._boxes[client])
        for kind, count in cohort.kinds.items():
            self.subscriptions[kind] += count

    def _unsettle(self, client: str) -> None:
        cohort = self._cohort_of.pop(client)
        cohort.remove(client)
        for kind, count in cohort.kinds.items():
            self.subscriptions[kind] -= count
        if not cohort.boxes:
            self._cohorts.drop(cohort)
            self._sender.forget(cohort)

    # sending

    def send(self, client: str, *frames: Frame) -> None:
        """Send frames to one client, after all earlier broadcasts."""
        if self._sender.waits:
            self.send_pending()
        if box := self._boxes.get(client):
            box.push(joined(frames), frames)

    def send_to(self, clients: Iterable[str], frame: Frame) -> None:
        """Send one frame to these clients with the next `flush`, after all earlier broadcasts."""
        by_cohort: dict[Cohort, list[str]] = {}
        for client in clients:
            if client in self._boxes:
                by_cohort.setdefault(self._cohort_of[client], []).append(client)
        for cohort, chosen in by_cohort.items():
            self._sender.add_for(cohort, chosen, frame)

    def emit(self, client: str, name: str, body: bytes) -> None:
        """Send one event in this namespace to one client; the frame is never conflated."""
        self.send(client, event(name, body, namespace=self.namespace))

    def replay(self, client: str, past: Replay) -> None:
        """Send frames of the past to one client, after all earlier broadcasts."""
        self.send_pending()
        if past.frames and (box := self._boxes.get(client)):
            box.replay(past)

    def replaying(self, client: str) -> int:
        """Return the bytes of replayed frames that wait for the client."""
        return box.replaying if (box := self._boxes.get(client)) else 0

    def broadcast(self, rooms: Rooms, frame: Frame) -> None:
        """Send the frame once to every client in any of the rooms, with the next `flush`.

        A frame with a key has at most one room. Clients with a rate receive it with their clock.
        """
        cohorts: Iterable[Cohort]
        if not rooms:
            cohorts = self._cohorts
        elif frame.key is not None:
            cohorts = self._cohorts.live.get(rooms[0], ())
            self._ticks.note(rooms[0], frame)
        else:
            # A client in both rooms of a frame receives it once, at any rate.
            cohorts = dict.fromkeys(cohort for room in rooms for cohort in self._cohorts.holders(room))
        self._sender.add(cohorts, frame)

    def flush(self) -> None:
        """Send all pending frames at the end of the interval, or now if there is none."""
        self._interval.send(self._sender.flush)

    def send_pending(self) -> None:
        """Send all pending frames now."""
        self._sender.flush()

    @property
    def waits(self) -> bool:
        """Whether a frame is not sent yet."""
        return self._sender.waits

    def after_interval(self, function: Callable[[], None]) -> None:
        """Call the function after the end of each interval in which frames were sent."""
        self._interval.sent = function

    def flush_in_parts(self) -> None:
        """Send all pending frames, to a part of the clients now and to the others soon.

        Between two parts, other work of the loop that waits comes first. Later frames of this
        fan-out come after these. With an interval, its end is the time of the first part.
        """
        self._interval.send(self._sender.flush_in_parts)

    # rates

    def fresh_for(self, client: str, room: str) -> Frame | None:
        """Return the newest snapshot of a room; None if there is none or the client is not in it.

        The clock of the room does not send the client the change that the snapshot contains.
        """
        if self.fresh is None or room not in self._holdings.get(client, ()):
            return None
        if (rate := self._holdings[client][room]) is not None:
            self._cohorts.clock_of(self._cohort_of[client], room, rate).seen(client, room)
        return self.fresh(room)
