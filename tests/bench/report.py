"""The results as text (Markdown tables, readable in a terminal too), as JSON and as a plot."""

from __future__ import annotations

import json
import os
import platform
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import npm
from tests.bench.fanout import Options, Run
from tests.bench.figures import GOALS, OURS, Results, Spread
from tests.bench.measure import DISTURBED, Figures
from tests.bench.servers import LOOP, PEERS
from tests.bench.shapes import RECEIVE_SHAPES, SHAPES

# figure -> heading; other figures are in the JSON file only
HEADINGS = {
    "cpu_us": "CPU µs/delivery",
    "deliveries_per_s": "deliveries/s",
    "delivered_percent": "delivered %",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "connect_cpu_us": "CPU µs/connection",
    "one_cpu_us": "… one after the other, subscribed",
    "some_cpu_us": "… 64 at a time, subscribed",
    "all_cpu_us": "… all at once, subscribed",
    "storm_cpu_us": "… back with `since`, 50 prices",
    "storm_s": "s until all are back",
    "pss_kib": "KiB/client (PSS)",
    "uss_kib": "KiB/client (USS)",
    "idle_cpu_percent": "idle CPU %",
    "stalled_kib": "KiB/stalled client",
    "kernel_kib": "… in the kernel",
    "growth_kib": "… in the process",
    "before_p99_ms": "p99 ms before",
    "others_p99_ms": "p99 ms of the others",
    "p99_ratio": "÷ before",
    "message_us_10k": "CPU µs/message at 10,000/s",
    "p99_ms_10k": "p99 ms",
    "lost_10k": "lost",
    "message_us_25k": "CPU µs/message at 25,000/s",
    "p99_ms_25k": "p99 ms",
    "published_per_s_25k": "messages/s",
    "lost_25k": "lost",
    "alone_us": "CPU µs/delivery without",
    "churn_us": "CPU µs/delivery",
    "churn_ratio": "÷ without",
    "visit_cpu_us": "CPU µs/connection and end",
}
OTHERS = "other programs"
_SUMMARISED = ("a", "b", "b2", "c", "s")
_WIDTH = 100  # of a line of a document
RECEIVE_HEADING, _RATIO_HEADING = "CPU, receive side on another CPU", "Tickwire ÷ it"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one run of the benchmark has found."""

    results: Results
    receive: Results  # of the pass with the receive side on another CPU
    options: Options
    machine: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)  # peer or column -> reason
    rates: str = ""  # the tables of `max_rate`

    def text(self) -> str:
        """Return the report as Markdown."""
        facts = _list(f"{name}: {value}" for name, value in self.machine.items())
        parts = [f"{facts}\n\n{_rounds(self.options)}", *(_shape(self, shape) for shape in self.results.shapes)]
        if self.rates:
            parts.append(f"### (r) `max_rate`: ticks and their cost\n\n{self.rates}")
        return "\n\n".join([*parts, _goals(self.results)]) + "\n"

    def summary(self) -> str:
        """Return the medians of some loads beside Node as a Markdown table."""
        rows = [["load", "CPU per delivery", "p99 latency", "Socket.IO on Node, in the same run"]]
        for shape in (shape for shape in _SUMMARISED if shape in self.results.shapes):
            (cpu, p99), theirs = self._medians(shape, OURS), self._medians(shape, "node")
            rows.append([SHAPES[shape].title, cpu, p99, ", ".join(text for text in theirs if text)])
        idle = self.results.spread("d", "uss_kib", OURS)
        memory = f"\n\nAn idle client takes {_short(idle.middle)} KiB of the hub's memory." if idle else ""
        state = self.machine.get(OTHERS, "")
        return table(rows) + memory + (f"\n\n{OTHERS.capitalize()} used {state}." if state else "")

    def _medians(self, shape: str, peer: str) -> tuple[str, str]:
        """Return CPU per delivery, with the rate if there is no latency, and p99 latency."""
        cpu, p99, rate = (self.results.spread(shape, figure, peer) for figure in ("cpu_us", "p99_ms", "deliveries_per_s"))
        fast = f", {_short(rate.middle)} deliveries/s" if rate and not p99 else ""
        return (f"{_short(cpu.middle)} µs{fast}" if cpu else "", f"{_short(p99.middle)} ms" if p99 else "")

    def json(self) -> str:
        """Return every single measurement and the figures derived from it."""
        content: dict[str, Any] = {
            "machine": dict(self.machine),
            "options": asdict(self.options),
            "missing": dict(self.missing),
            "rates": self.rates,
            "runs": [asdict(run) for run in self.results.runs],
            "receive": [asdict(run) for run in self.receive.runs],
            "goals": [{**asdict(goal), "measured": _plain(self.results.reached(goal))} for goal in GOALS],
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def write(self, folder: Path) -> list[Path]:
        """Write text, JSON and plot; return their files."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "fanout.md", folder / "fanout.json", folder / "fanout.png"]
        files[0].write_text(self.text())
        files[1].write_text(self.json())
        self.draw(files[2])
        return files

    def draw(self, file: Path) -> None:
        """Write the plot."""
        from tests.bench import plot  # matplotlib takes a second to import

        plot.draw(self.results, file)


