"""The benchmark of ingest and history: trades to rows, ticks to candles, reads and exports."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench import reads, rollup, trades
from tests.bench.fanout import Ground
from tests.bench.figures import Spread
from tests.bench.report import cell, machine, table

OURS = "tickwire"


@dataclass(frozen=True, slots=True)
class Options:
    """The parts to run and their sizes."""

    parts: tuple[str, ...]
    rounds: int
    trades: int
    ticks: int
    export_rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement: figures of one contender in one round of one part."""

    part: str
    contender: str
    round: int
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a median: Tickwire's figure (`against` is None) or its ratio to a peer's.

    It is a lower bound; if `most` is set, an upper bound.
    """

    part: str
    figure: str
    against: str | None
    bound: float
    text: str
    most: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark: title, contenders (Tickwire first) and the function that measures one."""

    title: str
    labels: dict[str, str]
    measure: Callable[[Ground, str, Options], dict[str, float]]
    prepare: Callable[[Ground, Options], None] = field(default=lambda ground, options: None)


PARTS = {
    "trades": Part("Binance messages on a local socket to committed rows", trades.LABELS, lambda g, w, o: trades.measure(g, w, o.trades)),
    "rollup": Part(
        "Ticks to candles",
        rollup.LABELS,
        lambda g, w, o: rollup.measure(g, w, o.ticks),
        lambda g, o: rollup.prepare(g, o.ticks),
    ),
    "candles": Part(
        "`/candles`, 1,000 rows",
        reads.CANDLE_LABELS,
        lambda g, w, o: reads.measure_candles(g, w, o.seconds),
        lambda g, o: reads.prepare_candles(g),
    ),
    "export": Part(
        "CSV export",
        reads.EXPORT_LABELS,
        lambda g, w, o: reads.measure_export(g, w, o.export_rows),
        lambda g, o: reads.prepare_export(g, o.export_rows),
    ),
}

GOALS = (
    Goal("trades", "rows_per_s", "copy", 0.4, "trades: rows/s ÷ psql's \\copy"),
    Goal("trades", "rows_per_s", "execute_values", 3.0, "trades: rows/s ÷ execute_values in hundreds"),
    Goal("trades", "rss_mb", None, 512, "trades: most memory, MB", most=True),
    Goal("candles", "requests_per_s", "bare", 0.7, "/candles: requests/s ÷ the bare SQL through fetchall"),
    Goal("candles", "requests_per_s", "fastapi", 1.5, "/candles: requests/s ÷ FastAPI + asyncpg + orjson"),
    Goal("export", "rows_per_s", "psql", 0.7, "export: rows/s ÷ psql's COPY of the same query"),
    Goal("export", "growth_mb", None, 20, "export: memory growth, MB", most=True),
)


def run_all(ground: Ground, options: Options) -> list[Run]:
    """Measure every part; the order of its contenders rotates from round to round."""
    runs = []
    for key in options.parts:
        part = PARTS[key]
        part.prepare(ground, options)
        for number in range(options.rounds):
            names = list(part.labels)
            for contender in names[number % len(names) :] + names[: number % len(names)]:
                runs.append(Run(key, contender, number, part.measure(ground, contender, options)))
                values = "  ".join(f"{name} {value:,.4g}" for name, value in runs[-1].figures.items())
                print(f"{key}, round {number + 1}, {part.labels[contender]}: {values}", file=sys.stderr, flush=True)
    return runs


def text(runs: Sequence[Run], options: Options) -> str:
    """Return the report as Markdown."""
    facts = "\n".join(f"{name}: {value}" for name, value in machine().items())
    about = (
        f"{options.rounds} rounds, contenders in rotating order. Each cell: min / **median** / max over the rounds; "
        "ratios are of the same round."
    )
    return "\n\n".join([facts, about, *(_part(runs, key) for key in options.parts), _goals(runs)]) + "\n"


def write(runs: Sequence[Run], options: Options, folder: Path) -> Path:
    """Write the table and every single measurement; return the file of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ingest.json").write_text(
        json.dumps({"machine": machine(), "options": asdict(options), "runs": [asdict(run) for run in runs]}, indent=2)
    )
    file = folder / "ingest.md"
    file.write_text(text(runs, options))
    return file


def _values(runs: Iterable[Run], part: str, contender: str, figure: str) -> dict[int, float]:
    return {run.round: run.figures[figure] for run in runs if (run.part, run.contender) == (part, contender) and figure in run.figures}


def _ratio(runs: Sequence[Run], part: str, against: str, figure: str) -> Spread | None:
    ours, theirs = _values(runs, part, OURS, figure), _values(runs, part, against, figure)
    ratios = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
    return Spread.of(ratios) if ratios else None


def _part(runs: Sequence[Run], key: str) -> str:
    part = PARTS[key]
    figures = list(dict.fromkeys(name for run in runs if run.part == key for name in run.figures))
    rows = [["", *(name.replace("_per_", "/").replace("_", " ") for name in figures)]]
    for contender, label in part.labels.items():
        values = [_values(runs, key, contender, figure) for figure in figures]
        rows.append([label, *(cell(Spread.of(list(each.values())) if each else None) for each in values)])
    for contender, label in part.labels.items():
        if contender != OURS:
            rows.append([f"ratio to {label}", *(cell(_ratio(runs, key, contender, figure)) for figure in figures)])
    return f"### {part.title}\n\n{table(rows)}"


def _goals(runs: Sequence[Run]) -> str:
    rows = [["to reach, as medians", "", "measured", ""]]
    for goal in GOALS:
        if goal.against is None:
            alone = _values(runs, goal.part, OURS, goal.figure)
            spread = Spread.of(list(alone.values())) if alone else None
        else:
            spread = _ratio(runs, goal.part, goal.against, goal.figure)
        reached = spread is not None and (spread.middle <= goal.bound if goal.most else spread.middle >= goal.bound)
        verdict = "not measured" if spread is None else "reached" if reached else "NOT reached"
        rows.append([goal.text, f"at {'most' if goal.most else 'least'} {goal.bound:g}", cell(spread), verdict])
    return f"### Goals\n\n{table(rows)}"
