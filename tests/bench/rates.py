"""Part of `python -m tests.bench fanout`: the cost of `max_rate`, and the evenness of its ticks.

The fan-out runs on a manual clock and writes to `/dev/null`. A child process measures it, so that
`before` may be the folder of another checkout: both then have the same load in the same run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import orjson

from tests.bench.report import table

_ROOT = Path(__file__).resolve().parents[2]
_CHILD = Path(__file__).with_name("rates_child.py")
GOALS = {"cpu": 1.05, "tick": 2.0}
_LABELS = {
    "joint_us": "CPU per delivered message, 300 clients × 20 rooms at `max_rate` 5, µs",
    "slots_us": "CPU per delivered message, 20 clients × 1,000 rooms at `max_rate` 1, µs",
    "tick_max": "largest tick, 5,000 instruments at `max_rate` 1, messages",
    "tick_ratio": "… ÷ mean of its slots",
}

Row = Mapping[str, float]


def text(before: Path | None, rounds: int) -> str:
    """Return the tables of the figures and the goals, in Markdown."""
    folders = {"now": _ROOT} if before is None else {"now": _ROOT, "before": before.resolve()}
    found: dict[str, list[Row]] = {name: [] for name in folders}
    for _ in range(rounds):
        for name, folder in folders.items():
            found[name].append(_measured(folder))
    rows = [[label, *(_cell([row[key] for row in found[name]]) for name in folders)] for key, label in _LABELS.items()]
    return f"{table([['', *folders], *rows])}\n\n{table([['to reach', 'at most', 'measured', ''], *_goals(found)])}"


def _measured(folder: Path) -> Row:
    environ = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, str(_CHILD)], env=environ, cwd=folder, check=True, capture_output=True)
    row: Row = orjson.loads(done.stdout)
    return row


def _goals(found: Mapping[str, list[Row]]) -> list[list[str]]:
    tick = max(row["tick_ratio"] for row in found["now"])
    goals = [_goal("largest tick ÷ mean of its slots", "tick", tick)]
    if "before" in found:
        ratio = median(row["joint_us"] for row in found["now"]) / median(row["joint_us"] for row in found["before"])
        goals.append(_goal("CPU per delivered message at `max_rate` 5 ÷ before", "cpu", ratio))
    return goals


def _goal(label: str, key: str, value: float) -> list[str]:
    return [label, f"{GOALS[key]:g}", f"{value:.2f}", "reached" if value <= GOALS[key] else "NOT reached"]


def _cell(values: list[float]) -> str:
    least, middle, most = (f"{each:.3g}" if each < 1000 else f"{each:,.0f}" for each in (min(values), median(values), max(values)))
    return f"{least} / **{middle}** / {most}"
