"""The times of the batches that the relay reads from the bus and sends to the sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from api.hub.messages import Message
from config.metrics import BOOK_LAG_BUCKETS, LAG_BUCKETS
from db import topics
from db.measures import Lags
from db.timestamps import unix_time
from health.measures.stages import BUS, FANOUT, SOCKETS, STAGES, Stages

_STAMP = b'"timestamp":"'
MAX_NOTED = 256  # batches whose times wait for their evaluation
SAMPLE_SECONDS = 0.1  # between two batches whose stages are noted, each for 10 to 40 µs


class _Batch(NamedTuple):
    """A batch that was sent; both times are Unix times."""

    read: float
    sent: float
    relays: bool  # a message, of which it may have no first one: foreign messages have no age
    firsts: Mapping[str, Message | bytes]  # channel -> its first message in the batch


class _Evaluated(Lags):
    """A histogram with the values of all batches so far: a reader evaluates those that wait."""

    __slots__ = ("_evaluate",)

    def __init__(self, bounds: tuple[float, ...], evaluate: Callable[[], None]) -> None:
        super().__init__(bounds)
        self._evaluate = evaluate

    def read(self) -> tuple[list[int], float]:
        self._evaluate()
        return super().read()

    def take_max(self) -> float:
        self._evaluate()
        return super().take_max()


class BatchTimes:
    """Notes the ages of messages at the sockets, and the durations of the stages.

    Of each batch, the first message counts for `lags` and the first book for `book_lags`. Batches
    that are sent together, at the end of one interval, count as one. A message of a foreign program
    has no age: its stamp is not of the bus. Stages are sampled.

    `relayed()` is the number of messages since the start. Batches are noted when they are sent, and
    evaluated when somebody reads a figure, as the report of the hub does every second. Between two
    rounds of `send()` each line of Python is slow, because the sends empty the caches. One
    evaluation of many batches is not.
    """

    def __init__(self, stages: Stages = STAGES, clock: Callable[[], float] = time.time, relayed: Callable[[], int] = lambda: 0) -> None:
        self.lags = _Evaluated(LAG_BUCKETS, self._evaluate)
        self.book_lags = _Evaluated(BOOK_LAG_BUCKETS, self._evaluate)
        self._lag: float | None = None
        self._stages = stages
        self._clock = clock  # Unix time
        self._relayed = relayed
        self._firsts: dict[str, Message | bytes] = {}  # of the batch that is not sent yet
        self._begun = self._relays = False
        self._read = 0.0  # time at which it was read
        self._noted: list[_Batch] = []  # not evaluated yet
        self._sampled = float("-inf")  # time at which the last batch was read whose stages were noted
        self._counted = 0  # messages relayed until the last evaluation

    @property
    def lag(self) -> float | None:
        """Seconds, of the last batch with a stamped message; None before it."""
        self._evaluate()
        return self._lag

    def begin(self) -> None:
        """Begin with a batch that was just read, unless an earlier one is not sent yet."""
        if not self._begun:
            self._begun = True
            self._read = self._clock()

    def note(self, message: Message) -> None:
        """Note a relayed message of the batch."""
        self._relays = True
        name = message.row.stream.name
        if name not in self._firsts and message.epoch is not None:
            self._firsts[name] = message

    def note_raw(self, channel: str, body: bytes) -> None:
        """Note a message of the batch that was kept undecoded."""
        self._relays = True
        self._firsts.setdefault(channel, body)

    def end(self) -> None:
        """Note that the batch is sent."""
        if not self._begun:
            return
        self._noted.append(_Batch(self._read, self._clock(), self._relays, self._firsts))
        self._begun = self._relays = False
        self._firsts = {}
        if len(self._noted) >= MAX_NOTED:
            self._evaluate()

    def _evaluate(self) -> None:
        """Count the batches that were sent since the last call."""
        noted, self._noted = self._noted, []
        for batch in noted:
            self._observe(batch)
        if (relayed := self._relayed()) != self._counted:
            self._stages.count("relayed", relayed - self._counted)
            self._counted = relayed

    def _observe(self, batch: _Batch) -> None:
        for first in batch.firsts.values():
            if (stamped := _stamped(first)) is not None:
                self.lags.observe(batch.sent - stamped)
                self._lag = max(0.0, batch.sent - stamped)
                break
        if (book := batch.firsts.get(topics.BOOKS)) is not None and (stamped := _stamped(book)) is not None:
            self.book_lags.observe(batch.sent - stamped)
        if batch.relays and not 0 <= batch.read - self._sampled < SAMPLE_SECONDS:  # also after a step of the clock
            self._sample(batch)

    def _sample(self, batch: _Batch) -> None:
        self._sampled = batch.read
        self._stages.record(FANOUT, batch.sent - batch.read)
        if (price := batch.firsts.get(topics.PRICES)) is not None and (stamped := _stamped(price)) is not None:
            self._stages.record(BUS, batch.read - stamped)
            self._stages.record(SOCKETS, batch.sent - stamped)


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
