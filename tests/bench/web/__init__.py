"""The benchmark of the dashboard: `python -m tests.bench web`. It needs Chromium.

A part is a module with `PART`; `PARTS` lists them.
"""

from __future__ import annotations

from tests.bench.bars import Part
from tests.bench.web import delay, loading, loss, market, memory, states, streams, views

TITLE = "Dashboard"
PARTS: dict[str, Part] = {
    "load": loading.PART,
    "small": streams.SMALL_PART,
    "fast": streams.FAST_PART,
    "scroll": streams.SCROLL_PART,
    "many": streams.MANY_PART,
    "delay": delay.PART,
    "memory": memory.PART,
    "hidden": states.HIDDEN_PART,
    "throttled": states.THROTTLED_PART,
    "loss": loss.PART,
    "ladder": views.LADDER_PART,
    "trading": views.TRADING_PART,
    "market": market.PART,
}
