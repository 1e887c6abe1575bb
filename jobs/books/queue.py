"""The bounded queue between feed and books, with its delay and its figures. Pure.

Times are seconds of any clock that does not go back. One thread uses a queue, or its caller locks.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from db.scenarios.model import OnFull

# Messages that take no place, of book tickers for example, are bounded too: so many per place.
FREE_PER_PLACE = 40
# Weight of the newest service time in their mean.
_WEIGHT = 0.02


class Waiting(Protocol):
    """A message that can wait.

    `counts`: it takes a place and the delay of the worker. `stays`: it remains in a queue that is
    emptied, because the books need it in any state.
    """

    @property
    def instrument(self) -> str: ...

    @property
    def counts(self) -> bool: ...

    @property
    def stays(self) -> bool: ...


Message = TypeVar("Message", bound=Waiting)


def uniform_delay(delay_ms: tuple[float, float], seed: int) -> Callable[[], float]:
    """The processing delay of each message in turn, in seconds; equal seeds give equal delays."""
    low, high = (each / 1_000 for each in delay_ms)
    if low == high:
        return lambda: low
    chance = random.Random(f"{seed}/delay")  # noqa: S311 - a simulation, not a secret
    return lambda: chance.uniform(low, high)


@dataclass(slots=True)
class Counts:
    """Counters since the start; `peak` is the largest size."""

    processed: int = 0  # diffs that the worker took
    dropped: int = 0  # diffs in emptied queues
    overflows: int = 0
    peak: int = 0
    backpressure: float = 0.0  # seconds for which the player could not put a due message


class BookQueue(Generic[Message]):
    """Messages in their order, at most `limit` that count.

    `delay` gives the processing delay of the next message; `mean_delay` is its mean, in seconds.
    """

    def __init__(self, limit: int, on_full: OnFull, *, delay: Callable[[], float] = lambda: 0.0, mean_delay: float = 0.0) -> None:
        self.limit = limit
        self.on_full = on_full
        self.counts = Counts()
        self._delay = delay
        self._service = mean_delay  # mean time from taking a message to its end
        self._messages: deque[Message] = deque()
        self._sizes: Counter[str] = Counter()  # instrument -> diffs that wait
        self._size = self._free = 0
        self._peak_since = 0  # largest size since `peak_since_last`
        self._full_since: float | None = None
        self._taken_at: float | None = None  # the worker is busy with a message since then

    @property
    def size(self) -> int:
        """Number of messages that wait and count."""
        return self._size

    @property
    def full(self) -> bool:
        return self._size >= self.limit or self._free >= FREE_PER_PLACE * self.limit

    def __bool__(self) -> bool:
        """True if any message waits."""
        return bool(self._messages)

    def put(self, message: Message, now: float) -> None:
        """Append a message. The caller has made sure that the queue is not full."""
        self._messages.append(message)
        if not message.counts:
            self._free += 1
            return
        self._size += 1
        self._sizes[message.instrument] += 1
        self._peak_since = max(self._peak_since, self._size)
        self.counts.peak = max(self.counts.peak, self._size)
        if self._full_since is None and self._size >= self.limit:
            self._full_since = now

    def overflow(self) -> tuple[str, ...]:
        """Empty the queue; return the instruments whose books have lost messages.

        Those without a waiting diff keep their tickers, unless tickers alone have filled the queue.
        """
        lost = {name for name, size in self._sizes.items() if size} or {each.instrument for each in self._messages}
        self._messages = deque(each for each in self._messages if each.stays or each.instrument not in lost)
        self.counts.dropped += self._size
        self.counts.overflows += 1
        self._sizes.clear()
        self._size, self._free = 0, len(self._messages)
        self._full_since = None
        return tuple(sorted(lost))

    def take(self, now: float, due: float | None = None) -> tuple[Message, float]:
        """The next message, and the seconds that the worker must spend on it.

        `due` is the due time of the first message that waits outside for a place, if one does.
        """
        self._end_backpressure(now, due)
        message = self._messages.popleft()
        if not message.counts:
            self._free -= 1
            return message, 0.0
        self._size -= 1
        self._sizes[message.instrument] -= 1
        self.counts.processed += 1
        self._taken_at = now
        return message, self._delay()

    def finish(self, now: float) -> None:
        """The worker has ended the message that it took last."""
        if self._taken_at is not None:
            self._service += _WEIGHT * (now - self._taken_at - self._service)
            self._taken_at = None

    def lag(self, now: float, outside: int = 0) -> float:
        """The seconds that a message waits which is due now: w/μ.

        `outside` is the number of due messages that wait for a place. A message at which the worker
        hangs counts with the time that it has taken so far.
        """
        busy = 0.0 if self._taken_at is None else max(0.0, now - self._taken_at - self._service)
        return busy + (self._size + outside) * self._service

    def peak_since_last(self) -> int:
        """The largest size since the last call."""
        peak, self._peak_since = self._peak_since, self._size
        return peak

    def backpressure(self, now: float, due: float | None = None) -> float:
        """Seconds of backpressure up to `now`; `due` as in `take`."""
        return self.counts.backpressure + self._open_backpressure(now, due)

    def _open_backpressure(self, now: float, due: float | None) -> float:
        if due is None or self._full_since is None:
            return 0.0
        return max(0.0, now - max(due, self._full_since))

    def _end_backpressure(self, now: float, due: float | None) -> None:
        seconds, self._full_since = self._open_backpressure(now, due), None
        self.counts.backpressure += seconds  # last: a reader between both never sees it twice
