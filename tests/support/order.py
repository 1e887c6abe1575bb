"""The order of the test files: long ones first, and those that share a system in one worker.

A unit is what `make test` gives to one worker at a time: a file, or files that share a system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from xdist.scheduler import LoadFileScheduling

_INTEGRATION, _WEB = "tests/integration/test_{}.py", "tests/web/test_{}.py"
# Files that use `whole`, those that use `observed_site`, and those that use `shared_site`. A file
# that is missing here starts its own site, and keeps nothing else from its work.
_WHOLE = ("accessibility", "injection", "keyboard", "screens")
_OBSERVED = ("acknowledge", "trading")
_SHARED = (
    *("analytics", "behaviour", "candles", "first_paint", "keyboard_list", "live", "pages", "scenarios", "system", "thresholds"),
    "trading_states",
)
_UNITS = {
    **{_WEB.format(name): "tests/web: the whole site" for name in _WHOLE},
    **{_WEB.format(name): "tests/web: the observed site" for name in _OBSERVED},
    **{_WEB.format(name): "tests/web: the shared site" for name in _SHARED},
}
# Files that need the first prices of their site, or no figures in its tables: the first ones of its
# unit.
_FIRST = tuple(_WEB.format(name) for name in ("first_paint", "analytics", "thresholds"))
# Seconds of a run with four workers. Only their order matters: they need no updates.
_SECONDS = {
    **{_INTEGRATION.format(name): seconds for name, seconds in {
        "faults": 103, "docs": 98, "jobs_process": 77, "python_client": 64, "proxy": 58, "up_restarts": 58,
        "without_a_trace": 51, "backfill": 51, "misfortune_continued": 48, "health": 46, "js_client": 44,
        "jobs_end_to_end": 42, "duties": 40, "backup": 40, "up": 37, "misfortune": 35, "upgrade_database": 35, "examples": 32,
        "book_clients": 29, "hub": 27, "own_servers": 27, "observability_clients": 26, "oanda": 24, "client_access": 23,
        "rolling": 30, "js_package": 21, "rights": 20, "hub_candles": 19, "registry": 19, "binance": 19, "rollup": 19,
        "cluster_faults": 60, "cluster": 40, "layout": 20, "sentinel": 13, "backend_api": 18, "workers": 18, "hub_examples": 16,
        "doctor": 14,
    }.items()},
    **{_WEB.format(name): seconds for name, seconds in {
        "accessibility": 45, "acknowledge": 30, "behaviour": 20, "candles": 10, "keyboard": 45, "keyboard_list": 20, "outages": 95,
        "recording": 20, "sign_in": 25, "states": 40, "system": 10, "thresholds": 10, "trading": 15,
    }.items()},
    "tests/unit/test_market_model.py": 20,
}  # fmt: skip
_SLOW_SECONDS = 5  # of a case with the mark `slow`, in a file without a row


def unit_of(node_id: str) -> str:
    """Return the unit of a test."""
    path = node_id.partition("::")[0]
    return _UNITS.get(path, path)


def arrange(items: list[pytest.Item]) -> None:
    """Put the longest units first, so that no worker begins one at the end."""
    paths = {item.nodeid.partition("::")[0] for item in items}
    seconds = Counter[str]()
    for path in paths:
        seconds[unit_of(path)] += _SECONDS.get(path, 0)
    for path in _marked_slow(items):
        if path not in _SECONDS:
            seconds[unit_of(path)] += _SLOW_SECONDS
    first: dict[str, int] = {}
    for place, item in enumerate(items):
        first.setdefault(unit_of(item.nodeid), place)
    items.sort(key=lambda item: (-seconds[unit := unit_of(item.nodeid)], first[unit], _place(item)))


def _place(item: pytest.Item) -> int:
    """Return the place of a test's file in its unit; equal places keep their order."""
    path = item.nodeid.partition("::")[0]
    return _FIRST.index(path) if path in _FIRST else len(_FIRST)


def _marked_slow(items: Iterable[pytest.Item]) -> Iterable[str]:
    return (item.nodeid.partition("::")[0] for item in items if item.get_closest_marker("slow"))


class UnitScheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives whole units to the workers."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
