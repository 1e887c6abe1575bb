"""The only way to a client: every frame for it passes through its outbox, in order.

If no frame waits, a batch is one `send()`, which must not block. The part that the socket does not
take waits, within a limit in bytes. Above the limit, only the newest frame of each conflation key
stays, and the dropped ones are counted. With `newest_only`, that is so below the limit too. When
the outbox is empty again, one `gap_notice` reports the counts.

Replayed frames keep their place in the order. They do not count towards the limit, because their
bytes belong to the topic log; the caller limits them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import orjson

from api.hub.transport.wire import Frame, Replayed, event

_CHUNK_BYTES = 64 * 1024  # joined for one send while draining
# Without the notices of two namespaces. The client of python-engineio ends its session if a payload
# has more than 16 packets.
_MAX_FRAMES_PER_POLL = 14


class Owner(Protocol):
    """Receives the events of an outbox. No method may change the outbox during the call."""

    def blocked(self) -> None:
        """The socket is full: call `drain()` when it takes bytes again."""

    def queued(self) -> None:
        """A frame waits, and there is no socket."""

    def overflowed(self) -> None:
        """More bytes wait than the limit allows, and no frame can be dropped."""

    def broken(self) -> None:
        """The connection is lost."""


def gap_notice(dropped: Mapping[str, int], namespace: str = "/") -> Frame:
    """Return the frame that reports the frames dropped per conflation key."""
    return event("gap_notice", orjson.dumps({"dropped": dict(dropped), "reason": "slow_consumer"}), namespace=namespace)


class Outbox:
    """The waiting frames of one client.

    Before `open()`, all frames wait for a poll or for a WebSocket. `limit` is in bytes.
    `gap_notice` makes the frame that reports dropped frames. With `newest_only`, at most one frame
    of each conflation key waits.
    """

    __slots__ = (
        "_frames", "_gap_notice", "_limit", "_newest_only", "_owner", "_partial", "_send", "_waiting", "conflated", "dropped", "replaying",
        "size",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, limit: int, gap_notice: Callable[[Mapping[str, int]], Frame] = gap_notice, *, newest_only: bool = False
    ) -> None:
        self._owner = owner
        self._limit = limit
        self._newest_only = newest_only
        self._gap_notice = gap_notice
        self._send: Callable[[bytes], int] | None = None
        self._waiting = True  # True if frames must queue: there is no socket, or it is full
        self._partial = b""  # rest of a frame of which the socket took a part
        self._frames: list[Frame] = []
        self.size = 0  # waiting bytes, replayed ones included
        self.replaying = 0  # bytes of the replayed frames of which no byte was sent
        self.dropped: Counter[str] = Counter()  # key -> frames dropped since the last gap_notice
        self.conflated = 0  # frames dropped since the beginning

    def open(self, send: Callable[[bytes], int]) -> None:
        """Send through `send` from now on, and begin with the waiting frames.

        `send` returns the number of bytes taken; it raises `BlockingIOError`, or another `OSError`
        if the connection is lost.
        """
        self._send = send
        self.drain()

    def shut(self) -> None:
        """Discard all waiting frames, and keep later ones unsent."""
        self._send = None
        self._waiting = True
        self._partial, self._frames, self.size, self.replaying = b"", [], 0, 0

    def finish(self, frames: Sequence[Frame]) -> None:
        """Send these frames as the last ones: all waiting frames are discarded.

        The rest of a frame of which the socket took a part goes out before them.
        """
        self.dropped.clear()
        self._frames, self.replaying, self.size = [*frames], 0, len(self._partial) + sum(len(frame.wire) for frame in frames)
        if not self._waiting:
            self.drain()

    def push(self, data: bytes, frames: Sequence[Frame]) -> None:
        """Send frames. `data` is their joined bytes, shared by many outboxes."""
        if self._waiting:
            self._queue(frames)
            return
        try:
            sent = self._send(data)  # type: ignore[misc]
        except BlockingIOError:
            sent = 0
        except OSError:
            self._owner.broken()
            return
        if sent != len(data):
            self._keep_rest(frames, sent)
            self._block()

    def put(self, frame: Frame) -> None:
        """Send one frame."""
        self.push(frame.wire, (frame,))

    def replay(self, frames: Sequence[Replayed]) -> None:
        """Send frames of the past as the socket takes them, after all frames that wait."""
        size = sum(len(frame.wire) for frame in frames)
        self._frames.extend(frames)
        self.size += size
        self.replaying += size
        if not self._waiting:
            self.drain()
        elif self._send is None:
            self._owner.queued()

    def drain(self) -> None:
        """Send waiting frames until the outbox is empty or the socket is full."""
        while self._send is not None and (self._partial or self._frames):
            data, batch = self._next_bytes()
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._owner.broken()
                return
            self._taken(batch, sent)
            if sent != len(data):
                self._block()
                return
        if self._send is not None:
            self._waiting = False
            self._send_gap_notice()

    def take(self, limit: int) -> list[Frame]:
        """Remove and return frames for a poll: at most `limit` bytes, but at least one frame."""
        taken = size = 0
        for frame in self._frames:
            if taken == _MAX_FRAMES_PER_POLL or (taken and size + len(frame.packet) > limit):
                break
            taken, size = taken + 1, size + len(frame.packet)
        frames, self._frames = self._frames[:taken], self._frames[taken:]
        self.size -= sum(len(frame.wire) for frame in frames)
        self.replaying -= _replayed_bytes(frames)
        if not self._frames and self.dropped:
            frames.append(self._notice())
        return frames

    @property
    def idle(self) -> bool:
        """True if no byte waits."""
        return not self._frames and not self._partial

    @property
    def stalled(self) -> bool:
        """True if there is a socket, and bytes wait because it takes none."""
        return self._waiting and self._send is not None

    def _block(self) -> None:
        self._waiting = True
        self._owner.blocked()

    def _queue(self, frames: Sequence[Frame]) -> None:
        self._frames.extend(frames)
        for frame in frames:
            self.size += len(frame.wire)
        if self._newest_only and any(frame.key is not None for frame in frames):
            self._conflate()
        if self.size - self.replaying > self._limit:
            self._conflate()
            if self.size - self.replaying > self._limit:
                self._owner.overflowed()
        if self._send is None:
            self._owner.queued()

    def _conflate(self) -> None:
        """Keep the newest frame of each key and count the dropped ones."""
        last = {frame.key: frame for frame in self._frames if frame.key is not None}
        kept = []
        for frame in self._frames:
            if frame.key is None or last[frame.key] is frame:
                kept.append(frame)
            else:
                self.dropped[frame.key] += 1
                self.conflated += 1
        self._frames = kept
        self.size = len(self._partial) + sum(len(frame.wire) for frame in kept)

    def _keep_rest(self, frames: Sequence[Frame], sent: int) -> None:
        """Queue the rest of frames of which the socket took `sent` bytes.

        The rest may begin with a partial frame.
        """
        for index, frame in enumerate(frames):
            size = len(frame.wire)
            if sent < size:
                if sent:
                    self._partial = frame.wire[sent:]
                    self.size += len(self._partial)
                    index += 1
                self._queue(frames[index:])
                return
            sent -= size

    def _next_bytes(self) -> tuple[bytes, int]:
        """Return the next bytes to send, and the number of queued frames in them."""
        batch, size = 0, len(self._partial)
        for frame in self._frames:
            if size and size + len(frame.wire) > _CHUNK_BYTES:
                break
            batch, size = batch + 1, size + len(frame.wire)
        return b"".join((self._partial, *(frame.wire for frame in self._frames[:batch]))), batch

    def _taken(self, batch: int, sent: int) -> None:
        """Remove `sent` bytes of the partial frame and the first `batch` queued frames."""
        self.size -= sent
        if sent < len(self._partial):
            self._partial = self._partial[sent:]
            return
        sent -= len(self._partial)
        self._partial = b""
        gone = 0
        for frame in self._frames[:batch]:
            if sent < len(frame.wire):
                if sent:
                    self._partial = frame.wire[sent:]
                    gone += 1
                break
            sent -= len(frame.wire)
            gone += 1
        self.replaying -= _replayed_bytes(self._frames[:gone])
        del self._frames[:gone]

    def _send_gap_notice(self) -> None:
        """Report the dropped frames, if there are any. Call it when the outbox is empty."""
        if self.dropped:
            self.put(self._notice())

    def _notice(self) -> Frame:
        notice = self._gap_notice(self.dropped)
        self.dropped.clear()
        return notice


def _replayed_bytes(frames: Sequence[Frame]) -> int:
    return sum(len(frame.wire) for frame in frames if frame.replayed)
