"""The work of each duty in this process: its threads, from the win of the duty to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from config.process.duties import GAPS, SOURCE, WRITE
from jobs.duties.holding import Holding
from jobs.duties.writers import Write, Writers
from jobs.feeding import Feeding
from jobs.runtime.context import JobContext
from jobs.runtime.threads import LongLivedThread

# The longest round of a loop: a statement and the wait for a connection may take `DB_TIMEOUT` each,
# and one page of a history takes longer.
ROUND_SECONDS, GAP_ROUND_SECONDS = 20.0, 60.0

Run = Callable[[JobContext], None]


@dataclass(frozen=True, slots=True)
class Services:
    """The loops of the duties without a source. Each returns soon after `context.stop` is set.

    `writers` run together, by name, and serve the shards that they are given. `gaps` fills the gaps
    of the named venue. `others` maps duties to their loops.
    """

    writers: Mapping[str, Write]
    gaps: Callable[[JobContext, str], None]
    others: Mapping[str, Run]


class JobWorks:
    """Begins and ends the work of duties. Call it from one thread."""

    def __init__(self, context: JobContext, feeding: Feeding, services: Services) -> None:
        self._context = context
        self._feeding = feeding
        self._services = services
        self._writers = Writers(services.writers, self._thread)
        self._threads: dict[str, threading.Thread] = {}  # of the other duties

    def begin(self, holdings: Sequence[Holding]) -> None:
        """Begin the work of these duties. Returns at once."""
        sources, shards = ([each for each in holdings if each.duty.startswith(kind)] for kind in (SOURCE, WRITE))
        if sources:
            self._feeding.begin(sources)
        if shards:
            self._writers.begin(shards)
        for holding in holdings:
            if holding not in sources and holding not in shards:
                self._threads[holding.duty] = thread = self._thread(*self._loop(holding.duty), holding.stop)
                thread.start()

    def is_over(self, duty: str) -> bool:
        """Return True if the work of a duty has ended, after its `stop` was set."""
        if duty.startswith(SOURCE):
            return self._feeding.has_ended(duty)
        if duty.startswith(WRITE):
            return self._writers.is_over(duty)
        return not self._threads[duty].is_alive()

    def close(self) -> None:
        """End the threads that belong to no duty."""
        self._context.stop.set()
        self._feeding.close()

    def _loop(self, duty: str) -> tuple[str, Run]:
        """Name and loop of a duty."""
        if duty.startswith(GAPS):
            venue = duty.removeprefix(GAPS)
            return f"gaps-{venue}", lambda context: self._services.gaps(context, venue)
        return duty, self._services.others[duty]

    def _thread(self, name: str, run: Run, stop: threading.Event) -> LongLivedThread:
        """Return the thread of a loop; it beats at each check of its stop event."""
        return LongLivedThread(
            lambda stop: run(replace(self._context, stop=stop)),
            name=name,
            stop=stop,
            on_failure=self._context.fail,
            round_seconds=GAP_ROUND_SECONDS if name.startswith("gaps-") else ROUND_SECONDS,
        )
