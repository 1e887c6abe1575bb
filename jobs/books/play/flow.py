"""The way of a scenario's messages: player → faults → queue → worker → books. Pure.

Time is an argument, so that a scenario runs with a real clock as well as in virtual time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Protocol

from db.scenarios.model import Scenario
from db.scenarios.recording import Recording
from jobs.books.queue import BookQueue, uniform_delay
from jobs.feeds.scenario.complete import Levels
from jobs.feeds.scenario.faults import Faults, Late, Refused
from jobs.feeds.scenario.messages import Played
from jobs.feeds.scenario.player import Player
from jobs.feeds.scenario.speeds import Speeds

# Time from a snapshot request to its answer.
SNAPSHOT_SECONDS = 0.05


class Books(Protocol):
    """The receiver of the messages. Times are seconds of the player's clock."""

    def receive(self, message: Played, now: float) -> None:
        """Take a message from the worker, after its delay."""

    def overflow(self, instrument: str, now: float) -> None:
        """The queue was full and has been emptied: the instrument has lost messages."""

    def snapshot(self, instrument: str, text: bytes, now: float) -> None:
        """The answer to a request, as REST gives it."""

    def snapshot_failed(self, instrument: str, retry_after: int | None, now: float) -> None:
        """A request was refused; with the seconds of Retry-After, or there is no snapshot: None."""


class Flow:
    """One run of a scenario. Call `advance` with rising times; between the calls, wait until
    `next_time`.

    `before_faults` receives each message of the exchange, for a shadow book. `clock` gives the
    present time: work of the books delays the worker. In virtual time it is 0, and that work takes
    no time.
    """

    def __init__(
        self,
        scenario: Scenario,
        recordings: Sequence[Recording],
        books: Books,
        *,
        snapshot_levels: int = 5_000,
        new_book: Callable[[], Levels] | None = None,
        loop: bool = True,
        before_faults: Callable[[Played], None] = lambda message: None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        if scenario.queue_max is None:
            raise ValueError("a scenario that is played needs queue_max")
        self.now = 0.0
        self.speeds = Speeds(scenario.phases, repeat=scenario.repeat)
        self.faults = Faults(scenario.faults, scenario.seed)
        ages = {fault.seconds or 0.0 for fault in scenario.faults if fault.kind == "snapshot_late"}
        self.player = Player(recordings, self.speeds, new_book=new_book, late=sorted(ages), jump=self.faults.jump, loop=loop)
        self.queue: BookQueue[Played] = BookQueue(
            scenario.queue_max,
            scenario.on_full,
            delay=uniform_delay(scenario.delay_ms, scenario.seed),
            mean_delay=scenario.mean_delay,
        )
        self._books = books
        self._snapshot_levels = snapshot_levels
        self._before_faults = before_faults
        self._clock = clock
        self._arrived: deque[Played] = deque()  # behind the faults, without a place in the queue
        self._serving: Played | None = None
        self._served_at = inf
        self._requests: list[tuple[float, int, str]] = []  # heap: time of the answer, number, instrument
        self._requested = 0

    def next_time(self) -> float:
        """The time of the next event."""
        return max(self.now, min(self._arrival(), self._served_at, self._requests[0][0] if self._requests else inf))

    def advance(self, until: float) -> None:
        """Do everything up to `until`, in the order of its times."""
        while True:
            if self._serving is None and self.queue:
                self._take()
                continue
            arrival, served = self._arrival(), self._served_at
            answer = self._requests[0][0] if self._requests else inf
            time = min(arrival, served, answer)
            if max(time, self.now) > until:
                break
            self.now = max(time, self.now)
            if time == answer:
                self._answer()
            elif time == served:
                self._deliver()
            else:
                self._arrive()
        self.now = max(self.now, until)

    def request_snapshot(self, instrument: str, delay: float = 0.0) -> None:
        """Request a snapshot in `delay` seconds; the answer comes 50 ms later."""
        self._requested += 1
        heappush(self._requests, (self.now + delay + SNAPSHOT_SECONDS, self._requested, instrument))

    def lag(self) -> float:
        """The seconds from receipt to the books for a diff that is due now.

        Any thread may call this and `backpressure`, also while the books are at work.
        """
        now = self.present()
        outside = self.player.unread(now) + sum(each.counts for each in list(self._arrived))
        return self.queue.lag(now, outside)

    @property
    def is_idle(self) -> bool:
        """True if no message waits and the worker has none."""
        return self._serving is None and not self.queue and not self._arrived

    def backpressure(self) -> float:
        """Seconds for which the player could not put a due message."""
        now = self.present()
        return self.queue.backpressure(now, self._waiting_since(now))

    def present(self) -> float:
        """The present time, also while the books are at work."""
        return max(self.now, self._clock())

    def _arrival(self) -> float:
        """Time at which the next message can enter the queue; infinite until there is a place."""
        if self.queue.full and self.queue.on_full == "block":
            return inf
        return self.now if self._arrived else self.player.next_due

    def _arrive(self) -> None:
        if not self._arrived:
            message = self.player.read()
            self._before_faults(message)
            self._arrived.extend(self.faults.passed(message))
        while self._arrived:
            if self.queue.full:
                if self.queue.on_full == "block":
                    return
                for instrument in self.queue.overflow():
                    self._books.overflow(instrument, self.now)
            self.queue.put(self._arrived.popleft(), self.now)

    def _take(self) -> None:
        message, delay = self.queue.take(self.now, self._waiting_since(self.now))
        if message.counts:
            self._serving, self._served_at = message, self.now + delay
        else:
            self._books.receive(message, self.now)
            self.now = self.present()

    def _deliver(self) -> None:
        message, self._serving, self._served_at = self._serving, None, inf
        if message is not None:
            self._books.receive(message, self.now)
        self.now = self.present()
        self.queue.finish(self.now)

    def _answer(self) -> None:
        _, _, instrument = heappop(self._requests)
        fault = self.faults.snapshot(self.now)
        if isinstance(fault, Refused):
            self._books.snapshot_failed(instrument, fault.retry_after, self.now)
            return
        age = fault.seconds if isinstance(fault, Late) else None
        text = self.player.snapshot(instrument, self._snapshot_levels, self.now, age)
        if text is None:
            self._books.snapshot_failed(instrument, None, self.now)
        else:
            self._books.snapshot(instrument, text, self.now)

    def _waiting_since(self, now: float) -> float | None:
        """The due time of the first message that is due and outside; None if there is none."""
        try:
            due = self._arrived[0].due
        except IndexError:
            due = self.player.next_due
        return due if due <= now else None
