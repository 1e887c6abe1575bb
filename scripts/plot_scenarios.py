"""Draw the queue curves of docs/scenarios.md, from runs of the product's code in virtual time:

`.venv/bin/python -m scripts.plot_scenarios`, from the repository's root. It takes a minute, and
prints the figures of the runs.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from db.scenarios.run_record import RunRecord
from scripts.virtual_scenario import Observed, play, recording_of
from tests.support.expected_queue import Expected, Floats, expected_queue

IMAGES = Path(__file__).parents[1] / "docs" / "images"
# scenario -> (seconds, mean delay in seconds)
PLAYED = {"stable-mode": (120, 0.001), "burst-mode": (120, 0.01), "gradual-spike": (300, 0.01), "extreme-spike": (110, 0.025)}
OURS, OTHER = "#0b7285", "#f08c00"
COLOURS = {"healthy": "#b2f2bb", "degraded": "#ffd43b", "unhealthy": "#e03131"}


def main() -> None:
    """Play the four scenarios, and write the images."""
    logging.disable()  # each change of a book is an alert
    mpl.use("Agg")
    pyplot.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    runs: dict[str, tuple[Observed, Expected]] = {}
    for name, (seconds, _) in PLAYED.items():
        recording = recording_of(name)
        run, record = play(name, recording, seconds)
        runs[name] = run, expected_queue(name, recording, seconds)
        print(name, _figures(run, record))
    draw_curves(runs)
    draw_spike(*runs["extreme-spike"])


def draw_curves(runs: dict[str, tuple[Observed, Expected]]) -> None:
    """Queue and lag of each scenario beside the solution; the status is the strip below."""
    figure, grid = pyplot.subplots(len(runs), 2, figsize=(11, 9), sharex="row")
    for (left, right), (name, (run, wanted)) in zip(grid, runs.items(), strict=True):
        delay = PLAYED[name][1]
        _curve(left, run, run.queue, wanted, wanted.queue)
        _curve(right, run, run.lag, wanted, wanted.w * delay)
        left.set_title(name, loc="left", fontweight="bold")
        left.set_ylabel("messages in the queue")
        right.set_ylabel("lag, seconds")
        for axes in (left, right):
            _strip(axes, run, run.status, COLOURS)
    for axes in grid[-1]:
        axes.set_xlabel("seconds since the start")
    lines = grid[0][1].get_legend_handles_labels()
    patches = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=[*lines[0], *patches], loc="lower center", ncols=5, frameon=False)
    _save(figure, "scenario-curves", bottom=0.03)


def draw_spike(run: Observed, wanted: Expected) -> None:
    """The queue of `extreme-spike`, above the status and the state of the book."""
    figure, axes = pyplot.subplots(figsize=(9, 2.8))
    _curve(axes, run, run.queue, wanted, wanted.queue)
    _strip(axes, run, run.status, COLOURS)
    axes.set_ylabel("messages in the queue")
    axes.set_xlabel("seconds since the start")
    patches = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    axes.legend(handles=[*axes.get_legend_handles_labels()[0], *patches], frameon=False, fontsize=7)
    _save(figure, "extreme-spike")


def _curve(axes: Axes, run: Observed, values: list[int] | list[float], wanted: Expected, expected: Floats) -> None:
    axes.plot(run.times, values, color=OURS, linewidth=1.4, label="run")
    axes.plot(wanted.times, expected, color=OTHER, linewidth=0.9, linestyle=(0, (4, 2)), label="w(t), integrated")
    axes.set_xlim(0, run.times[-1])
    axes.set_ylim(bottom=0, top=max(3.0, 1.05 * max(*values, float(expected.max()))))


def _strip(axes: Axes, run: Observed, words: list[str], colours: dict[str, str]) -> None:
    """A coloured strip at the lower edge of the axes: one word at each time."""
    edges = [0, *(at + 1 for at, (old, new) in enumerate(pairwise(words)) if old != new), len(words) - 1]
    for first, last in pairwise(edges):
        axes.axvspan(run.times[first], run.times[last], ymin=-0.045, ymax=-0.005, color=colours[words[first]], clip_on=False, linewidth=0)
    axes.tick_params(axis="x", pad=8)


def _figures(run: Observed, record: RunRecord) -> dict[str, object]:
    names = ("peak_queue", "peak_lag_ms", "gaps", "resyncs", "detect_seconds", "recover_seconds", "wrong_books")
    changes = [(run.times[at + 1], new) for at, (old, new) in enumerate(pairwise(run.status)) if old != new]
    return {**{name: getattr(record, name) for name in names}, "changes": changes}


def _save(figure: Figure, name: str, *, bottom: float = 0.0) -> None:
    figure.tight_layout(rect=(0, bottom, 1, 1))
    figure.savefig(IMAGES / f"{name}.png", dpi=110, facecolor="white")
    pyplot.close(figure)


if __name__ == "__main__":
    main()
