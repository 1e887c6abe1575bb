"""The results as text (Markdown tables, readable in a terminal too), as JSON and as a plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import node
from tests.bench.fanout import Options
from tests.bench.figures import GOALS, OURS, Results, Spread
from tests.bench.servers import PEERS
from tests.bench.shapes import SHAPES

# figure -> heading; other figures are in the JSON file only
HEADINGS = {
    "cpu_us": "CPU µs/delivery",
    "deliveries_per_s": "deliveries/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "connect_cpu_us": "CPU µs/connection",
    "pss_kib": "KiB/client (PSS)",
    "uss_kib": "KiB/client (USS)",
    "idle_cpu_percent": "idle CPU %",
    "growth_kib": "KiB/stalled client",
    "before_p99_ms": "p99 ms before",
    "others_p99_ms": "p99 ms of the others",
    "p99_ratio": "÷ before",
}


def text(results: Results, options: Options) -> str:
    """Return the report as Markdown."""
    parts = ["\n".join(f"{name}: {value}" for name, value in machine().items()), _rounds(options)]
    parts += [_shape(results, shape) for shape in results.shapes]
    parts.append(_goals(results))
    return "\n\n".join(parts) + "\n"


def machine() -> dict[str, str]:
    """Return the machine and the versions of the run."""
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}, load average {os.getloadavg()[0]:.2f} at the end",
        "Python": f"{platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in ("Flask-SocketIO", "eventlet")),
        "Node and Socket.IO": node.version() or "none",
    }


def as_json(results: Results, options: Options) -> str:
    """Return every single measurement and the figures derived from it."""
    content: dict[str, Any] = {
        "machine": machine(),
        "options": asdict(options),
        "runs": [{"shape": run.shape, "peer": run.peer, "round": run.round + 1, **asdict(run.figures)} for run in results.runs],
        "figures": {
            shape: {
                figure: {peer: _plain(results.spread(shape, figure, peer)) for peer in results.peers(shape)}
                for figure in results.figures(shape)
            }
            for shape in results.shapes
        },
        "ratios": {
            shape: {
                figure: {peer: _plain(results.ratio(shape, figure, peer)) for peer in results.peers(shape) if peer != OURS}
                for figure in results.figures(shape)
            }
            for shape in results.shapes
        },
        "goals": [{**asdict(goal), "measured": _plain(results.reached(goal)), "floor": _plain(results.floor(goal))} for goal in GOALS],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def write(results: Results, options: Options, folder: Path) -> list[Path]:
    """Write all three; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "fanout.md", folder / "fanout.json", folder / "fanout.png"]
    files[0].write_text(text(results, options))
    files[1].write_text(as_json(results, options))
    from tests.bench import plot  # matplotlib takes a second to import

    plot.draw(results, files[2])
    return files


def _rounds(options: Options) -> str:
    offered = "permessage-deflate offered" if options.deflate else "no deflate offered"
    bound = "one CPU is reserved for the measured server" if options.pin else "no process is bound to a CPU"
    return (
        f"{options.rounds} rounds, peers in rotating order, {options.seconds:g} s of load a run, {offered}, {bound}. "
        "Each cell: min / **median** / max over the rounds; ratios are of the same round."
    )


def _shape(results: Results, shape: str) -> str:
    figures = [figure for figure in HEADINGS if figure in results.figures(shape)]
    rows = [["", *(HEADINGS[figure] for figure in figures)]]
    for peer in results.peers(shape):
        rows.append([PEERS[peer].label, *(cell(results.spread(shape, figure, peer)) for figure in figures)])
    for peer in results.peers(shape):
        if peer != OURS:
            rows.append([f"ratio to {PEERS[peer].label}", *(cell(results.ratio(shape, figure, peer)) for figure in figures)])
    notes = "".join(f"\n- {PEERS[peer].label}, round {number + 1}: {note}" for peer, number, note in results.notes(shape))
    return f"### ({shape}) {SHAPES[shape].title}\n\n{table(rows)}" + ("\n" + notes if notes else "")


def _goals(results: Results) -> str:
    rows = [["to reach, as medians", "at most", "measured", "", "the floor's own"]]
    for goal in GOALS:
        measured = results.reached(goal)
        verdict = "not measured" if measured is None else "reached" if measured.middle <= goal.most else "NOT reached"
        rows.append([goal.text, f"{goal.most:g}", cell(measured), verdict, cell(results.floor(goal))])
    return f"### Goals\n\n{table(rows)}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(rows[0]), line("-" * width for width in widths), *(line(row) for row in rows[1:])])


def cell(spread: Spread | None) -> str:
    """Return min, median and max as a cell."""
    return "–" if spread is None else f"{_short(spread.low)} / **{_short(spread.middle)}** / {_short(spread.high)}"


def _short(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _plain(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else {"min": spread.low, "median": spread.middle, "max": spread.high}
