"""The writers of this process: one thread per stream, which serves all shards of its duties."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from config.pacing import STOP_POLL_SECONDS
from config.process.duties import WRITE
from jobs.duties.holding import Holding
from jobs.runtime.context import JobContext

Served = Callable[[], Sequence[int]]  # the shards of the next round of a writer
Write = Callable[[JobContext, Served], None]
MakeThread = Callable[[str, Callable[[JobContext], None], threading.Event], threading.Thread]


class ServedShards(threading.Event):
    """The shards of a set of writers. It is set for good once no duty of them is held any more.

    Any thread may use it.
    """

    def __init__(self) -> None:
        # Without `Event.__init__`: it depends on the holdings.
        self._lock = threading.Lock()
        self._holdings: dict[int, Holding] = {}  # shard -> the holding of its duty
        self._rounds: dict[str, tuple[int, ...]] = {}  # writer -> shards of its present round
        self._last: tuple[int, ...] = ()  # the last ones that were not none
        self._over = False

    def add(self, holdings: Sequence[Holding]) -> bool:
        """Serve the shards of these duties too; return False if the writers are about to end."""
        with self._lock:
            if self._over:
                return False
            self._holdings |= {_shard_of(holding.duty): holding for holding in holdings}
            return True

    def next_round(self, writer: str) -> tuple[int, ...]:
        """The shards of the next round of a writer; after the end, those of the last duties."""
        with self._lock:
            self._last = self._held() or self._last
            self._rounds[writer] = self._last
            return self._last

    def is_left(self, duty: str) -> bool:
        """Return True if no writer is in a round with the shard of this duty."""
        with self._lock:
            return not any(_shard_of(duty) in shards for shards in self._rounds.values())

    def is_set(self) -> bool:
        """Return True if the writers must end."""
        with self._lock:
            self._over = self._over or not self._held()
            return self._over

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds; return True if the writers must end."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (left := deadline - time.monotonic()) > 0:
            with self._lock:
                stops = [holding.stop for holding in self._holdings.values() if not holding.stop.is_set()]
            if stops:
                stops[0].wait(min(STOP_POLL_SECONDS, left))
        return self.is_set()

    def _held(self) -> tuple[int, ...]:
        return tuple(sorted(shard for shard, holding in self._holdings.items() if not holding.stop.is_set()))


@dataclass(slots=True)
class Writers:
    """Begins and ends the writers, by name. Call it from one thread.

    `make_thread(name, run, stop)` makes the thread of a writer.
    """

    loops: Mapping[str, Write]
    make_thread: MakeThread
    _served: dict[str, ServedShards] = field(default_factory=dict)  # duty -> the writers that serve its shard
    _threads: dict[int, list[threading.Thread]] = field(default_factory=dict)  # id of the shards -> threads
    _present: ServedShards | None = None

    def begin(self, holdings: Sequence[Holding]) -> None:
        """Serve the shards of these duties, by the present writers or by new ones."""
        if self._present is None or not self._present.add(holdings):
            self._present = ServedShards()
            self._present.add(holdings)
            self._start(self._present)
        self._served |= {holding.duty: self._present for holding in holdings}

    def is_over(self, duty: str) -> bool:
        """Return True if no writer serves the shard of a duty, after its `stop` was set."""
        served = self._served.get(duty)
        if served is None:
            return True
        if served.is_set():
            return not any(thread.is_alive() for thread in self._threads[id(served)])
        return served.is_left(duty)

    def _start(self, served: ServedShards) -> None:
        self._threads[id(served)] = [self.make_thread(name, self._run(name, served), served) for name in self.loops]
        for thread in self._threads[id(served)]:
            thread.start()

    def _run(self, name: str, served: ServedShards) -> Callable[[JobContext], None]:
        return lambda context: self.loops[name](context, lambda: served.next_round(name))


def _shard_of(duty: str) -> int:
    return int(duty.removeprefix(WRITE))
