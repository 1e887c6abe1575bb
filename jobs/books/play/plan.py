"""Plans: what a stage plays. Made of a wanted scenario, a setting or a file, outside the worker."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from config.settings import SourceSpec
from db.scenarios.checks import parse_overrides
from db.scenarios.fields import ScenarioError
from db.scenarios.files import find_recording, load_recording, read_folder
from db.scenarios.model import HIGHEST_SPEED, Overrides, Phase, Scenario
from db.scenarios.recording import Recording

log = logging.getLogger("jobs.books")

MAX_LOADED = 4  # recordings that stay in memory: the same scenario starts again at once
_OVERRIDES = ("speed", "seed", "loop", "recording", "faults")
_PHASE_SECONDS = 3_600.0  # of a recording, which has one speed


@dataclass(frozen=True, slots=True)
class Plan:
    """A scenario with its recordings, ready to be played.

    `wanted` is the `run_id` of the command, None for a start by the settings. `loop` is False
    for a recording that plays once. `is_scenario` is False for a `replay:FILE`, whose exchange
    answers no requests and which is no run.
    """

    scenario: Scenario
    recordings: tuple[Recording, ...]
    run_id: str
    wanted: str | None = None
    is_scenario: bool = True
    loop: bool = True


class Recordings:
    """Recordings by file; a file that has changed is read again."""

    def __init__(self, folders: Sequence[Path], instruments: Callable[[], Collection[str] | None]) -> None:
        self._folders = folders
        self._instruments = instruments
        self._loaded: dict[tuple[Path, int, int], Recording] = {}  # file, time and size -> recording, the newest last

    def named(self, name: str) -> Recording:
        """The recording of that name in the folders. Raises `ScenarioError`."""
        return self.load(find_recording(name, self._folders))

    def load(self, path: Path) -> Recording:
        """The recording in a file. Raises `ScenarioError`."""
        try:
            facts = path.stat()
        except OSError as error:
            raise ScenarioError(path.name, {"": f"cannot be read: {error.strerror}"}) from error
        key = path, facts.st_mtime_ns, facts.st_size
        found = self._loaded.pop(key, None)
        self._loaded[key] = load_recording(path, self._instruments()) if found is None else found
        while len(self._loaded) > MAX_LOADED:
            del self._loaded[next(iter(self._loaded))]
        return self._loaded[key]


@dataclass(frozen=True, slots=True)
class PlanMaker:
    """Makes plans. `queue_max` and `delay_ms` are settings; both methods raise `ScenarioError`."""

    folder: Path  # of the scenario files
    recordings: Recordings
    queue_max: int
    delay_ms: float | None

    def of_name(self, name: str) -> Plan:
        """The plan of a scenario as its file has it."""
        return self._plan(name, Overrides(), str(uuid.uuid4()), None)

    def of_command(self, command: Mapping[str, Any], run_id: str | None = None) -> Plan:
        """The plan of a wanted scenario; with another `run_id` if that run has been played."""
        name, wanted = command.get("scenario"), command.get("run_id")
        if not isinstance(name, str) or not isinstance(wanted, str):
            raise ScenarioError("", {"scenario": "and run_id must be texts"})
        values = parse_overrides({field: command[field] for field in _OVERRIDES if command.get(field) is not None})
        return self._plan(name, values, run_id or wanted, wanted)

    def of_source(self, spec: SourceSpec) -> Plan:
        """The plan of a `replay:FILE` of raw lines."""
        if spec.file is None:
            raise ScenarioError("", {"": "a recording needs a file"})
        recording = self.recordings.load(spec.file)
        speed = float(HIGHEST_SPEED) if spec.speed is None else min(spec.speed, float(HIGHEST_SPEED))
        scenario = Scenario(
            name=spec.name,
            description="",
            recording=(spec.file.name,),
            phases=(Phase(_PHASE_SECONDS, speed, speed),),
            repeat=True,
            delay_ms=(0.0, 0.0),
            queue_max=self.queue_max,
            on_full="block",
            faults=(),
            seed=1,
        )
        return Plan(scenario, (recording,), "", is_scenario=False, loop=spec.loop)

    def _plan(self, name: str, values: Overrides, run_id: str, wanted: str | None) -> Plan:
        folder = read_folder(self.folder)
        if name not in folder.scenarios:
            problems = "; ".join(map(str, folder.problems.values()))
            raise ScenarioError(
                "", {"scenario": f"{name} is not one of {', '.join(folder.scenarios)}" + (f" ({problems})" if problems else "")}
            )
        scenario = folder.scenarios[name].scenario.with_overrides(values)
        scenario = scenario.with_settings(queue_max=self.queue_max, delay_ms=self.delay_ms)
        return Plan(scenario, tuple(map(self.recordings.named, scenario.recording)), run_id, wanted)


def with_new_run(plan: Plan) -> Plan:
    """The same plan as another run."""
    return replace(plan, run_id=str(uuid.uuid4()))
