"""The last messages of every topic, in the memory of the hub.

It joins snapshot, missed messages and live messages without a gap and without a repetition.

Messages that nobody needs are appended *raw*, without a decode. Each is checked when it is first
needed. A bad one is then removed, with all older ones: the kept messages are contiguous.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple, cast

from api.hub.messages import Message
from api.hub.transport.wire import Replayed
from db import topics

MESSAGES_PER_TOPIC = 1000  # messages kept per topic of a channel with log `tail`

LogKey = tuple[str, str]  # channel, topic

# (channel, topic, epoch, seq, body) -> the frame of a raw message as live clients would have
# received it; None if it is not a message of this position.
Check = Callable[[str, str, str, int, bytes], bytes | None]


class Continuity(Enum):
    """The position of a message relative to the log of its topic."""

    NEXT = "next"
    SEEN = "seen"
    GAP = "gap"  # messages are missing in between, or another epoch has begun


@dataclass(slots=True)
class LogTopic:
    """The log of one topic."""

    epoch: str
    head: int  # seq of the last message
    last: bytes = b""  # body of the last message
    # The last messages, contiguous, ending at head: the frames that live clients have received, or
    # the bodies of raw messages.
    frames: deque[Replayed | bytes] = field(default_factory=lambda: deque(maxlen=MESSAGES_PER_TOPIC))
    end: bytes = b""  # of a body, after its seq
    last_is_raw: bool = False

    def __post_init__(self) -> None:
        self.end = b',"epoch":"%s"}' % self.epoch.encode()

    def append_raw(self, body: bytes, wire: bytes = b"") -> bool:
        """Append the next message of a channel with log `tail`; return False if it is another one.

        Its end has the position, as our own publisher writes it. The rest is not read. `wire` is
        the frame for clients, if the caller has checked the content.
        """
        if not body.endswith(b',"seq":%d%b' % (self.head + 1, self.end)):
            return False
        self.head += 1
        self.last = body
        self.last_is_raw = True
        self.frames.append(Replayed(wire) if wire else body)
        return True

    def close(self) -> None:
        """Refuse raw messages from now on."""
        self.end = b"\0"


class _Dated(NamedTuple):
    """The part of a message that log `newest` keeps."""

    body: bytes
    epoch: str | None
    starts: datetime


class TopicLog:
    """Bodies by channel and topic, according to `log` in the row of the channel.

    `check` reads a raw message. Set it before the first raw message. `shard_of(channel, topic)` is
    the shard of the bus in which a topic lives: each shard has an epoch of its own.
    """

    check: Check

    def __init__(self, shard_of: Callable[[str, str], int] = lambda channel, topic: 0) -> None:
        self._shard_of = shard_of
        self._topics: dict[LogKey, LogTopic] = {}
        self._latest: dict[LogKey, bytes] = {}  # log `tail`: last body, foreign ones included
        self._newest: dict[LogKey, _Dated] = {}  # log `newest`: latest by time, foreign ones included
        self._last: dict[LogKey, _Dated] = {}  # log `newest`: last message with a seq
        self._epochs: dict[int, str] = {}  # shard -> epoch of the last topic that began
        # shard -> the only epoch in which clients may resume; without one, any
        self._present: dict[int, str] = {}
        self._beginnings = 0  # of a topic, of an epoch, or of a log without positions

    def begin(self, epoch: str | None, shard: int = 0) -> None:
        """Set the present epoch of a shard: positions of other epochs are not recovered."""
        self._beginnings += 1
        if epoch is None:
            self._present.pop(shard, None)
        else:
            self._present[shard] = epoch

    def forget(self, shard: int = 0) -> None:
        """Forget every position in a shard, because it has lost data.

        The latest bodies stay: clients may have received them, and they are the last known ones.
        """
        for key in [key for key in self._topics if self._shard_of(*key) == shard]:
            self._topics.pop(key).close()
        self._epochs.pop(shard, None)
        self._beginnings += 1

    def continuity(self, message: Message) -> Continuity:
        """Return the position of a message that has `epoch` and `seq`."""
        topic = self._topics.get((message.row.stream.name, message.topic))
        if topic is None or topic.epoch != message.epoch:
            begins = message.seq == 1 and message.epoch == self._epochs.get(self._shard_of(message.row.stream.name, message.topic))
            return Continuity.NEXT if begins else Continuity.GAP
        if message.seq <= topic.head:
            return Continuity.SEEN
        return Continuity.NEXT if message.seq == topic.head + 1 else Continuity.GAP

    def holds(self, channel: str, topic: str, epoch: str, seq: int) -> bool:
        """Return True if the message was appended already."""
        known = self._topics.get((channel, topic))
        return known is not None and known.epoch == epoch and seq <= known.head

    def head(self, channel: str, topic: str) -> int:
        """Return the seq of the last message; 0 if there is none."""
        known = self._topics.get((channel, topic))
        return 0 if known is None else known.head

    def continues(self, channel: str, topic: str, epoch: str | None) -> bool:
        """Return True if the last message of the topic has this epoch."""
        known = self._topics.get((channel, topic))
        return known is not None and known.epoch == epoch

    def body(self, channel: str, topic: str, epoch: str | None, seq: int) -> bytes | None:
        """Return the body of a message that was appended; None if it is not kept."""
        known = self._topics.get((channel, topic))
        if known is None or known.epoch != epoch:
            return None
        back = known.head - seq
        if back == 0:
            return known.last
        if not 0 < back < len(known.frames):
            return None
        frame = known.frames[-1 - back]
        return frame if isinstance(frame, bytes) else frame.body

    def append(self, message: Message, continuity: Continuity) -> bool:
        """Append a message of the stream; return False if it was appended already.

        `continuity` is the position of the message. After a gap the log of the topic starts anew,
        so that the kept bodies are always contiguous.
        """
        if continuity is Continuity.SEEN:
            return False
        assert message.epoch is not None  # noqa: S101 - callers keep foreign messages out
        row = message.row
        key = (row.stream.name, message.topic)
        topic = self._topics.get(key)
        if topic is None or continuity is Continuity.GAP or topic.epoch != message.epoch:
            if topic is not None:
                topic.close()
            topic = self._topics[key] = LogTopic(message.epoch, message.seq)
            self._epochs[self._shard_of(*key)] = message.epoch
            self._beginnings += 1
        topic.head, topic.last, topic.last_is_raw = message.seq, message.body, False
        if row.log == "tail":
            topic.frames.append(Replayed(message.frame.wire))
            self._latest[key] = message.body
        elif row.log == "newest":
            self._last[key] = self._note_newest(key, message)
        return True

    def topic(self, key: LogKey) -> LogTopic | None:
        """Return the log of a topic. It refuses raw messages once another has replaced it."""
        return self._topics.get(key)

    def note_foreign(self, message: Message) -> None:
        """Keep a foreign message as the latest or newest one; it has no position in the log."""
        key = (message.row.stream.name, message.topic)
        if message.row.log == "tail":
            self._read_last(key)
            self._beginnings += key not in self._latest
            self._latest[key] = message.body
        elif message.row.log == "newest":
            self._note_newest(key, message)

    def _note_newest(self, key: LogKey, message: Message) -> _Dated:
        """Keep the message if it is the newest of its topic.

        A correction of an older candle does not replace the newest one. Start times of different
        epochs are not compared.
        """
        assert message.starts is not None  # noqa: S101 - decode sets it if the log is `newest`
        dated = _Dated(message.body, message.epoch, message.starts)
        newest = self._newest.get(key)
        if newest is None or newest.epoch != dated.epoch or dated.starts >= newest.starts:
            self._newest[key] = dated
        return dated

    def seed_latest(self, bodies: dict[str, bytes], channel: str = topics.PRICES) -> None:
        """Set the latest body of topics that have none yet."""
        self._beginnings += 1
        self._latest = {**{(channel, topic): body for topic, body in bodies.items()}, **self._latest}

    def latest(self, topic: str, channel: str = topics.PRICES) -> bytes | None:
        """Return the last body of a topic of log `tail`; None if there is none."""
        self._read_last((channel, topic))
        return self._latest.get((channel, topic))

    def newest(self, topic: str, now: datetime, channel: str = topics.CANDLES) -> list[bytes]:
        """Return the bodies with which a client begins on a topic of log `newest`, oldest first.

        These are the newest body and, if it is another one, the last body: the next `seq` follows
        the `seq` of the last one. Candles that begin after `now` are left out: the clock was ahead
        when they were made.
        """
        key = (channel, topic)
        kept = [dated for dated in (self._last.get(key), self._newest.get(key)) if dated is not None and dated.starts <= now]
        return list(dict.fromkeys(dated.body for dated in sorted(kept, key=lambda dated: dated.starts)))

    def state(self, names: Iterable[str], channel: str = topics.PRICES) -> tuple[int, ...]:
        """Return a value that is equal as long as `missed` returns the same for these topics."""
        return self._beginnings, *(self.head(channel, name) for name in names)

    def empty_epoch(self, topic: str, channel: str = topics.PRICES) -> str | None:
        """Return the present epoch of a topic of log `tail` that has no message; else None.

        A client may resume such a topic at `seq` 0 of this epoch.
        """
        return None if self.latest(topic, channel) is not None else self._present.get(self._shard_of(channel, topic))

    def missed(self, topic: str, epoch: str, seq: int, channel: str = topics.PRICES) -> list[Replayed] | None:
        """Return the frames after (epoch, seq), oldest first; None if the log may lack one."""
        known = self._topics.get((channel, topic))
        if known is None and seq == 0 and epoch == self.empty_epoch(topic, channel):
            return []
        if known is None or known.epoch != epoch or self._present.get(self._shard_of(channel, topic), epoch) != epoch:
            return None
        self._read_last((channel, topic))
        count = known.head - seq
        if count < 0 or count > len(known.frames):
            return None
        return self._read((channel, topic), known, count) if count else []

    def _read(self, key: LogKey, topic: LogTopic, count: int) -> list[Replayed] | None:
        """Return the last `count` frames; None if one of them was a bad raw message."""
        frames = list(topic.frames)
        wanted = frames[-count:]
        if bytes not in map(type, wanted):
            return cast(list[Replayed], wanted)
        read: deque[Replayed | bytes] = deque(maxlen=MESSAGES_PER_TOPIC)
        for seq, frame in zip(range(topic.head, topic.head - count, -1), reversed(wanted), strict=True):
            replayed = frame if isinstance(frame, Replayed) else self._checked(key, topic.epoch, seq, frame)
            if replayed is None:
                topic.frames = read
                return None
            read.appendleft(replayed)
        topic.frames = deque([*frames[:-count], *read], MESSAGES_PER_TOPIC)
        return cast(list[Replayed], list(read))

    def _read_last(self, key: LogKey) -> None:
        """Check the last message, if it is raw: a good one is the latest. Drop bad ones."""
        topic = self._topics.get(key)
        if topic is None:
            return
        while topic.last_is_raw:
            replayed = self._checked(key, topic.epoch, topic.head, topic.last)
            if replayed is not None:
                topic.frames[-1], topic.last_is_raw = replayed, False
                self._latest[key] = topic.last
                return
            topic.frames.pop()
            topic.head -= 1
            before = topic.frames[-1] if topic.frames else b""
            topic.last = before if isinstance(before, bytes) else before.body
            topic.last_is_raw = isinstance(before, bytes) and before != b""

    def _checked(self, key: LogKey, epoch: str, seq: int, body: bytes) -> Replayed | None:
        wire = self.check(*key, epoch, seq, body)
        return None if wire is None else Replayed(wire)
