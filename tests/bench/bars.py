"""Parts of the benchmark of hostile clients: bars, measured values, and their table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.fanout import Ground
from tests.bench.report import table


@dataclass(frozen=True, slots=True)
class Bar:
    """A goal with a number: the values of its figure are at most, or at least, `bound`."""

    text: str
    bound: float
    at_least: bool = False

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of one round. `bar` is None for a figure without a goal, which has `text`."""

    case: str
    value: float
    bar: Bar | None = None
    text: str = ""

    @property
    def label(self) -> str:
        return self.bar.text if self.bar else self.text


@dataclass(frozen=True, slots=True)
class Part:
    """A group of measurements. `run(place, quick)` yields the values of one round."""

    title: str
    run: Callable[[Ground, bool], Iterable[Measured]]


def verdicts(values: Sequence[Measured]) -> str:
    """Return the table of medians over the rounds, each with its bar, as Markdown."""
    rows = [["case", "figure", "measured (median)", "bar", ""]]
    for case, label in dict.fromkeys((each.case, each.label) for each in values):
        same = [each for each in values if (each.case, each.label) == (case, label)]
        middle, bar = median(each.value for each in same), same[0].bar
        goal = f"{'≥' if bar.at_least else '≤'} {bar.bound:g}" if bar else ""
        rows.append([case, label, f"{middle:.4g}", goal, _verdict(bar, middle)])
    return table(rows)


def missed(values: Sequence[Measured]) -> list[str]:
    """Return the case and the figure of each bar that the median does not reach."""
    keys = dict.fromkeys((each.case, each.bar) for each in values if each.bar)
    return [
        f"{case}: {bar.text}"
        for case, bar in keys
        if bar and not bar.reached(median(each.value for each in values if (each.case, each.bar) == (case, bar)))
    ]


def _verdict(bar: Bar | None, value: float) -> str:
    if bar is None:
        return ""
    return "reached" if bar.reached(value) else "NOT reached"


def run_all(table: Mapping[str, Part], place: Ground, parts: Sequence[str], rounds: int, quick: bool) -> dict[str, list[Measured]]:
    """Return the values of all rounds by part."""
    found: dict[str, list[Measured]] = {key: [] for key in parts}
    for number in range(rounds):
        for key in parts:
            for value in table[key].run(place, quick):
                print(f"[{key}, round {number + 1}] {value.case}, {value.label}: {value.value:.4g}", file=sys.stderr, flush=True)
                found[key].append(value)
    return found


def write(title: str, table: Mapping[str, Part], found: Mapping[str, Sequence[Measured]], file: Path) -> Path:
    """Write the report and return its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sections = [f"### {table[key].title}\n\n{verdicts(values)}\n" for key, values in found.items()]
    file.write_text(f"## {title}\n\n" + "\n".join(sections))
    return file
