"""The cost of metrics at ingest: trades from a socket to the store, with and without metrics."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from tests.bench import trades
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground

RATIO = Bar("ingest rows/s with metrics ÷ without, median of pairs", 0.97, at_least=True)
_TRADES, _QUICK_TRADES = 200_000, 50_000
_PAIRS = 8


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    count = _QUICK_TRADES if quick else _TRADES
    pairs = []
    for number in range(1 if quick else _PAIRS):
        sides = ("tickwire", "without") if number % 2 else ("without", "tickwire")
        pairs.append({side: trades.measure(place, side, count) for side in sides})
    case = f"{count:,} trades"
    for side, text in (("without", "without metrics"), ("tickwire", "with metrics")):
        yield Measured(case, median(pair[side]["rows_per_s"] for pair in pairs), text=f"rows/s {text}")
        yield Measured(case, median(pair[side]["cpu_us_per_row"] for pair in pairs), text=f"CPU per row {text}, µs")
    # Less dependent on other programs than the rows per second, which PostgreSQL limits too.
    cpu = median(pair["without"]["cpu_us_per_row"] / pair["tickwire"]["cpu_us_per_row"] for pair in pairs)
    yield Measured(case, cpu, text="rows per second of CPU with metrics ÷ without")
    yield Measured(case, median(pair["tickwire"]["rows_per_s"] / pair["without"]["rows_per_s"] for pair in pairs), RATIO)


PART = Part("Ingest", _run)
