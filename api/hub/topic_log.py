"""The tail of every topic's messages, in the hub's memory: what joins snapshot, missed messages and live without a seam."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from api.hub.messages import Message
from db import topics

MESSAGES_PER_TOPIC = 1000  # messages kept per instrument


class Continuity(Enum):
    """Where a message stands relative to what the log holds of its topic."""

    NEXT = "next"
    SEEN = "seen"
    GAP = "gap"  # it does not follow: something is missing in between, or another epoch has begun


@dataclass(slots=True)
class _Topic:
    epoch: str
    head: int  # seq of the last message
    bodies: deque[bytes] = field(default_factory=lambda: deque(maxlen=MESSAGES_PER_TOPIC))  # the last ones, contiguous, ending at head


class TopicLog:
    """Bodies by (channel, topic). Prices are kept for clients to catch up on; of candles the newest; of the rest, the place alone."""

    def __init__(self) -> None:
        self._topics: dict[tuple[str, str], _Topic] = {}  # (channel, topic) -> its tail
        self._latest: dict[str, bytes] = {}  # instrument -> last price_update body, foreign ones included
        self._newest: dict[str, Message] = {}  # candle topic -> its newest candle by time, foreign ones included
        self._last: dict[str, Message] = {}  # candle topic -> its last message with a seq
        self._epoch: str | None = None  # of the last message appended

    def continuity(self, message: Message) -> Continuity:
        """Where a message with `epoch` and `seq` stands."""
        topic = self._topics.get((message.channel, message.topic))
        if topic is None or topic.epoch != message.epoch:
            return Continuity.NEXT if message.seq == 1 and message.epoch == self._epoch else Continuity.GAP
        if message.seq <= topic.head:
            return Continuity.SEEN
        return Continuity.NEXT if message.seq == topic.head + 1 else Continuity.GAP

    def holds(self, channel: str, topic: str, epoch: str, seq: int) -> bool:
        """Whether the log has been given this message already."""
        known = self._topics.get((channel, topic))
        return known is not None and known.epoch == epoch and seq <= known.head

    def append(self, message: Message) -> bool:
        """Add a message that the stream vouches for; False where it was there already.

        One that does not follow starts its topic's tail anew: what is kept is always without a hole.
        """
        assert message.epoch is not None  # noqa: S101 - callers keep foreign messages out
        place = self.continuity(message)
        if place is Continuity.SEEN:
            return False
        key = (message.channel, message.topic)
        if place is Continuity.GAP or key not in self._topics or self._topics[key].epoch != message.epoch:
            self._topics[key] = _Topic(message.epoch, message.seq)
        topic = self._topics[key]
        topic.head = message.seq
        self._epoch = message.epoch
        if message.channel == topics.PRICES:
            topic.bodies.append(message.body)
            self._latest[message.topic] = message.body
        elif message.channel == topics.CANDLES:
            self._last[message.topic] = message
            self._note_candle(message)
        return True

    def note_foreign(self, message: Message) -> None:
        """A foreign price or candle has no place in the log, but it is the latest."""
        if message.channel == topics.PRICES:
            self._latest[message.topic] = message.body
        elif message.channel == topics.CANDLES:
            self._note_candle(message)

    def _note_candle(self, message: Message) -> None:
        """Late data correct an older candle: that does not make it the newest. Nor is one publisher's time another's."""
        newest = self._newest.get(message.topic)
        if newest is None or newest.epoch != message.epoch or _starts(message) >= _starts(newest):
            self._newest[message.topic] = message

    def seed_latest(self, bodies: dict[str, bytes]) -> None:
        """Give the latest price of instruments that the log has none of yet."""
        self._latest = {**bodies, **self._latest}

    def latest(self, instrument: str) -> bytes | None:
        """Body of the instrument's last price_update."""
        return self._latest.get(instrument)

    def candles(self, topic: str) -> list[bytes]:
        """Bodies of the candle_updates to begin with, oldest candle first: the newest candle, and where that was not the last message,
        the last one too, so that its `seq` leads on to the next."""
        newest, last = self._newest.get(topic), self._last.get(topic)
        bodies = {message.body: None for message in sorted(filter(None, (last, newest)), key=_starts)}
        return list(bodies)

    def missed(self, instrument: str, epoch: str, seq: int) -> list[bytes] | None:
        """Bodies of the price_updates that follow (epoch, seq), oldest first; None where that cannot be told for certain."""
        topic = self._topics.get((topics.PRICES, instrument))
        if topic is None or topic.epoch != epoch:
            return None
        count = topic.head - seq
        if count < 0 or count > len(topic.bodies):
            return None
        return list(topic.bodies)[len(topic.bodies) - count :] if count else []


def _starts(message: Message) -> datetime:
    assert message.starts is not None  # noqa: S101 - decode gives it to every candle
    return message.starts
