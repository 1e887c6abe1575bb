"""The checks of this process: when each runs, and which parts fail."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

from config.loops import HEARTBEATS, Heartbeats
from health.probe import CONNECTED, DISCONNECTED, CheckFailed, HealthProbe
from health.timing import DEFAULT, Timing

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Checked:
    """One part: its running check, and the results so far."""

    probe: HealthProbe
    running: Future[CheckFailed | None] | None = None
    begun: float = float("-inf")  # of the last check
    succeeded: float | None = None
    failure: CheckFailed | None = None  # of the last check
    tried: bool = False


class OwnChecks:
    """Runs the checks of this process. Call `tick` from one thread; any thread may read.

    A part fails if its last success is older than `timing.unhealthy`, or if it never succeeded.
    """

    def __init__(
        self,
        probes: Sequence[HealthProbe],
        *,
        timing: Timing = DEFAULT,
        heartbeats: Heartbeats = HEARTBEATS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = {probe.part: _Checked(probe) for probe in probes}
        self._timing = timing
        self._heartbeats = heartbeats
        self._monotonic = monotonic

    def tick(self) -> None:
        """Take the results that have come and begin the checks that are due. Waits for nothing."""
        for part in self._parts.values():
            self._take(part)
            if part.running is None and self._monotonic() - part.begun >= self._timing.check:
                self._begin(part)

    def check_now(self) -> None:
        """Run every check and wait for the results, at most for the limit of a check."""
        for part in self._parts.values():
            self._take(part)
            if part.running is None:
                self._begin(part)
        wait([part.running for part in self._parts.values() if part.running], timeout=self._timing.limit)
        for part in self._parts.values():
            self._take(part)
            if part.running is not None:
                self._fail(part)

    @property
    def tried(self) -> bool:
        """True once every check has a result."""
        return all(part.tried for part in self._parts.values())

    @property
    def running(self) -> set[str]:
        """The parts whose check has no answer yet."""
        return {name for name, part in self._parts.items() if part.running is not None and not part.running.done()}

    def last_state(self, name: str) -> str:
        """The state that the last check found."""
        failure = self._parts[name].failure
        return failure.state if failure else CONNECTED

    def failing(self) -> dict[str, str]:
        """Part -> reason, of the parts that fail and of the loops that are silent."""
        failed = {name: str(part.failure) for name, part in self._parts.items() if self._fails(part)}
        return failed | self.silent_loops()

    def silent_loops(self) -> dict[str, str]:
        """Loop -> reason, of the loops of this process that have missed three rounds."""
        return {loop: f"silent for {seconds:.0f} s" for loop, seconds in self._heartbeats.silent().items()}

    def _begin(self, part: _Checked) -> None:
        part.begun = self._monotonic()
        part.running = part.probe.ask()

    def _take(self, part: _Checked) -> None:
        if part.running is None:
            return
        if part.running.done():
            part.failure, part.running, part.tried = part.running.result(), None, True
            if part.failure is None:
                part.succeeded = self._monotonic()
        elif self._monotonic() - part.begun > self._timing.limit:
            self._fail(part)

    def _fail(self, part: _Checked) -> None:
        """Count a check without an answer as failed. It goes on, and none begins before its end."""
        part.failure, part.tried = CheckFailed(DISCONNECTED, f"no answer within {self._timing.limit:g} s"), True

    def _fails(self, part: _Checked) -> bool:
        if part.failure is None:
            return False
        return part.succeeded is None or self._monotonic() - part.succeeded > self._timing.unhealthy


class Transitions:
    """Logs the begin and the end of each failure once, with the part and the reason."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since: dict[str, float] = {}  # part -> monotonic time of its failure

    def note(self, failing: Mapping[str, str]) -> None:
        """Compare the parts that fail now with those before."""
        now = self._monotonic()
        for part, reason in failing.items():
            if part not in self._since:
                self._since[part] = now
                log.error("a part fails", extra={"part": part, "reason": reason})
        for part in self._since.keys() - failing.keys():
            log.info("a part works again", extra={"part": part, "seconds": round(now - self._since.pop(part), 3)})
