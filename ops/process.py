"""The description of a child process, and the errors of its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals


class StartError(Exception):
    """A child cannot be started, ended while starting, or did not become ready in time.

    The text is for the operator.
    """


class Unfit(StartError):
    """The environment lacks something that the system needs; the text has the remedy."""


class StopAsked(Exception):
    """A stop signal arrived before everything had started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One child of the supervisor.

    `prepare` runs before every start and may raise `StartError`; `ready` is called until it returns
    True. While `blocked` returns a reason, a restart would be in vain, and waits. `env` is the
    whole environment of the child; None: that of the supervisor. Output is appended to `log`, or
    goes to the stderr of the supervisor. `modules` are those of ours with which it starts. Children
    of the same `stop_rank` stop together, lower ranks first. The kernel sends `death_signal` to the
    child if the supervisor itself is killed.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    log: Path | None = None
    modules: tuple[str, ...] = ()
    blocked: Callable[[], str] = lambda: ""
    prepare: Callable[[], None] = lambda: None
    ready: Callable[[], bool] = lambda: True
    ready_seconds: float = 60.0
    stop_signal: Signals = Signals.SIGTERM
    stop_seconds: float = 12.0
    stop_rank: int = 0
    death_signal: Signals = Signals.SIGTERM