def read(file: Path) -> Report:
    """Return the report that `Report.write` has written to a JSON file."""
    content = json.loads(file.read_text())
    options = content["options"]
    return Report(
        _results(content["runs"]),
        _results(content["receive"]),
        Options(**{**options, "shapes": tuple(options["shapes"]), "peers": tuple(options["peers"])}),
        content["machine"],
        content["missing"],
        content["rates"],
    )


def machine() -> dict[str, str]:
    """Return the machine and the versions of the run."""
    return {
        "measured": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}, load average {os.getloadavg()[0]:.2f} at the end",
        "Python": f"{platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in ("Flask-SocketIO", "eventlet")),
        **npm.versions(),
    }


def loop(peers: Sequence[str]) -> dict[str, str]:
    """Return the fan-out loop of Tickwire, if it is measured."""
    return {"Tickwire": f"`FANOUT_LOOP={LOOP}`"} if OURS in peers else {}


def others(results: Results) -> dict[str, str]:
    """Return the CPU of unrelated programs during the runs."""
    found = [run.figures.values["others_cpu_percent"] for run in results.runs if "others_cpu_percent" in run.figures.values]
    return {OTHERS: f"{median(found):.0f} % of a CPU in the median run, at most {max(found):.0f} %"} if found else {}


def _results(runs: Iterable[Mapping[str, Any]]) -> Results:
    return Results(Run(each["shape"], each["peer"], each["round"], Figures(**each["figures"])) for each in runs)


def _rounds(options: Options) -> str:
    offered = "permessage-deflate offered" if options.deflate else "no deflate offered"
    bound = "one CPU is reserved for the measured server" if options.pin else "no process is bound to a CPU"
    rounds = "1 round" if options.rounds == 1 else f"{options.rounds} rounds"
    return textwrap.fill(
        f"{rounds}, peers in rotating order, {options.seconds:g} s of load a run, {offered}, {bound}. "
        "Each cell: min / **median** / max over the rounds; ratios are of the same round, as medians.",
        _WIDTH,
    )


def _shape(report: Report, shape: str) -> str:
    results = report.results
    rows = [["", *(heading for heading, _ in _columns(report, shape, OURS))]]
    rows += [[PEERS[peer].label, *(value for _, value in _columns(report, shape, peer))] for peer in results.peers(shape)]
    noted = results.notes(shape)
    notes = [f"{PEERS[peer].label}, round {number + 1}: {note}" for peer, number, note in noted if DISTURBED not in note]
    if disturbed := dict.fromkeys(f"{PEERS[peer].label} {number + 1}" for peer, number, note in noted if DISTURBED in note):
        notes.append(f"{DISTURBED} in round: {'; '.join(disturbed)}")
    notes += [f"not measured: {PEERS[peer].label if peer in PEERS else peer}: {reason}" for peer, reason in _left_out(report, shape)]
    return "\n\n".join([f"### ({shape}) {SHAPES[shape].title}", table(rows), *([_list(notes)] if notes else [])])


def _list(items: Iterable[str]) -> str:
    return "\n".join(textwrap.fill(f"- {item}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False) for item in items)


def _columns(report: Report, shape: str, peer: str) -> list[tuple[str, str]]:
    """Return (heading, cell) of each column of a peer."""
    results, receive = report.results, report.receive
    found = []
    for figure in (figure for figure in HEADINGS if figure in results.figures(shape)):
        found.append((HEADINGS[figure], cell(results.spread(shape, figure, peer))))
        if figure == "cpu_us" and len(results.peers(shape)) > 1:
            found.append((_RATIO_HEADING, _middle(results.ratio(shape, figure, peer) if peer != OURS else None)))
        if figure == "cpu_us" and shape in RECEIVE_SHAPES:
            found.append((RECEIVE_HEADING, cell(receive.spread(shape, figure, peer))))
    return found


def _left_out(report: Report, shape: str) -> list[tuple[str, str]]:
    wanted = (*SHAPES[shape].peers, *((RECEIVE_HEADING,) if shape in RECEIVE_SHAPES else ()))
    return [(key, report.missing[key]) for key in wanted if key in report.missing]


def _goals(results: Results) -> str:
    rows = [["to reach, as medians", "at most", "measured", ""]]
    for goal in GOALS:
        measured = results.reached(goal)
        verdict = "not measured" if measured is None else "reached" if measured.middle <= goal.most else "NOT reached"
        rows.append([goal.text, f"{goal.most:g}", cell(measured), verdict])
    return f"### Goals\n\n{table(rows)}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(rows[0]), line("-" * width for width in widths), *(line(row) for row in rows[1:])])


def cell(spread: Spread | None) -> str:
    """Return min, median and max as a cell; one value if they are equal."""
    if spread and spread.low == spread.high:
        return f"**{_short(spread.middle)}**"
    return "–" if spread is None else f"{_short(spread.low)} / **{_short(spread.middle)}** / {_short(spread.high)}"


def _middle(spread: Spread | None) -> str:
    return "–" if spread is None else _short(spread.middle)


def _short(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _plain(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else {"min": spread.low, "median": spread.middle, "max": spread.high}
