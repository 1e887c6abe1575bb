"""A scenario: load in phases, faults, and the queue that takes the load. Values only, pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from db.scenarios.fields import ScenarioError

OnFull = Literal["block", "resync"]
ON_FULL: tuple[OnFull, ...] = get_args(OnFull)

# The four that are part of the product, in the order of `GET /scenarios`.
SHIPPED = ("stable-mode", "burst-mode", "gradual-spike", "extreme-spike")
LOWEST_SPEED, HIGHEST_SPEED = 0.001, 1_000
RESERVED_NAMES = ("runs", "recordings")  # paths below /scenarios
is_scenario_name = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII).fullmatch
_is_recording_name = re.compile(r"[A-Za-z0-9_.-]{1,80}", re.ASCII).fullmatch


def is_recording_name(name: str) -> bool:
    """Return True for the name of a file without a path. `.` and `..` are none."""
    return _is_recording_name(name) is not None and name.strip(".") != ""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a scenario; the speed changes linearly from `first_speed` to `last_speed`."""

    seconds: float
    first_speed: float  # recorded seconds per second
    last_speed: float

    def body(self) -> dict[str, Any]:
        """The form of the scenario file."""
        speed: float | list[float] = self.first_speed if self.first_speed == self.last_speed else [self.first_speed, self.last_speed]
        return {"seconds": self.seconds, "speed": speed}


@dataclass(frozen=True, slots=True)
class FaultKind:
    """The fields of one kind of fault besides `at` and `every`.

    `needs_seconds`: `seconds` is required, because it is the duration of the fault or the age of a
    snapshot. `option` is the name of its own field, with bounds and default; None: no such field,
    and a default of None means that the field is required.
    """

    needs_seconds: bool = False
    longest_seconds: float = 86_400
    option: str | None = None
    lowest: float = 0
    highest: float = 0
    default: float | None = None


# kind -> its fields
FAULT_KINDS: Mapping[str, FaultKind] = {
    "drop": FaultKind(),
    "duplicate": FaultKind(),
    "reorder": FaultKind(),
    "corrupt": FaultKind(),
    "disconnect": FaultKind(needs_seconds=True),
    "silence": FaultKind(needs_seconds=True),
    "snapshot_late": FaultKind(needs_seconds=True, longest_seconds=600),  # messages of that time are held
    "snapshot_refused": FaultKind(option="retry_after", lowest=1, highest=600, default=1),
    "id_jump": FaultKind(option="ids", lowest=1, highest=1_000_000_000, default=1_000),
    # Below the default of BOOK_STALE_AFTER: a larger shift is a silence by its definition.
    "clock_skew": FaultKind(option="ms", lowest=-4_000, highest=4_000, default=2_000),
    "slow_database": FaultKind(option="ms", lowest=1, highest=60_000),
    "slow_bus": FaultKind(option="ms", lowest=1, highest=60_000),
    "slow_client": FaultKind(needs_seconds=True, option="clients", lowest=1, highest=50, default=1),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Exactly one of `at` (seconds) and `every` (messages) is set.

    `amount` is the value of the option of its kind; 0 if the kind has none.
    """

    kind: str
    at: float | None = None
    every: int | None = None
    seconds: float | None = None
    count: int | None = None
    amount: float = 0

    def body(self) -> dict[str, Any]:
        """The form of the scenario file, without fields that are not set."""
        fields = {"kind": self.kind, "at": self.at, "every": self.every, "seconds": self.seconds, "count": self.count}
        if option := FAULT_KINDS[self.kind].option:
            fields[option] = self.amount
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Overrides:
    """Values of one run that replace those of the file. None: the file's.

    `speed` multiplies the speed of each phase.
    """

    speed: float | None = None
    seed: int | None = None
    loop: bool | None = None
    recording: tuple[str, ...] | None = None
    faults: tuple[Fault, ...] | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario as it is played."""

    name: str
    description: str
    recording: tuple[str, ...]
    phases: tuple[Phase, ...]
    repeat: bool
    delay_ms: tuple[float, float]  # lowest and highest of a uniform distribution
    queue_max: int | None  # None: the setting SCENARIO_QUEUE_MAX
    on_full: OnFull
    faults: tuple[Fault, ...]
    seed: int

    @property
    def mean_delay(self) -> float:
        """Mean processing delay of a message, in seconds."""
        return sum(self.delay_ms) / 2_000

    def with_settings(self, *, queue_max: int, delay_ms: float | None) -> Scenario:
        """The scenario with SCENARIO_QUEUE_MAX, if its file has none, and with
        SCENARIO_PROCESSING_DELAY_MS, if that is set.
        """
        delays = self.delay_ms if delay_ms is None else (delay_ms, delay_ms)
        return replace(self, queue_max=queue_max if self.queue_max is None else self.queue_max, delay_ms=delays)

    def with_overrides(self, values: Overrides) -> Scenario:
        """The scenario of one run. Raises `ScenarioError` if a speed becomes too high."""
        factor = 1 if values.speed is None else values.speed
        highest = max(max(each.first_speed, each.last_speed) for each in self.phases)
        if highest * factor > HIGHEST_SPEED:
            raise ScenarioError(
                "", {"speed": f"makes the highest speed {highest:g} above {HIGHEST_SPEED}: use at most {HIGHEST_SPEED / highest:g}"}
            )
        return replace(
            self,
            phases=tuple(Phase(each.seconds, each.first_speed * factor, each.last_speed * factor) for each in self.phases),
            seed=self.seed if values.seed is None else values.seed,
            repeat=self.repeat if values.loop is None else values.loop,
            recording=self.recording if values.recording is None else values.recording,
            faults=self.faults if values.faults is None else values.faults,
        )

    def body(self) -> dict[str, Any]:
        """The form of the scenario file; the parameters of a run in the store."""
        low, high = self.delay_ms
        return {
            "name": self.name,
            "description": self.description,
            "recording": list(self.recording),
            "phases": _bodies(self.phases),
            "repeat": self.repeat,
            "processing_delay_ms": low if low == high else [low, high],
            "queue_max": self.queue_max,
            "on_full": self.on_full,
            "faults": _bodies(self.faults),
            "seed": self.seed,
        }


def _bodies(items: Sequence[Phase | Fault]) -> list[dict[str, Any]]:
    return [item.body() for item in items]
