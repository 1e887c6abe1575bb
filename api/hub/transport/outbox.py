"""The one way out to a client: everything for it passes here, in order. Knows no socket but a `send` that does not block.

Nothing pending: one `send()`. A socket that takes less than all: the rest waits, within a limit. Over the limit, prices
conflate to the latest per instrument and are counted; when all has gone out at last, one `gap_notice` tells the counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import orjson

from api.hub.transport.wire import Frame, event

_CHUNK = 64 * 1024  # bytes joined for one send while draining
_POLLED = 15  # frames that answer one poll, without a notice: python-engineio's client ends its session over more than 16


class Owner(Protocol):
    """Whom an outbox tells what it cannot do itself. None of this may change the outbox while it is being told."""

    def blocked(self) -> None:
        """The socket takes no more: call `drain()` when it does again."""

    def queued(self) -> None:
        """Something waits, and there is no socket for it."""

    def overflowed(self) -> None:
        """More waits than may, and none of it can be dropped."""

    def broken(self) -> None:
        """The connection is gone."""


class Outbox:
    """Frames on their way to one client. Until `open()` they wait: for a first poll, an upgrade, a handshake."""

    __slots__ = ("_frames", "_limit", "_owner", "_send", "_torn", "_waiting", "conflated", "dropped", "size")

    def __init__(self, owner: Owner, limit: int) -> None:
        self._owner = owner
        self._limit = limit
        self._send: Callable[[bytes], int] | None = None
        self._waiting = True  # whether frames have to queue: there is no socket, or it is full
        self._torn = b""  # rest of a frame that the socket has taken a part of
        self._frames: list[Frame] = []
        self.size = 0  # bytes that wait
        self.dropped: Counter[str] = Counter()  # instrument -> prices conflated away since the last gap_notice
        self.conflated = 0  # of them, ever

    def open(self, send: Callable[[bytes], int]) -> None:
        """Send through this from now on, beginning with what waits. It returns how much was taken, or raises `BlockingIOError`
        or another `OSError`."""
        self._send = send
        self.drain()

    def shut(self) -> None:
        """Send nothing more, hold nothing more."""
        self._send = None
        self._waiting = True
        self._torn, self._frames, self.size = b"", [], 0

    def push(self, data: bytes, frames: Sequence[Frame]) -> None:
        """Send these frames; `data` is their joined bytes, which many outboxes share."""
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

    def drain(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._send is not None and (self._torn or self._frames):
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
            self._confess()

    def take(self, most: int) -> list[Frame]:
        """Hand over waiting frames, at most `most` bytes of them (but one at least): how a poll is answered."""
        taken = size = 0
        for frame in self._frames:
            if taken == _POLLED or (taken and size + len(frame.packet) > most):
                break
            taken, size = taken + 1, size + len(frame.packet)
        frames, self._frames = self._frames[:taken], self._frames[taken:]
        self.size -= sum(len(frame.wire) for frame in frames)
        if not self._frames and self.dropped:
            frames.append(self._notice())
        return frames

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._frames and not self._torn

    def _block(self) -> None:
        self._waiting = True
        self._owner.blocked()

    def _queue(self, frames: Sequence[Frame]) -> None:
        self._frames.extend(frames)
        for frame in frames:
            self.size += len(frame.wire)
        if self.size > self._limit:
            self._conflate()
            if self.size > self._limit:
                self._owner.overflowed()
        if self._send is None:
            self._owner.queued()

    def _conflate(self) -> None:
        """Keep the last frame of each key; count the others."""
        last = {frame.key: frame for frame in self._frames if frame.key is not None}
        kept = []
        for frame in self._frames:
            if frame.key is None or last[frame.key] is frame:
                kept.append(frame)
            else:
                self.dropped[frame.key] += 1
                self.conflated += 1
        self._frames = kept
        self.size = len(self._torn) + sum(len(frame.wire) for frame in kept)

    def _keep_rest(self, frames: Sequence[Frame], sent: int) -> None:
        """Queue what is left of frames of which the socket has taken `sent` bytes: it may have torn one."""
        for index, frame in enumerate(frames):
            size = len(frame.wire)
            if sent < size:
                if sent:
                    self._torn = frame.wire[sent:]
                    self.size += len(self._torn)
                    index += 1
                self._queue(frames[index:])
                return
            sent -= size

    def _next_bytes(self) -> tuple[bytes, int]:
        """What to send next, and how many frames of the queue are in it, behind a torn one's rest."""
        batch, size = 0, len(self._torn)
        for frame in self._frames:
            if size and size + len(frame.wire) > _CHUNK:
                break
            batch, size = batch + 1, size + len(frame.wire)
        return b"".join((self._torn, *(frame.wire for frame in self._frames[:batch]))), batch

    def _taken(self, batch: int, sent: int) -> None:
        """The socket took `sent` bytes of the torn rest and the first `batch` frames."""
        self.size -= sent
        if sent < len(self._torn):
            self._torn = self._torn[sent:]
            return
        sent -= len(self._torn)
        self._torn = b""
        gone = 0
        for frame in self._frames[:batch]:
            if sent < len(frame.wire):
                if sent:
                    self._torn = frame.wire[sent:]
                    gone += 1
                break
            sent -= len(frame.wire)
            gone += 1
        del self._frames[:gone]

    def _confess(self) -> None:
        """All has gone out: tell what was dropped on the way."""
        if self.dropped:
            self.put(self._notice())

    def _notice(self) -> Frame:
        body = {"dropped": dict(self.dropped), "reason": "slow_consumer"}
        self.dropped.clear()
        return event("gap_notice", orjson.dumps(body))
