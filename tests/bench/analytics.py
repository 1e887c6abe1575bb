"""The benchmark of the analytics: correlation and volatility against pandas and numpy.

It also measures the memory of a large matrix.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from jobs.analytics.correlation import METHODS, pearson
from jobs.analytics.returns import Floats
from jobs.analytics.volatility import ESTIMATORS, estimate
from tests.bench import series
from tests.bench.figures import Spread
from tests.bench.report import cell, table
from tests.bench.servers import ROOT

OURS = "tickwire"
INSTRUMENTS, HOURS, CANDLES, MANY = 500, 720, 1500, 5000


@dataclass(frozen=True, slots=True)
class Options:
    """A round measures every contender; the best of `repeats` calls counts."""

    parts: tuple[str, ...]
    rounds: int
    repeats: int


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement."""

    part: str
    contender: str
    label: str
    round: int
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Contender:
    """A function to time, at most `turns` times a round (fewer if it is slow)."""

    label: str
    call: Callable[[], object]
    turns: int = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark.

    `prepare` makes the data, checks that the results of Tickwire and a peer agree, and returns the
    contenders, Tickwire first.
    """

    title: str
    prepare: Callable[[], Mapping[str, Contender]]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a ratio of times in the same round.

    It is peer ÷ Tickwire, at least `bound`. If `floor` is set, it is Tickwire ÷ peer, at most
    `bound`.
    """

    part: str
    peer: str
    bound: float
    text: str
    floor: bool = False


def _agree(ours: Floats, theirs: Floats, size: float | Floats = 1.0) -> None:
    """Check that both agree to 1e-9 of `size`, except at cells that are NaN in either."""
    assert np.nanmax(np.abs(ours - theirs) / size) < 1e-9, "the results of Tickwire and the peer differ"


def _correlation() -> dict[str, Contender]:
    returns, complete = (series.returns_with_holes(INSTRUMENTS, HOURS, missing) for missing in (0.05, 0.0))
    frame = pd.DataFrame(np.ascontiguousarray(returns.T))
    _agree(pearson(returns).matrix, frame.corr().to_numpy())
    _agree(pearson(complete).matrix, np.asarray(np.corrcoef(complete)))
    return {
        OURS: Contender("Tickwire, 5 % missing", lambda: pearson(returns)),
        "complete": Contender("Tickwire, complete", lambda: pearson(complete)),
        "pandas": Contender("pandas `DataFrame.corr`, 5 % missing", lambda: frame.corr(), turns=5),
        "numpy": Contender("numpy `corrcoef`, complete", lambda: np.corrcoef(complete)),
    }


def _method(name: str, peer: Literal["spearman"] | None) -> dict[str, Contender]:
    returns = series.returns_with_holes(INSTRUMENTS, HOURS, 0.05)
    contenders = {OURS: Contender("Tickwire", partial(METHODS[name], returns, 30))}
    if peer:
        frame = pd.DataFrame(np.ascontiguousarray(returns.T))
        few = frame.iloc[:, :40]
        _agree(METHODS[name](returns[:40], 30).matrix, few.corr(peer).to_numpy())
        contenders["pandas"] = Contender(f'pandas `DataFrame.corr("{peer}")`', lambda: frame.corr(peer), turns=1)
    return contenders


def _volatility(missing: float) -> dict[str, Contender]:
    prices = series.candles_with_holes(INSTRUMENTS, CANDLES, missing)
    opens, highs, lows, closes = series.frames(prices)
    ours, theirs = estimate(prices, series.WINDOW, series.MINIMUM), series.pandas_estimators(opens, highs, lows, closes)
    for name in ESTIMATORS:
        if name != "ewma":  # pandas averages over all periods before, Tickwire over the window
            expected = theirs[name].to_numpy().T
            _agree(ours[name].volatility, expected, expected)
    return {
        OURS: Contender("Tickwire", lambda: estimate(prices, series.WINDOW, series.MINIMUM)),
        "pandas": Contender("pandas `rolling`", lambda: series.pandas_estimators(opens, highs, lows, closes)),
    }


PARTS = {
    "correlation": Part(f"Pearson, {INSTRUMENTS} × {HOURS} hours", _correlation),
    "spearman": Part(f"Spearman, {INSTRUMENTS} × {HOURS} hours, 5 % missing", lambda: _method("spearman", "spearman")),
    "ewma": Part(f"EWMA correlation, {INSTRUMENTS} × {HOURS} hours, 5 % missing", lambda: _method("ewma", None)),
    "volatility": Part(f"Six estimators, {INSTRUMENTS} × {CANDLES:,} candles", lambda: _volatility(0.0)),
    "volatility_holes": Part(f"Six estimators, {INSTRUMENTS} × {CANDLES:,} candles, 5 % missing", lambda: _volatility(0.05)),
}
MEMORY = "memory"

GOALS = (
    Goal("correlation", "pandas", 10.0, "Pearson: times faster than pandas"),
    Goal("correlation", "numpy", 4.0, "Pearson with 5 % missing ÷ numpy's corrcoef on complete data", floor=True),
    Goal("volatility", "pandas", 5.0, "six estimators: times faster than pandas rolling"),
)


