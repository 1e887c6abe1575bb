"""Switches of the scenario, by REST and by `manage.py`: one check, one key, one confirmation."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from db.scenarios.fields import ScenarioError
from db.scenarios.files import ScenarioFolder, find_recording, recorded_lines
from db.scenarios.lines import BadLine
from db.scenarios.model import Overrides, Scenario
from db.scenarios.recording import LineChecker
from db.scenarios.unpacking import NotGzip, TooLarge
from db.timestamps import format_time

CONFIRM_SECONDS = 2.0
_POLL_SECONDS = 0.02
_CHECKED_LINES = 100  # of a recording, before it is wanted; the process `books` checks all


class ScenarioBus(Protocol):
    """The part of the bus that switches need."""

    def want_scenario(self, wanted: Mapping[str, Any]) -> None:
        """Keep the wanted scenario and inform the process `books`."""

    def latest_scenario_change(self) -> Mapping[str, Any] | None:
        """Return the last message `scenario_changed`."""


class UnknownScenario(ValueError):
    """There is no such scenario; `available` are the names that exist."""

    def __init__(self, name: str, available: Sequence[str]) -> None:
        super().__init__(f"there is no scenario {name!r}")
        self.name = name
        self.available = list(available)


class NotConfirmed(Exception):
    """The process `books` has not begun the run in time."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A confirmed switch. `previous` is the scenario before; `timestamp` is that of the change."""

    run_id: str
    current: str
    previous: str
    timestamp: str


def checked_scenario(
    scenarios: ScenarioFolder, name: str, values: Overrides, recordings: Sequence[Path], instruments: Collection[str] | None = None
) -> Scenario:
    """The scenario of a run with these values; `recordings` are folders.

    Its recordings exist and begin with lines of known instruments. Raises `UnknownScenario` and
    `ScenarioError`.
    """
    found = scenarios.scenarios.get(name)
    if found is None:
        raise UnknownScenario(name, list(scenarios.scenarios))
    scenario = found.scenario.with_overrides(values)
    for number, each in enumerate(scenario.recording):
        try:
            path = find_recording(each, recordings)
        except ScenarioError:
            raise ScenarioError("", {f"recording[{number}]": f"names {each}, which does not exist"}) from None
        if problem := _problem_of(path, instruments):
            raise ScenarioError("", {f"recording[{number}]": f"names {each}, which is no recording of depth: {problem}"})
    return scenario


def switch_scenario(
    bus: ScenarioBus,
    name: str,
    values: Overrides,
    now: datetime,
    *,
    seconds: float = CONFIRM_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Switch:
    """Begin a run of the scenario and wait until the process `books` confirms it.

    Raises `NotConfirmed` after `seconds`, and `BusError`.
    """
    run_id = str(uuid.uuid4())
    bus.want_scenario(wanted_body(run_id, name, values, now))
    end = monotonic() + seconds
    while True:
        change = bus.latest_scenario_change()
        if change is not None and change["run_id"] == run_id:
            return Switch(run_id, change["current_scenario"], change["previous_scenario"], change["timestamp"])
        if monotonic() >= end:
            raise NotConfirmed(f"the process books has not begun the scenario within {seconds:g} s")
        sleep(_POLL_SECONDS)


def wanted_body(run_id: str, name: str, values: Overrides, now: datetime) -> dict[str, Any]:
    """The wanted scenario as Redis keeps it; a value of None is that of the file."""
    return {
        "run_id": run_id,
        "scenario": name,
        "speed": values.speed,
        "seed": values.seed,
        "loop": values.loop,
        "recording": None if values.recording is None else list(values.recording),
        "faults": None if values.faults is None else [each.body() for each in values.faults],
        "requested": format_time(now),
    }


def _problem_of(path: Path, instruments: Collection[str] | None) -> str | None:
    """The fault of the first lines of a file; None if there is none."""
    checker = LineChecker(instruments)
    try:
        for line in islice(recorded_lines(path), _CHECKED_LINES):
            checker.take(line)
    except (BadLine, NotGzip, TooLarge) as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None
