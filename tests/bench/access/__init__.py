"""The benchmark of access control: `python -m tests.bench access`.

A part is a module with `PART`; `PARTS` lists them.
"""

from __future__ import annotations

from tests.bench.access import guesses, hub, limits, lookups, rest, revocation
from tests.bench.bars import Part

TITLE = "Access control"
PARTS: dict[str, Part] = {
    "fanout": hub.FANOUT,
    "connect": hub.CONNECT,
    "rest": rest.PART,
    "guesses": guesses.PART,
    "lookups": lookups.PART,
    "revocation": revocation.PART,
    "limits": limits.PART,
}
