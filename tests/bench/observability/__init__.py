"""The benchmark of observability: `python -m tests.bench observability`.

A part is a module with `PART`; `PARTS` lists them.
"""

from __future__ import annotations

from tests.bench.bars import Part
from tests.bench.observability import current, figures, plain, prices, reports, snapshots

TITLE = "Observability"
PARTS: dict[str, Part] = {
    "figures": figures.PART,
    "plain": plain.PART,
    "prices": prices.PART,
    "current": current.PART,
    "reports": reports.PART,
    "observer": snapshots.PART,
}
