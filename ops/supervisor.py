"""The supervisor: starts children in order, restarts one that dies, stops all of them in order.

(honcho, which the design names first, ends everything when one child dies, so it does not fit.)
"""

from __future__ import annotations

import logging
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from types import TracebackType

from ops.children import describe_end, kill_group, spawn, stop_asked, tail

log = logging.getLogger(__name__)

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
STEADY_SECONDS = 60.0  # a child that ran this long before it died starts over with the first delay
_POLL_SECONDS = 0.1


class StartError(Exception):
    """A child cannot be started, died while starting or never became ready; the text is for the operator."""


class StopAsked(Exception):
    """A stop signal arrived before everything had started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What the supervisor knows of one child.

    `prepare` runs before every start and may raise `StartError`; `ready` is asked until it says True. `env` is the child's
    whole environment; None is ours. Output is appended to `log`, or passes through to our stderr. Children of the same `stop_rank`
    stop together, lower ranks first. `death_signal` is what the kernel sends it when the supervisor itself is killed.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    log: Path | None = None
    prepare: Callable[[], None] = lambda: None
    ready: Callable[[], bool] = lambda: True
    ready_seconds: float = 60.0
    stop_signal: Signals = Signals.SIGTERM
    stop_seconds: float = 12.0
    stop_rank: int = 0
    death_signal: Signals = Signals.SIGTERM


def backoff(failures: int, luck: float) -> float:
    """Seconds before the next start, after `failures` earlier ones in a row.

    `luck`, in [0, 1), takes up to a fifth off, so that children which fell together do not all come back at once.
    """
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 16)) * (1 - 0.2 * luck)


@dataclass(slots=True)
class _Child:
    process: Process
    popen: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    ready: bool = False
    failures: int = 0
    due: float = 0.0  # when to start it again, while popen is None


class Supervisor:
    """Children by the order they were started in. Use it in one thread (the kernel ties a child to the thread that started it), in
    a `with` block, after `hold_stop_signals()`: leaving the block stops every child.

    `inherit` are file descriptors that every child keeps open.
    """

    def __init__(
        self,
        *,
        inherit: tuple[int, ...] = (),
        clock: Callable[[], float] = time.monotonic,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._inherit, self._clock, self._luck = inherit, clock, luck
        self._children: list[_Child] = []

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """name → pid of the children that run now."""
        return {child.process.name: child.popen.pid for child in self._children if child.popen}

    def start(self, *processes: Process) -> None:
        """Start these side by side and return when all are ready; `StartError` when one dies or takes too long, `StopAsked` on a
        stop signal. Children started earlier are watched meanwhile."""
        earlier, new = list(self._children), [_Child(process) for process in processes]
        for child in new:
            self._children.append(child)
            self._launch(child)
        while not all(child.ready for child in new):
            if stop_asked(_POLL_SECONDS):
                raise StopAsked
            for child in new:
                self._check_start(child)
            for child in earlier:
                self._tend(child)

    def supervise(self, changed: Callable[[dict[str, int]], None] = lambda pids: None) -> None:
        """Restart what dies until a stop signal arrives. `changed` gets name → pid at once and whenever that is different."""
        told: dict[str, int] | None = None
        while not stop_asked(_POLL_SECONDS):
            try:
                for child in self._children:
                    self._tend(child)
                if self.pids != told:
                    told = self.pids
                    changed(told)
            except Exception:
                log.exception("watching the children failed, going on")

    def stop(self) -> None:
        """Stop every child, rank by rank, with SIGKILL for one that takes longer than its limit."""
        for rank in sorted({child.process.stop_rank for child in self._children}):
            self._stop_together([child for child in self._children if child.process.stop_rank == rank and child.popen])
        self._children.clear()

    def _launch(self, child: _Child) -> None:
        try:
            child.process.prepare()
            child.popen = _spawn(child.process, self._inherit)
        except OSError as error:
            raise StartError(f"{child.process.name} cannot be started: {error}") from error
        child.started, child.ready = self._clock(), False
        log.info("started", extra={"child": child.process.name, "pid": child.popen.pid})

    def _check_start(self, child: _Child) -> None:
        process = child.process
        assert child.popen is not None  # noqa: S101  # start() launched it
        code = child.popen.poll()
        if code is not None:
            raise StartError(f"{process.name} ended while starting ({describe_end(code)}){tail(process.log)}")
        if not child.ready:
            child.ready = process.ready()
        if not child.ready and self._clock() - child.started > process.ready_seconds:
            raise StartError(f"{process.name} was not ready within {process.ready_seconds:.0f} s{tail(process.log)}")

    def _tend(self, child: _Child) -> None:
        if child.popen is None:
            if self._clock() >= child.due:
                self._restart(child)
        elif (code := child.popen.poll()) is not None:
            self._end(child)
            self._schedule(child, describe_end(code))
        elif not child.ready and child.process.ready():
            child.ready = True
            log.info("ready again", extra={"child": child.process.name, "pid": child.popen.pid})

    def _restart(self, child: _Child) -> None:
        try:
            self._launch(child)
        except StartError as error:
            child.started = self._clock()
            self._schedule(child, str(error))

    def _schedule(self, child: _Child, reason: str) -> None:
        if self._clock() - child.started >= STEADY_SECONDS:
            child.failures = 0
        delay = backoff(child.failures, self._luck())
        child.failures += 1
        child.due = self._clock() + delay
        name = child.process.name
        log.error(f"{name} ended, restarting", extra={"child": name, "reason": reason, "delay_seconds": round(delay, 2)})  # noqa: G004

    def _end(self, child: _Child) -> None:
        """Bury a child that has ended, with whatever is left of its process group (a worker still holds the port)."""
        assert child.popen is not None  # noqa: S101  # only a started child ends
        kill_group(child.popen.pid)
        child.popen = None

    def _stop_together(self, children: list[_Child]) -> None:
        began = self._clock()
        for child in children:
            if child.popen:
                child.popen.send_signal(child.process.stop_signal)
        for child in children:
            if child.popen:
                code = self._wait(child.process, child.popen, began)
                self._end(child)
                log.info("stopped", extra={"child": child.process.name, "reason": describe_end(code)})

    def _wait(self, process: Process, popen: subprocess.Popen[bytes], began: float) -> int:
        try:
            return popen.wait(max(0.0, began + process.stop_seconds - self._clock()))
        except subprocess.TimeoutExpired:
            log.warning("did not stop in time, killed", extra={"child": process.name, "limit_seconds": process.stop_seconds})
            kill_group(popen.pid)
            return popen.wait()


def _spawn(process: Process, inherit: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return spawn(process.argv, env=process.env, log_file=process.log, inherit=inherit, death_signal=process.death_signal)