def run_all(options: Options) -> list[Run]:
    """Measure every part in rounds."""
    runs: list[Run] = []
    for key in options.parts:
        if key == MEMORY:
            runs += [_memory(number) for number in range(min(options.rounds, 3))]
            continue
        contenders = PARTS[key].prepare()
        for number in range(options.rounds):
            for contender, milliseconds in _round(contenders, number, options.repeats).items():
                label = contenders[contender].label
                runs.append(Run(key, contender, label, number, {"ms": milliseconds}))
                print(f"{key}, round {number + 1}, {label}: {milliseconds:,.4g} ms", file=sys.stderr, flush=True)
    return runs


def _round(contenders: Mapping[str, Contender], number: int, repeats: int) -> dict[str, float]:
    """Return the best time of each contender in milliseconds.

    The contenders take turns, so that other load on the machine slows all of them.
    """
    names = list(contenders)
    names = names[number % len(names) :] + names[: number % len(names)]
    times: dict[str, float] = {}
    gc.collect()
    for turn in range(repeats):
        for name in names:
            if turn < contenders[name].turns:
                start = time.perf_counter()
                contenders[name].call()
                times[name] = min(times.get(name, math.inf), 1000 * (time.perf_counter() - start))
    return times


def text(runs: Sequence[Run], options: Options) -> str:
    """Return the report as Markdown."""
    facts = "\n".join(f"{name}: {value}" for name, value in _machine().items())
    about = (
        f"{options.rounds} rounds; contenders take turns, {options.repeats} calls each (fewer if they are slow), the best counts. "
        "Each cell: min / **median** / max over the rounds; ratios are of the same round."
    )
    parts = [_memory_table(runs) if key == MEMORY else _part(runs, key) for key in options.parts]
    return "\n\n".join([facts, about, *parts, _goals(runs)]) + "\n"


def write(runs: Sequence[Run], options: Options, folder: Path) -> Path:
    """Write the table and every single measurement; return the file of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": _machine(), "options": asdict(options), "runs": [asdict(run) for run in runs]}
    (folder / "analytics.json").write_text(json.dumps(content, indent=2))
    file = folder / "analytics.md"
    file.write_text(text(runs, options))
    return file


def _memory(number: int) -> Run:
    """Measure a large matrix in a separate process."""
    command = [sys.executable, "-m", "tests.bench.footprint", str(MANY), str(HOURS)]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(answer.stdout)
    print(f"{MEMORY}, round {number + 1}: {figures}", file=sys.stderr, flush=True)
    return Run(MEMORY, OURS, "Tickwire", number, figures)


def _machine() -> dict[str, str]:
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pandas"))
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "as many threads as CPUs")
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}, load average {os.getloadavg()[0]:.2f} at the end",
        "Python": f"{platform.python_version()}, {versions}; matrix products in {threads}",
    }


def _spread(runs: Sequence[Run], part: str, contender: str, figure: str) -> Spread:
    return Spread.of([run.figures[figure] for run in runs if (run.part, run.contender) == (part, contender)])


def _ratio(runs: Sequence[Run], part: str, above: str, below: str) -> Spread | None:
    times = {(run.contender, run.round): run.figures["ms"] for run in runs if run.part == part}
    ratios = [
        value / times[below, number] for (contender, number), value in times.items() if contender == above and (below, number) in times
    ]
    return Spread.of(ratios) if ratios else None


def _part(runs: Sequence[Run], key: str) -> str:
    labels = {run.contender: run.label for run in sorted(runs, key=lambda run: run.contender != OURS) if run.part == key}
    rows = [["", "ms", "÷ Tickwire's"]]
    rows += [
        [label, cell(_spread(runs, key, contender, "ms")), "" if contender == OURS else cell(_ratio(runs, key, contender, OURS))]
        for contender, label in labels.items()
    ]
    return f"### {PARTS[key].title}\n\n{table(rows)}"


def _memory_table(runs: Sequence[Run]) -> str:
    names = {
        "seconds": "seconds",
        "growth_mb": "most memory beyond the input, MB",
        "result_mb": "of it the result",
        "input_mb": "the input",
    }
    rows = [["", *names.values()], ["Tickwire", *(cell(_spread(runs, MEMORY, OURS, figure)) for figure in names)]]
    return f"### Pearson, {MANY:,} × {HOURS} hours, 5 % missing: memory, in a separate process\n\n{table(rows)}"


def _goals(runs: Sequence[Run]) -> str:
    rows = [["to reach, as medians", "", "measured", ""]]
    for goal in GOALS:
        spread = _ratio(runs, goal.part, *((OURS, goal.peer) if goal.floor else (goal.peer, OURS)))
        reached = spread is not None and (spread.middle <= goal.bound if goal.floor else spread.middle >= goal.bound)
        verdict = "not measured" if spread is None else "reached" if reached else "NOT reached"
        rows.append([goal.text, f"at {'most' if goal.floor else 'least'} {goal.bound:g}", cell(spread), verdict])
    return f"### Goals\n\n{table(rows)}"
