"""The benchmark of hostile clients: `python -m tests.bench hardening`.

A part is a module with `PART`; `PARTS` lists them.
"""

from __future__ import annotations

from tests.bench import costs_of_events, floods, slow_rest
from tests.bench.bars import Part

TITLE = "Hostile clients"
PARTS: dict[str, Part] = {
    "floods": floods.PART,
    "events": costs_of_events.PART,
    "slow": slow_rest.SLOW,
    "malformed": slow_rest.MALFORMED,
}
