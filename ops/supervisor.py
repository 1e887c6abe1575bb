"""The supervisor: starts children in order, restarts one that dies, stops all of them in order.

honcho does not fit: it stops all children if one ends.
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

from config.pacing import backoff
from ops.children import describe_end, kill_group, spawn, stop_asked, tail

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
DELAY_SPREAD = 0.2  # so that children which died together do not restart at the same moment
STEADY_SECONDS = 60.0  # after a run of this length a child starts again with the first delay
_POLL_SECONDS = 0.1


class StartError(Exception):
    """A child cannot be started, ended while starting, or did not become ready in time.

    The text is for the operator.
    """


class StopAsked(Exception):
    """A stop signal arrived before everything had started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One child of the supervisor.

    `prepare` runs before every start and may raise `StartError`; `ready` is called until it returns
    True. `env` is the whole environment of the child; None: that of the supervisor. Output is
    appended to `log`, or goes to the stderr of the supervisor. Children of the same `stop_rank`
    stop together, lower ranks first. The kernel sends `death_signal` to the child if the supervisor
    itself is killed.
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


def restart_delay(attempt: int, jitter: float) -> float:
    """Return the seconds before restart `attempt` (from 1) of a child that died early each time.

    `jitter` is in [0, 1].
    """
    return backoff(attempt, first=FIRST_DELAY_SECONDS, longest=LONGEST_DELAY_SECONDS, jitter=jitter, spread=DELAY_SPREAD)


@dataclass(slots=True)
class _Child:
    process: Process
    popen: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    ready: bool = False
    failures: int = 0
    due: float = 0.0  # time of the next start, while popen is None


class Supervisor:
    """Starts, restarts and stops children; the end of its `with` block stops all of them.

    Use it in one thread, as the kernel ties a child to the thread that started it, and after
    `hold_stop_signals()`. `inherit` are file descriptors that every child keeps open. `jitter`
    returns random numbers in [0, 1].
    """

    def __init__(
        self,
        *,
        inherit: tuple[int, ...] = (),
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._inherit, self._clock, self._jitter = inherit, clock, jitter
        self._children: list[_Child] = []  # in the order of their start

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Name -> pid of the running children."""
        return {child.process.name: child.popen.pid for child in self._children if child.popen}

    def start(self, *processes: Process) -> None:
        """Start the processes together and return when all are ready.

        Earlier children are watched meanwhile.

        Raises `StartError` if one ends or takes too long, and `StopAsked` on a stop signal.
        """
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

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Watch the children until `condition()` is true. Raises `StopAsked` on a stop signal."""
        while not condition():
            if stop_asked(_POLL_SECONDS):
                raise StopAsked
            for child in self._children:
                self._tend(child)

    def supervise(self, changed: Callable[[dict[str, int]], None] = lambda pids: None) -> None:
        """Restart children that end, until a stop signal arrives.

        `changed` gets name -> pid at once and after every change.
        """
        reported: dict[str, int] | None = None
        while not stop_asked(_POLL_SECONDS):
            try:
                for child in self._children:
                    self._tend(child)
                if self.pids != reported:
                    reported = self.pids
                    changed(reported)
            except Exception:
                log.exception("supervision failed, continuing")

    def stop(self) -> None:
        """Stop all children, rank by rank; a child that exceeds its limit gets SIGKILL."""
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
        child.failures += 1
        delay = restart_delay(child.failures, self._jitter())
        child.due = self._clock() + delay
        fields = {"child": child.process.name, "reason": reason, "delay_seconds": round(delay, 2)}
        log.error("child ended, restarting", extra=fields)

    def _end(self, child: _Child) -> None:
        """Forget a child that has ended, and kill the rest of its process group.

        A worker may still hold the port.
        """
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
