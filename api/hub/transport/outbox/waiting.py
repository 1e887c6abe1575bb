"""The frames that wait for one client: their order, their bytes, and their conflation. Pure.

Links of a chain are conflated by room: one snapshot takes the place of the last one, and all are
counted. It is made when it is sent, so links that are pushed while it waits are contained in it.
They are counted and not queued. Later links continue from the snapshot.

Replayed frames keep their place in the order. They do not count towards the limit of an outbox,
because their bytes belong to the topic log; the caller limits them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from typing import Protocol

from api.hub.transport.wire import Frame, Snapshot

_CHUNK_BYTES = 64 * 1024  # joined for one send while draining
_LEAST_VIEW_BYTES = 1024
_NO_ROOMS: frozenset[str] = frozenset()


class Chains(Protocol):
    """The source of the snapshots of one client. No method yields to another greenlet."""

    def flush(self) -> None:
        """Push every link that a snapshot made from now on contains, if it was not pushed yet."""

    def fresh(self, room: str) -> Frame | None:
        """Return the newest snapshot of a room; None if there is none or the client has left it."""


class WaitingFrames:
    """The rest of a frame of which the socket took a part, then whole frames.

    The base of an outbox, which has the socket and the limit. Set `chains` before the first link.
    """

    __slots__ = (
        "_frames", "_partial", "_partial_of", "_replays_partial", "_snapshots", "chains", "conflated", "dropped", "replaying", "size",
    )  # fmt: skip

    def __init__(self) -> None:
        self._partial = b""  # rest of a frame of which the socket took a part
        self._partial_of = 0  # bytes of that whole frame
        self._frames: list[Frame] = []
        self._snapshots = _NO_ROOMS  # rooms of which a snapshot waits; no link of these waits
        self.chains: Chains | None = None
        self.size = 0  # waiting bytes, replayed ones included
        self._replays_partial = False  # whether `_partial` is of a replayed frame
        self.replaying = 0  # waiting bytes of replayed frames
        self.dropped: Counter[str] = Counter()  # key -> frames dropped since the last gap_notice
        self.conflated = 0  # frames dropped since the beginning

    def lead(self, data: bytes) -> None:
        """Have these bytes sent before all waiting frames, in one write. Call it before `open`."""
        self._partial = data
        self.size += len(data)

    def supersede(self, rooms: Container[str]) -> None:
        """Drop the waiting links of these rooms: the next frame has newer snapshots of them."""
        if any(frame.chain in rooms for frame in self._frames):
            for frame in self._frames:
                if frame.chain in rooms and frame.chain not in self._snapshots:
                    self._drop(frame)
            self._keep([frame for frame in self._frames if frame.chain not in rooms])

    @property
    def idle(self) -> bool:
        """True if no byte waits."""
        return not self._frames and not self._partial

    def _discard(self) -> None:
        """Discard all waiting frames."""
        self._partial, self._frames, self._snapshots, self.size, self.replaying = b"", [], _NO_ROOMS, 0, 0
        self._replays_partial = False

    def _oversized(self, limit: int) -> int:
        """Return the waiting bytes of the largest frame that alone exceeds the limit, or 0.

        An answer about thousands of instruments is no sign of a slow client.
        """
        sizes = [size for frame in self._frames if not frame.replayed and (size := len(frame.wire)) > limit]
        if self._partial_of > limit and not self._replays_partial:
            sizes.append(len(self._partial))
        return max(sizes, default=0)

    def _without_contained(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Return the frames without the links of rooms of which a snapshot waits; count these."""
        for frame in frames:
            if frame.chain in self._snapshots:
                self._drop(frame)
        return [frame for frame in frames if frame.chain not in self._snapshots]

    def _conflate(self) -> None:
        """Keep the newest frame of each key and count the dropped ones.

        A snapshot takes the place of the last link of a room.
        """
        last = {frame.key: at for at, frame in enumerate(self._frames) if frame.key is not None}
        kept = []
        for at, frame in enumerate(self._frames):
            if frame.key is None:
                kept.append(frame)
            elif last[frame.key] != at:
                self._drop(frame)
            elif frame.chain is None or frame.chain in self._snapshots:
                kept.append(frame)
            else:
                self._drop(frame)
                kept.append(Snapshot(frame))
        self._keep(kept)

    def _drop(self, frame: Frame) -> None:
        """Count a frame that is not sent."""
        assert frame.key is not None  # noqa: S101 - callers keep other frames out
        self.dropped[frame.key] += 1
        self.conflated += 1

    def _keep(self, frames: list[Frame]) -> None:
        """Have these frames wait, and no others."""
        self._frames = frames
        self._snapshots = frozenset(frame.chain for frame in frames if isinstance(frame, Snapshot) and frame.chain is not None)
        self.size = len(self._partial) + sum(len(frame.wire) for frame in frames)

    def _settle(self) -> None:
        """Have all links pushed that the waiting snapshots contain: later they would be old."""
        if self._snapshots and self.chains is not None:
            self.chains.flush()

    def _ready(self, frame: Frame) -> Frame | None:
        """Return the frame to send; None if it is a snapshot that does not exist any more."""
        if not isinstance(frame, Snapshot):
            return frame
        return None if self.chains is None or frame.chain is None else self.chains.fresh(frame.chain)

    def _keep_part(self, frame: Frame, sent: int) -> None:
        """Keep the rest of a frame of which the socket took the first `sent` bytes."""
        self._partial, self._partial_of, self._replays_partial = frame.wire[sent:], len(frame.wire), frame.replayed
        self.size += len(self._partial)

    def _next_wires(self) -> list[bytes]:
        """Return the rest of the partial frame, then the bytes of the next queued frames."""
        self._settle()
        wires, size = [self._partial], len(self._partial)
        for frame in self._frames:
            ready = self._ready(frame)
            wire = b"" if ready is None else ready.wire
            if size and size + len(wire) > _CHUNK_BYTES:
                break
            wires.append(wire)
            size += len(wire)
        return wires

    def _taken(self, wires: Sequence[bytes], sent: int) -> None:
        """Remove the first `sent` bytes of `_next_wires`.

        A snapshot of which no byte was sent waits again, and is made anew.
        """
        self._count_partial(-1)
        gone = -1  # queued frames; the first of the wires is the partial frame
        self._partial = b""
        for wire in wires:
            if sent < len(wire):
                if sent or gone < 0:
                    self._partial, self._partial_of = _rest_of(wire, sent), self._partial_of if gone < 0 else len(wire)
                    gone += 1
                if sent and gone:
                    self._replays_partial = self._frames[gone - 1].replayed
                break
            sent -= len(wire)
            gone += 1
        self._remove(gone)
        self._count_partial(1)

    def _count_partial(self, sign: int) -> None:
        """Add the bytes of the partial frame to the waiting ones, or remove them (-1)."""
        self.size += sign * len(self._partial)
        if self._replays_partial:
            self.replaying += sign * len(self._partial)

    def _remove(self, count: int) -> None:
        """Remove the first queued frames."""
        gone = self._frames[:count]
        del self._frames[:count]
        self.size -= sum(len(frame.wire) for frame in gone)
        self.replaying -= _replayed_bytes(gone)
        if self._snapshots:
            self._snapshots = self._snapshots.difference(frame.chain for frame in gone if frame.chain is not None)


def _rest_of(wire: bytes, sent: int) -> bytes:
    """Return the bytes after the first `sent`: of a large one a view, so that clients share it."""
    if len(wire) - sent < _LEAST_VIEW_BYTES:
        return wire[sent:]
    return memoryview(wire)[sent:]  # type: ignore[return-value]  # `send` and `join` take both


def _replayed_bytes(frames: Sequence[Frame]) -> int:
    return sum(len(frame.wire) for frame in frames if frame.replayed)
