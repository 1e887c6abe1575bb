"""The benchmark of operations: `python -m tests.bench operations`.

A part is a module with `PART`; `PARTS` lists them. `without.py` starts the processes without
metrics, request ids and the access log, the other side of each ratio.
"""

from __future__ import annotations

from tests.bench.bars import Part
from tests.bench.operations import fanout, ingest, processes, rest, scrape

TITLE = "Operations"
PARTS: dict[str, Part] = {
    "fanout": fanout.PART,
    "rest": rest.PART,
    "ingest": ingest.PART,
    "scrape": scrape.PART,
    "processes": processes.PART,
}
