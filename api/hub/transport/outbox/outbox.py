"""The only way to a client: every frame for it passes through its outbox, in order.

If no frame waits, a batch is one `send()`, which must not block. The outbox calls it, or a loop
over many outboxes does, which reports short results by `fell_short`. The part that the socket does
not take waits, within a limit in bytes. Above the limit, only the newest frame of each conflation
key stays, and the dropped ones are counted. With `newest_only`, that is so below the limit too.
When the outbox is empty again, one `gap_notice` reports the counts.

The kernel keeps bytes that it has not sent, too: they wait in front of the outbox, and are older.
Conflation begins when both together exceed the limit. The number of the kernel is read when the
socket is full, and again when the limit is reached.

The frames and their conflation are in `waiting.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from errno import EAGAIN, EWOULDBLOCK
from typing import Protocol

import orjson

from api.hub.transport.outbox.waiting import WaitingFrames
from api.hub.transport.wire import Frame, Replay, event

# Without the notices of two namespaces. The client of python-engineio ends its session if a payload
# has more than 16 packets.
_MAX_FRAMES_PER_POLL = 14
_FULL = frozenset({EAGAIN, EWOULDBLOCK})
NO_DESCRIPTOR = -1


class Owner(Protocol):
    """Receives the events of an outbox. No method may change the outbox during the call."""

    def blocked(self) -> None:
        """The socket is full: call `drain()` when it takes bytes again."""

    def queued(self) -> None:
        """A frame waits, and there is no socket."""

    def overflowed(self) -> None:
        """More bytes wait than the limit allows, and no frame can be dropped.

        One frame that exceeds the limit by itself may wait besides.
        """

    def broken(self) -> None:
        """The connection is lost."""


class Batches(Protocol):
    """A group of outboxes that get the same batches; `stale` is set if one of them changes."""

    stale: bool

    def flush(self) -> None:
        """Push the batches that wait for the end of an interval."""


def gap_notice(dropped: Mapping[str, int], namespace: str = "/") -> Frame:
    """Return the frame that reports the frames dropped per conflation key."""
    return event("gap_notice", orjson.dumps({"dropped": dict(dropped), "reason": "slow_consumer"}), namespace=namespace)


def _no_kernel(fd: int) -> int:
    """Stand for the `count_unsent` of an outbox without a socket."""
    return 0


class Outbox(WaitingFrames):
    """The waiting frames of one client, its socket and its limit.

    Before `open()`, all frames wait for a poll or for a WebSocket. `limit` is in bytes.
    `gap_notice` makes the frame that reports dropped frames. With `newest_only`, at most one frame
    of each conflation key waits. Set `chains` before the first link.

    While `ready` is true, no frame waits, and `send` and the descriptor `fd` may be used in place
    of `push`.
    """

    __slots__ = (
        "_count_unsent", "_gap_notice", "_group", "_limit", "_more_groups", "_newest_only", "_owner", "_unsent", "_waiting", "fd", "ready",
        "send",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, limit: int, gap_notice: Callable[[Mapping[str, int]], Frame] = gap_notice, *, newest_only: bool = False
    ) -> None:
        super().__init__()
        self._owner = owner
        self._limit = limit
        self._newest_only = newest_only
        self._gap_notice = gap_notice
        # One for each fan-out of the client. Most have one: a tuple for each would need memory.
        self._group: Batches | None = None
        self._more_groups: tuple[Batches, ...] = ()
        self.send: Callable[[bytes], int] = _no_socket
        self.fd = NO_DESCRIPTOR
        self.ready = False
        self._count_unsent: Callable[[int], int] = _no_kernel
        self._unsent = 0  # in the kernel, by the last count of a full socket; bytes
        self._waiting = True  # True if frames must queue: there is no socket, or it is full

    def open(self, send: Callable[[bytes], int], fd: int = NO_DESCRIPTOR, count_unsent: Callable[[int], int] = _no_kernel) -> None:
        """Send through `send` from now on, and begin with the waiting frames.

        `send` returns the number of bytes taken; it raises `BlockingIOError`, or another `OSError`
        if the connection is lost. `fd` is the descriptor of its socket; without one, the outbox is
        never `ready`. `count_unsent(fd)` returns the bytes that the kernel has taken and not sent.
        """
        self.send, self.fd, self._count_unsent = send, fd, count_unsent
        self._turn(waiting=True)
        self.drain()

    def hold(self) -> None:
        """Have later frames wait for `release`, which sends them in one write.

        Do not yield in between.
        """
        self._turn(waiting=True)

    def release(self) -> None:
        """Send the frames that wait since `hold`."""
        self.drain()

    def shut(self) -> None:
        """Discard all waiting frames, and keep later ones unsent.

        Call it before the descriptor is closed: another client may get the same one.
        """
        self.send, self.fd, self._count_unsent, self._unsent = _no_socket, NO_DESCRIPTOR, _no_kernel, 0
        self._turn(waiting=True)
        self._discard()

    def finish(self, frames: Sequence[Frame]) -> None:
        """Send these frames as the last ones: all waiting frames are discarded.

        The rest of a frame of which the socket took a part goes out before them.
        """
        self.dropped.clear()
        self.replaying = len(self._partial) if self._replays_partial else 0
        self._keep([*frames])
        if not self._waiting:
            self.drain()

    def push(self, data: bytes, frames: Sequence[Frame]) -> None:
        """Send frames. `data` is their joined bytes, shared by many outboxes."""
        if self._waiting:
            self._queue(frames)
            return
        try:
            taken = self.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._owner.broken()
            return
        if taken != len(data):
            self.fell_short(data, frames, taken)

    def fell_short(self, data: bytes, frames: Sequence[Frame], taken: int) -> None:
        """Keep the rest of a batch of which the socket took `taken` bytes, or none: `-errno`.

        `data` and `frames` are those of `push`.
        """
        if taken < 0 and -taken not in _FULL:
            self._owner.broken()
            return
        self._unsent = self._count_unsent(self.fd)
        self._keep_rest(frames, max(taken, 0))
        self._block()

    def enter(self, group: Batches) -> None:
        """Mark the group stale, now and when this outbox changes."""
        group.stale = True
        if self._group is None:
            self._group = group
        else:
            self._more_groups = (*self._more_groups, group)

    def leave(self, group: Batches) -> None:
        """Mark the group stale for the last time."""
        group.stale = True
        if self._group is group:
            self._group = self._more_groups[0] if self._more_groups else None
            self._more_groups = self._more_groups[1:]
        else:
            self._more_groups = tuple(each for each in self._more_groups if each is not group)

    def put(self, frame: Frame) -> None:
        """Send one frame to this client alone, after the broadcasts that wait for it."""
        if self._group is not None:
            self._group.flush()
        for group in self._more_groups:
            group.flush()
        self.push(frame.wire, (frame,))

    def replay(self, past: Replay) -> None:
        """Send frames of the past as the socket takes them, after all frames that wait."""
        self._frames.extend(past.parts if self._has_socket else past.frames)
        self.size += past.size
        self.replaying += past.size
        if not self._waiting:
            self.drain()
        elif not self._has_socket:
            self._owner.queued()

    def drain(self) -> None:
        """Send waiting frames until the outbox is empty or the socket is full."""
        while self._has_socket and (self._partial or self._frames):
            wires = self._next_wires()
            data = wires[-1] if len(wires) == 1 or (len(wires) == 2 and not wires[0]) else b"".join(wires)
            try:
                sent = self.send(data) if data else 0
            except BlockingIOError:
                sent = 0
            except OSError:
                self._owner.broken()
                return
            self._taken(wires, sent)
            if sent != len(data):
                self._unsent = self._count_unsent(self.fd)
                self._block()
                return
        if self._has_socket:
            if self._waiting:
                self._turn(waiting=False)
            self._send_gap_notice()

    def take(self, limit: int) -> list[Frame]:
        """Remove and return frames for a poll: at most `limit` bytes, but at least one frame."""
        self._settle()
        taken = size = 0
        frames: list[Frame] = []
        for frame in self._frames:
            if len(frames) == _MAX_FRAMES_PER_POLL:
                break
            if (ready := self._ready(frame)) is not None:
                if frames and size + len(ready.packet) > limit:
                    break
                frames.append(ready)
                size += len(ready.packet)
            taken += 1
        self._remove(taken)
        if not self._frames and self.dropped:
            frames.append(self._notice())
        return frames

    @property
    def stalled(self) -> bool:
        """True if there is a socket, and bytes wait because it takes none."""
        return self._waiting and self._has_socket

    @property
    def _has_socket(self) -> bool:
        return self.send is not _no_socket

    def _turn(self, *, waiting: bool) -> None:
        self._waiting = waiting
        if not waiting:
            self._unsent = 0
        self.ready = not waiting and self.fd != NO_DESCRIPTOR
        if self._group is not None:
            self._group.stale = True
        for group in self._more_groups:
            group.stale = True

    def _block(self) -> None:
        self._turn(waiting=True)
        self._owner.blocked()

    def _queue(self, frames: Sequence[Frame]) -> None:
        if self._snapshots:
            frames = self._without_contained(frames)
        self._frames.extend(frames)
        for frame in frames:
            self.size += len(frame.wire)
        if self._newest_only and any(frame.key is not None for frame in frames):
            self._conflate()
        if self._exceeds(self._unsent):
            self._unsent = self._count_unsent(self.fd)
            if self._exceeds(self._unsent):
                self._conflate()
                if self._exceeds(0) and self._exceeds(-self._oversized(self._limit)):
                    self._owner.overflowed()
        if not self._has_socket:
            self._owner.queued()

    def _exceeds(self, unsent: int) -> bool:
        """Return True if the waiting bytes and those in the kernel exceed the limit."""
        return self.size - self.replaying + unsent > self._limit

    def _keep_rest(self, frames: Sequence[Frame], sent: int) -> None:
        """Queue the rest of frames of which the socket took `sent` bytes.

        The rest may begin with a partial frame.
        """
        for index, frame in enumerate(frames):
            size = len(frame.wire)
            if sent < size:
                if sent:
                    self._keep_part(frame, sent)
                    index += 1
                self._queue(frames[index:])
                return
            sent -= size

    def _send_gap_notice(self) -> None:
        """Report the dropped frames, if there are any. Call it when the outbox is empty."""
        if self.dropped:
            notice = self._notice()
            self.push(notice.wire, (notice,))

    def _notice(self) -> Frame:
        notice = self._gap_notice(self.dropped)
        self.dropped.clear()
        return notice


def _no_socket(data: bytes) -> int:
    """Stand for the `send` of an outbox without a socket."""
    raise BlockingIOError
