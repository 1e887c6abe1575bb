"""The benchmark of hostile clients: `python -m tests.bench hardening`.

A part is a module with `PART`; `PARTS` lists them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import costs_of_events, floods, slow_rest
from tests.bench.bars import Measured, Part, verdicts
from tests.bench.fanout import Ground

PARTS: dict[str, Part] = {
    "floods": floods.PART,
    "events": costs_of_events.PART,
    "slow": slow_rest.SLOW,
    "malformed": slow_rest.MALFORMED,
}


def run_all(place: Ground, parts: Sequence[str], rounds: int, quick: bool) -> dict[str, list[Measured]]:
    """Return the values of all rounds by part."""
    found: dict[str, list[Measured]] = {key: [] for key in parts}
    for number in range(rounds):
        for key in parts:
            for value in PARTS[key].run(place, quick):
                print(f"[{key}, round {number + 1}] {value.case}, {value.label}: {value.value:.4g}", file=sys.stderr, flush=True)
                found[key].append(value)
    return found


def write(found: dict[str, list[Measured]], out: Path) -> Path:
    """Write the report and return its path."""
    out.mkdir(parents=True, exist_ok=True)
    sections = [f"### {PARTS[key].title}\n\n{verdicts(values)}\n" for key, values in found.items()]
    file = out / "hardening.md"
    file.write_text("## Hostile clients\n\n" + "\n".join(sections))
    return file
