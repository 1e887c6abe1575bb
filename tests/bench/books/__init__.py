"""The benchmark of order books: `python -m tests.bench books`.

A part is a module with `PART`; `PARTS` lists them.
"""

from __future__ import annotations

from tests.bench.bars import Part
from tests.bench.books import costs, levels, memory, prices, resync, sockets

TITLE = "Order books"
PARTS: dict[str, Part] = {
    "levels": levels.PART,
    "message": costs.PART,
    "memory": memory.PART,
    "resync": resync.PART,
    "hub": sockets.PART,
    "stalled": sockets.STALLED_PART,
    "prices": prices.PART,
}
