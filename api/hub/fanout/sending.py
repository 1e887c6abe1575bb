"""Writes frames to the outboxes of clients, one joined batch for each cohort. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from api.hub.fanout.cohorts import Cohort
from api.hub.transport.outbox import Outbox
from api.hub.transport.send_many import Group, send_many
from api.hub.transport.wire import Frame

_PART_CLIENTS = 50  # about 0.3 ms of the loop


class Sender:
    """The pending frames of all cohorts. `busy` is true while other work of the loop waits."""

    def __init__(self, call_later: Callable[[float, Callable[[], None]], None], busy: Callable[[], bool]) -> None:
        self._call_later = call_later
        self._busy = busy
        self._parts: deque[tuple[list[Outbox], Sequence[Frame]]] = deque()  # outboxes that have to get frames yet
        self._touched: dict[Cohort, None] = {}  # cohorts with pending frames
        self.delivered = 0  # messages handed to outboxes by broadcasts
        self.batches = 0  # sends to one cohort
        self.batched = 0  # messages in them
        self.sends = 0  # batches handed to outboxes, each one write to a socket that takes bytes
        self.sent_bytes = 0  # in these

    @property
    def waits(self) -> bool:
        """Whether a frame is not sent yet."""
        return bool(self._touched or self._parts)

    def add(self, cohorts: Iterable[Cohort], frame: Frame) -> None:
        """Send the frame to these cohorts with the next flush."""
        for cohort in cohorts:
            cohort.pending.append(frame)
            self._touched[cohort] = None

    def add_for(self, cohort: Cohort, clients: Iterable[str], frame: Frame) -> None:
        """Send the frame to these clients of the cohort with the next flush."""
        cohort.chosen = {**cohort.chosen, len(cohort.pending): set(clients)}
        self.add((cohort,), frame)

    def forget(self, cohort: Cohort) -> None:
        """Drop the pending frames of a cohort without clients."""
        self._touched.pop(cohort, None)

    def forget_box(self, box: Outbox) -> None:
        """Drop the frames of a client that is gone."""
        for boxes, _ in self._parts:
            if box in boxes:
                boxes.remove(box)

    def push(self, group: Group, frames: Sequence[Frame]) -> None:
        """Hand frames to the outboxes of a group now."""
        data = joined(frames)
        if group.stale:
            group.rebuild()
        boxes, slow = group.boxes, group.slow
        if boxes and (shorts := send_many(group, data)):
            for index, taken in shorts:
                boxes[index].fell_short(data, frames, taken)
        for box in slow:
            box.push(data, frames)
        count = len(boxes) + len(slow)
        self.delivered += count * len(frames)
        self.sends += count
        self.sent_bytes += count * len(data)

    def flush(self) -> None:
        """Send all pending frames."""
        while self._parts:
            self._send_part()
        if not self._touched:
            return
        touched, self._touched = self._touched, {}
        for cohort in touched:
            if cohort.chosen:
                for boxes, frames in self._split(cohort):
                    self.push(Group(boxes), frames)
            else:
                self.push(cohort.group, self._taken(cohort))

    def flush_in_parts(self) -> None:
        """Send all pending frames, to a part of the clients now and to the others soon."""
        while self._parts:
            self._send_part()
        touched, self._touched = self._touched, {}
        for cohort in touched:
            for boxes, frames in self._split(cohort):
                self._parts.extend((boxes[at : at + _PART_CLIENTS], frames) for at in range(0, len(boxes), _PART_CLIENTS))
        sent = 0
        while self._parts and sent + len(self._parts[0][0]) <= _PART_CLIENTS:
            sent += len(self._parts[0][0])
            self._send_part()
        if self._parts:
            self._call_later(0, self._send_parts)

    def _taken(self, cohort: Cohort) -> list[Frame]:
        frames, cohort.pending = cohort.pending, []
        self.batches += 1
        self.batched += len(frames)
        return frames

    def _split(self, cohort: Cohort) -> list[tuple[list[Outbox], Sequence[Frame]]]:
        """Take the pending frames; return those of the clients that get the same ones."""
        chosen, frames = cohort.chosen, self._taken(cohort)
        if not chosen:
            return [(list(cohort.boxes.values()), frames)]
        cohort.chosen = {}
        alike: dict[frozenset[int], list[Outbox]] = {}  # indices of frames for others -> clients
        for client, box in cohort.boxes.items():
            without = frozenset(index for index, clients in chosen.items() if client not in clients)
            alike.setdefault(without, []).append(box)
        parts = [(boxes, [frame for at, frame in enumerate(frames) if at not in without]) for without, boxes in alike.items()]
        return [(boxes, kept) for boxes, kept in parts if kept]

    def _send_parts(self) -> None:
        while self._parts:
            self._send_part()
            if self._parts and self._busy():
                self._call_later(0, self._send_parts)
                return

    def _send_part(self) -> None:
        boxes, frames = self._parts.popleft()
        self.push(Group(boxes), frames)


def joined(frames: Sequence[Frame]) -> bytes:
    """Return the bytes of these frames."""
    return frames[0].wire if len(frames) == 1 else b"".join([frame.wire for frame in frames])
