"""Figures from single measurements: min, median and max, ratios within a round, and the goals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.fanout import Run
from tests.bench.servers import PEERS

OURS = "tickwire"
OUTBOX_LIMIT_KIB = 256.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Minimum, median and maximum of a figure over the rounds."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), median(values), max(values))


@dataclass(frozen=True, slots=True)
class Goal:
    """An upper bound on a median: of the figure of a peer, or of its ratio to another peer's.

    Ratios are of the same round.
    """

    shape: str
    figure: str
    against: str | None
    most: float
    text: str
    of: str = OURS


GOALS = (
    Goal("a", "cpu_us", "node", 0.45, "(a) CPU per delivery ÷ Node's"),
    Goal("a", "cpu_us", "bun", 1.0, "(a) CPU per delivery ÷ Bun's"),
    Goal("a", "cpu_us", "floor_c", 1.2, "(a) CPU per delivery ÷ the C floor's"),
    Goal("a", "cpu_us", "floor", 1.2, "(a) CPU per delivery of the Python loop ÷ the Python floor's", of="tickwire_python"),
    Goal("b", "cpu_us", "join_c", 1.35, "(b) CPU per delivery ÷ the joined C's"),
    Goal("b2", "cpu_us", "floor_c", 1.2, "(b2) CPU per delivery ÷ the C floor's"),
    Goal("c", "p99_ms", "node", 0.7, "(c) p99 latency ÷ Node's"),
    Goal("d", "uss_kib", None, 5.2, "(d) KiB per idle client (USS)"),
    Goal("d", "connect_cpu_us", "node", 1.0, "(d) CPU per idle connection ÷ Node's"),
    Goal("d", "one_cpu_us", "node", 1.0, "(d) CPU per subscribed connection ÷ Node's, one after the other"),
    Goal("d", "some_cpu_us", "node", 1.0, "(d) CPU per subscribed connection ÷ Node's, 64 at a time"),
    Goal("d", "storm_s", "node", 1.0, "(d) time until all are back with 50 missed prices ÷ Node's without replay"),
    Goal("d", "storm_cpu_us", None, 633, "(d) CPU µs per client back with 50 missed prices"),
    Goal("e", "stalled_kib", None, OUTBOX_LIMIT_KIB, "(e) KiB per stalled client, kernel included"),
    Goal("e", "p99_ratio", None, 1.3, "(e) p99 of the others ÷ without stalled clients"),
    Goal("m", "lost_25k", None, 0, "(m) lost messages at 25,000/s of 5,000 instruments"),
    Goal("churn", "churn_ratio", None, 1.1, "(churn) CPU per delivery ÷ without, connections subtracted"),
)


class Results:
    """All runs, with queries on their figures."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = list(runs)
        # (shape, figure, peer) -> round -> value
        self._values: dict[tuple[str, str, str], dict[int, float]] = {}
        for run in self.runs:
            for figure, value in run.figures.values.items():
                self._values.setdefault((run.shape, figure, run.peer), {})[run.round] = value

    @property
    def shapes(self) -> list[str]:
        return list(dict.fromkeys(run.shape for run in self.runs))

    def peers(self, shape: str) -> list[str]:
        """Return the peers of a shape, Tickwire first."""
        found = {run.peer for run in self.runs if run.shape == shape}
        return [peer for peer in PEERS if peer in found]

    def figures(self, shape: str) -> list[str]:
        return list(dict.fromkeys(figure for run in self.runs if run.shape == shape for figure in run.figures.values))

    def spread(self, shape: str, figure: str, peer: str) -> Spread | None:
        """Return the figure of a peer, or None if it was not measured."""
        values = self._values.get((shape, figure, peer), {})
        return Spread.of(list(values.values())) if values else None

    def ratio(self, shape: str, figure: str, against: str, of: str = OURS) -> Spread | None:
        """Return the figure of `of` divided by the peer's of the same round."""
        ours, theirs = self._values.get((shape, figure, of), {}), self._values.get((shape, figure, against), {})
        ratios = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
        return Spread.of(ratios) if ratios else None

    def reached(self, goal: Goal) -> Spread | None:
        """Return the measured figure of a goal."""
        if goal.against is None:
            return self.spread(goal.shape, goal.figure, goal.of)
        return self.ratio(goal.shape, goal.figure, goal.against, goal.of)

    def notes(self, shape: str) -> list[tuple[str, int, str]]:
        """Return (peer, round, fault or note) of every run of a shape."""
        runs = [run for run in self.runs if run.shape == shape]
        return [(run.peer, run.round, note) for run in runs for note in (*run.figures.faults, *run.figures.notes)]

    @property
    def faults(self) -> list[str]:
        """The faults of Tickwire's own server."""
        runs = [run for run in self.runs if run.peer.startswith(OURS)]
        return [f"({run.shape}) {run.peer}, round {run.round + 1}: {fault}" for run in runs for fault in run.figures.faults]
