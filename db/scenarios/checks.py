"""From the JSON of a scenario file, or of a request, to values. Pure.

All faults of one text are reported together, each with its field: `phases[1].speed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from db.scenarios.fields import Fields, ScenarioError
from db.scenarios.model import (
    FAULT_KINDS,
    HIGHEST_SPEED,
    LOWEST_SPEED,
    ON_FULL,
    RESERVED_NAMES,
    Fault,
    Overrides,
    Phase,
    Scenario,
    is_recording_name,
    is_scenario_name,
)

_Part = TypeVar("_Part")

MAX_RECORDINGS, MAX_PHASES, MAX_FAULTS = 16, 100, 100
MAX_DESCRIPTION_CHARACTERS = 500
SHORTEST_PHASE_SECONDS, LONGEST_PHASE_SECONDS = 0.1, 86_400
MAX_DELAY_MS = 60_000
MAX_QUEUE = 1_000_000
MAX_SEED = 2**63 - 1  # a bigint in the store
_NAME_RULE = "must have 1 to 40 of a-z, 0-9 and -, and begin with a letter or digit"
_RECORDING_RULE = "must be the name of a file, without a path: 1 to 80 of A-Z, a-z, 0-9, _, . and -"


def parse_scenario(content: object, source: str) -> Scenario:
    """Read the content of a scenario file; `source` names the file in messages.

    Raises `ScenarioError` with the fault of each field.
    """
    fields = Fields.of(content, source)
    scenario = Scenario(
        name=_name(fields),
        description=fields.text("description", most=MAX_DESCRIPTION_CHARACTERS, default=""),
        recording=_recordings(fields),
        phases=tuple(_list(fields, "phases", _phase, least=1, most=MAX_PHASES)),
        repeat=fields.flag("repeat", default=False),
        delay_ms=fields.pair("processing_delay_ms", 0, MAX_DELAY_MS, rising=True),
        queue_max=fields.whole("queue_max", 1, MAX_QUEUE),
        on_full=fields.choice("on_full", ON_FULL, default="block"),
        faults=_faults(fields) or (),
        seed=fields.whole("seed", 0, MAX_SEED, default=1) or 0,
    )
    fields.finish()
    return scenario


def parse_overrides(content: object) -> Overrides:
    """Read the body of `POST /scenarios/{name}`. Raises `ScenarioError`."""
    fields = Fields.of(content, "")
    values = Overrides(
        speed=fields.number("speed", LOWEST_SPEED, HIGHEST_SPEED),
        seed=fields.whole("seed", 0, MAX_SEED),
        loop=fields.flag("loop") if fields.has("loop") else None,
        recording=_recordings(fields) if fields.has("recording") else None,
        faults=_faults(fields),
    )
    fields.finish()
    return values


def name_problem(name: str) -> str | None:
    """The reason why a scenario cannot have this name; None if it can."""
    if name in RESERVED_NAMES:
        return f"is reserved: {' and '.join(RESERVED_NAMES)} are paths of REST"
    return None if is_scenario_name(name) else _NAME_RULE


def _name(fields: Fields) -> str:
    name = fields.text("name", most=MAX_DESCRIPTION_CHARACTERS)
    if name and (problem := name_problem(name)):
        fields.fault("name", problem)
    return name


def _recordings(fields: Fields) -> tuple[str, ...]:
    names = fields.items("recording", least=1, most=MAX_RECORDINGS)
    for number, name in enumerate(names):
        if not isinstance(name, str) or not is_recording_name(name):
            fields.fault(f"recording[{number}]", _RECORDING_RULE)
    return tuple(str(name) for name in names)


def _faults(fields: Fields) -> tuple[Fault, ...] | None:
    return tuple(_list(fields, "faults", _fault, most=MAX_FAULTS)) if fields.has("faults") else None


def _list(fields: Fields, name: str, read: Callable[[Fields], _Part | None], *, least: int = 0, most: int) -> list[_Part]:
    """Read a list of objects; those with a fault are left out, and the fault is kept."""
    found = []
    for inner in fields.objects(name, least=least, most=most):
        part = read(inner)
        inner.unknown()
        if part is not None:
            found.append(part)
    return found


def _phase(fields: Fields) -> Phase:
    first, last = fields.pair("speed", LOWEST_SPEED, HIGHEST_SPEED)
    return Phase(fields.number("seconds", SHORTEST_PHASE_SECONDS, LONGEST_PHASE_SECONDS, required=True) or 0.0, first, last)


def _fault(fields: Fields) -> Fault | None:
    kind = fields.choice("kind", tuple(FAULT_KINDS))
    if fields.is_faulty("kind"):
        fields.ignore()
        return None
    rules = FAULT_KINDS[kind]
    at = fields.number("at", 0, LONGEST_PHASE_SECONDS)
    every = fields.whole("every", 1, MAX_QUEUE)
    if fields.has("at") == fields.has("every"):
        fields.fault("", "needs either at (seconds after the start) or every (messages)")
    amount = 0.0
    if rules.option:
        amount = fields.number(rules.option, rules.lowest, rules.highest, default=rules.default, required=rules.default is None) or 0.0
    return Fault(
        kind=kind,
        at=at,
        every=every,
        seconds=fields.number("seconds", 0.001, rules.longest_seconds, required=rules.needs_seconds),
        count=fields.whole("count", 1, MAX_QUEUE),
        amount=amount,
    )


def as_file(content: Mapping[str, Any], source: str, name: str) -> Scenario:
    """`parse_scenario` of the file that must have the given name of a scenario."""
    scenario = parse_scenario(content, source)
    if scenario.name != name:
        raise ScenarioError(source, {"name": f"is {scenario.name!r}, but the file's name says {name!r}: make them equal"})
    return scenario
