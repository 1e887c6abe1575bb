"""The supervisor: starts children in order, restarts one that dies, stops all of them in order.

honcho does not fit: it stops all children if one ends.
"""

from __future__ import annotations

import logging
import random
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import TracebackType

from config.loops import HEARTBEATS
from config.pacing import ActiveTime, Outage, backoff
from config.process.acceptor import ErrorKind, kind_of
from ops.children import describe_end, kill_group, spawn, stop_asked, tail
from ops.process import Process, StartError, StopAsked, Unfit

__all__ = ["Process", "StartError", "StopAsked", "Supervisor", "Unfit"]

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
DELAY_SPREAD = 0.2  # so that children which died together do not restart at the same moment
STEADY_SECONDS = 60.0  # after a run of this length a child starts again with the first delay
WRITE_RETRY_SECONDS = 5.0  # between two attempts to report the pids
BLOCKED_SECONDS = 1.0  # between two checks whether a start would be in vain
WATCH = "watch"  # the loop of `supervise`
WATCH_ROUND_SECONDS = 30.0  # the longest round: one check of readiness of each child
_POLL_SECONDS = 0.1


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
    waits: bool = False  # because its start is blocked
    kill_at: float | None = None  # the end of its time to stop, while a restart is requested


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
        self._inherit, self._monotonic, self._jitter = inherit, clock, jitter
        self._clock = ActiveTime(clock)  # of the children; a pause of the supervisor is not their delay
        self._children: list[_Child] = []  # in the order of their start
        self._reported: dict[str, int] | None = None
        self._report_due = 0.0
        self._report_outage = Outage(log, "the processes are not reported", monotonic=self._clock)
        self._trouble = Outage(log, "a child is not looked after", monotonic=self._clock)
        self.stop_asked = False

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Name -> pid of the running children."""
        return {child.process.name: child.popen.pid for child in self._children if child.popen}

    @property
    def modules(self) -> dict[str, tuple[str, ...]]:
        """Name -> the modules of ours with which the child starts, of children that have some."""
        return {child.process.name: child.process.modules for child in self._children if child.process.modules}

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
            if self._wait_for_stop():
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

    def restart(self, names: Collection[str]) -> None:
        """Send the stop signal to these children; `supervise` starts each as soon as it has ended.

        A child that waits for its next start is started at once.
        """
        for child in self._children:
            if child.process.name not in names:
                continue
            child.failures, child.due = 0, self._clock()
            if child.popen and child.kill_at is None:
                child.popen.send_signal(child.process.stop_signal)
                child.kill_at = self._clock() + child.process.stop_seconds

    def supervise(self, changed: Callable[[dict[str, int]], None] = lambda pids: None, *each_round: Callable[[], None]) -> None:
        """Restart children that end, until a stop signal arrives.

        `changed` gets name -> pid as `report` does. Each of `each_round` is called after each look
        at the children.
        """
        HEARTBEATS.expect(WATCH, WATCH_ROUND_SECONDS)
        while not self._wait_for_stop():
            HEARTBEATS.beat(WATCH)
            try:
                for child in self._children:
                    self._tend(child)
            except OSError as error:
                if kind_of(error) is ErrorKind.UNKNOWN:
                    raise
                self._trouble.failed(error)
            else:
                self._trouble.recovered()
            self.report(changed)
            for look in each_round:
                look()
        HEARTBEATS.forget(WATCH)

    def report(self, changed: Callable[[dict[str, int]], None]) -> None:
        """Call `changed` with name -> pid, unless it has these pids already.

        An `OSError` of it is one warning, and the call is repeated after `WRITE_RETRY_SECONDS`.
        """
        pids = self.pids
        if pids == self._reported or self._clock() < self._report_due:
            return
        try:
            changed(pids)
        except OSError as error:
            self._report_outage.failed(error)
            self._report_due = self._clock() + WRITE_RETRY_SECONDS
        else:
            self._report_outage.recovered()
            self._reported = pids

    def _wait_for_stop(self) -> bool:
        self.stop_asked = stop_asked(_POLL_SECONDS) or self.stop_asked
        self._clock()  # the end of a round
        return self.stop_asked

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
        child.started, child.ready, child.kill_at = self._clock(), False, None
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
            if self._clock() >= child.due and not self._is_blocked(child):
                self._restart(child)
        elif (code := child.popen.poll()) is not None:
            self._end(child)
            if child.kill_at is None:
                self._schedule(child, describe_end(code))
            else:
                self._restart(child)
        elif child.kill_at is not None and self._clock() > child.kill_at:
            self._kill(child.process, child.popen)
        elif not child.ready and child.process.ready():
            child.ready = True
            log.info("ready again", extra={"child": child.process.name, "pid": child.popen.pid})

    def _is_blocked(self, child: _Child) -> bool:
        """Return True while a start would be in vain; log the begin of that time."""
        reason = child.process.blocked()
        if reason:
            child.due = self._clock() + BLOCKED_SECONDS
            if not child.waits:
                log.warning("child waits", extra={"child": child.process.name, "reason": reason})
        child.waits = bool(reason)
        return child.waits

    def _restart(self, child: _Child) -> None:
        try:
            self._launch(child)
        except StartError as error:
            child.started, child.kill_at = self._clock(), None
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
        began = self._monotonic()
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
            return popen.wait(max(0.0, began + process.stop_seconds - self._monotonic()))
        except subprocess.TimeoutExpired:
            self._kill(process, popen)
            return popen.wait()

    def _kill(self, process: Process, popen: subprocess.Popen[bytes]) -> None:
        log.warning("did not stop in time, killed", extra={"child": process.name, "limit_seconds": process.stop_seconds})
        kill_group(popen.pid)


def _spawn(process: Process, inherit: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return spawn(process.argv, env=process.env, log_file=process.log, inherit=inherit, death_signal=process.death_signal)
