"""The hubs of the registry: their reports, and the sums over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from db.bus import Registry
from health.reports import Report, is_name, read_report
from health.timing import DEFAULT

MAX_PAIRS = 1_000  # of one report: 30 KiB at most, so that the part stays within its limit
_ROLE = "hub"


class HubCounts(NamedTuple):
    """Sums over hubs; `pairs` maps an instrument to its subscriptions."""

    hubs: int
    clients: int
    subscriptions: int
    pairs: Mapping[str, int]


def living_hubs(
    bus: Registry, now: datetime, *, down_seconds: float = DEFAULT.down, pause: Callable[[], None] = lambda: None
) -> list[Report]:
    """Return the reports of all hubs that have reported lately, by name, draining ones included.

    `pause` is called after each report, for the loop of a hub. Raises `BusError`.
    """
    now_ms, found = int(now.timestamp() * 1000), []
    for entry in bus.processes(now_ms, _ROLE):
        if entry.report is None or now_ms - entry.beat_ms > down_seconds * 1000 or not is_name(entry.name):
            continue
        try:
            report = read_report(entry.name, entry.report)
        except ValueError:
            continue  # REST logs malformed reports
        if report.role == _ROLE:
            found.append(report)
        pause()
    return sorted(found, key=lambda report: report.name)


def subscriptions(by_pair: Mapping[str, int]) -> dict[str, Any]:
    """Return the fields of a report about subscriptions: their number, and that by instrument.

    The latter has the `MAX_PAIRS` instruments with the most subscriptions.
    """
    largest = by_pair if len(by_pair) <= MAX_PAIRS else dict(Counter(by_pair).most_common(MAX_PAIRS))
    return {"total_subscriptions": sum(by_pair.values()), "subscriptions_by_pair": dict(largest)}


def counts_of(parts: Iterable[Mapping[str, Any]]) -> HubCounts:
    """Return the sums over the parts `hub` of reports; one of another version may lack a field."""
    hubs = clients = total = 0
    pairs: Counter[str] = Counter()
    for part in parts:
        hubs += 1
        clients += _count(part.get("clients"))
        total += _count(part.get("total_subscriptions"))
        pairs.update(pairs_of(part))
    return HubCounts(hubs, clients, total, dict(pairs))


def pairs_of(part: Mapping[str, Any]) -> dict[str, int]:
    """Return the subscriptions by instrument of a part `hub`; without those that are no counts."""
    found = part.get("subscriptions_by_pair")
    return {pair: count for pair, value in found.items() if (count := _count(value))} if isinstance(found, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
