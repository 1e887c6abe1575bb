"""The times of the batches that the relay reads from the bus and sends to the sockets."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.hub.messages import Message
from config.metrics import BOOK_LAG_BUCKETS, LAG_BUCKETS
from db import topics
from db.measures import Lags
from db.timestamps import unix_time
from health.measures.stages import BUS, FANOUT, SOCKETS, STAGES, Stages

_STAMP = b'"timestamp":"'
COUNT_SECONDS = 0.01  # between two batches after which the messages are counted
SAMPLE_SECONDS = 0.1  # between two batches whose stages are noted, each for 10 to 40 µs


class BatchTimes:
    """Notes the ages of messages at the sockets, and the durations of the stages.

    Of each batch, the first message counts for `lags` and the first book for `book_lags`. Batches
    that are sent together, at the end of one interval, count as one. A message of a foreign program
    has no age: its stamp is not of the bus. Stages are sampled.
    """

    def __init__(self, stages: Stages = STAGES, clock: Callable[[], float] = time.time) -> None:
        self.lags = Lags(LAG_BUCKETS)
        self.book_lags = Lags(BOOK_LAG_BUCKETS)
        self.lag: float | None = None  # seconds, of the last batch with a stamped message
        self._stages = stages
        self._clock = clock  # Unix time
        self._firsts: dict[str, Message | bytes] = {}  # channel -> its first message in the batch
        self._begun = False
        self._read = 0.0  # Unix time at which the batch was read
        self._sampled = float("-inf")  # the same of the last batch whose stages were noted
        self._counted_at = float("-inf")  # the same of the last batch after which was counted
        self._counted = 0  # messages relayed until then

    def begin(self) -> None:
        """Begin with a batch that was just read, unless an earlier one is not sent yet."""
        if not self._begun:
            self._begun = True
            self._read = self._clock()
            self._firsts.clear()

    def note(self, message: Message) -> None:
        """Note a relayed message of the batch."""
        name = message.row.stream.name
        if name not in self._firsts and message.epoch is not None:
            self._firsts[name] = message

    def note_raw(self, channel: str, body: bytes) -> None:
        """Note a message of the batch that was kept undecoded."""
        self._firsts.setdefault(channel, body)

    def end(self, relayed: Callable[[], int]) -> None:
        """Note that the batch is sent; `relayed()` is the number of messages since the start."""
        if not self._begun:
            return
        self._begun = False
        sent = self._clock()
        for first in self._firsts.values():
            if (stamped := _stamped(first)) is not None:
                self.lags.observe(sent - stamped)
                self.lag = max(0.0, sent - stamped)
                break
        if (book := self._firsts.get(topics.BOOKS)) is not None and (stamped := _stamped(book)) is not None:
            self.book_lags.observe(sent - stamped)
        if not 0 <= self._read - self._counted_at < COUNT_SECONDS:  # also after a step of the clock
            self._count(sent, relayed())

    def _count(self, sent: float, relayed: int) -> None:
        if relayed == self._counted:
            return
        self._counted_at = sent
        self._stages.count("relayed", relayed - self._counted)
        self._counted = relayed
        if not 0 <= self._read - self._sampled < SAMPLE_SECONDS:
            self._sample(sent)

    def _sample(self, sent: float) -> None:
        self._sampled = sent
        self._stages.record(FANOUT, sent - self._read)
        if (price := self._firsts.get(topics.PRICES)) is not None and (stamped := _stamped(price)) is not None:
            self._stages.record(BUS, self._read - stamped)
            self._stages.record(SOCKETS, sent - stamped)


def _stamped(message: Message | bytes) -> float | None:
    """Return the Unix time at which the bus took a message; None if the message has none."""
    if isinstance(message, bytes):
        return _stamped_raw(message)
    stamp = message.row.stamp(message.data)
    return None if stamp is None else unix_time(stamp)


def _stamped_raw(body: bytes) -> float | None:
    """Return the same for a body that nobody has checked; it ends with our stamp and position."""
    start = body.rfind(_STAMP) + len(_STAMP)
    try:
        return unix_time(body[start : body.find(b'"', start)].decode())
    except ValueError:
        return None
