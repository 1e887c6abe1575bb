"""One report for each source, of the reports of its parts and of several processes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from config.process.duties import source_of
from db.timestamps import format_time
from health.reports import Report

# From the best state to the worst one.
WORST_LAST = ("ended", "live", "connecting", "backing_off", "stale", "down")


def reported_sources(reports: Iterable[Report], down: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Source -> its report, with the time of the process's report as `reported`.

    The newest report of a living process counts for each part. A part that only processes of `down`
    have reported is stale.
    """
    parts: dict[str, Mapping[str, Any]] = {}
    for report in sorted(reports, key=lambda each: (each.name not in down, each.at)):
        for part, source in report.part("sources").items():
            stale = {"state": "stale", "last_state": source.get("state")} if report.name in down else {}
            parts[part] = {**source, **stale, "reported": format_time(report.at)}
    return whole_sources(parts)


def whole_sources(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Source -> its report, of the reports of all parts: the worst state and the added counts."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for part, report in sorted(parts.items()):
        found.setdefault(source_of(part), []).append(report)
    return {source: reports[0] if len(reports) == 1 else _joined(reports) for source, reports in found.items()}


def _joined(reports: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One report: state, its time and its detail are those of the worst part."""
    worst = max(reports, key=_badness)
    refused: dict[str, float] = {}
    for report in reports:
        kinds = report.get("refused")
        for kind, number in kinds.items() if isinstance(kinds, Mapping) else ():
            refused[kind] = refused.get(kind, 0) + _number(number)
    return {
        **worst,
        "failing_since": min(_texts(report.get("failing_since") for report in reports), default=None),
        "last_tick": max(_texts(report.get("last_tick") for report in reports), default=None),
        "ticks": sum(_number(report.get("ticks")) for report in reports),
        "trades": sum(_number(report.get("trades")) for report in reports),
        "refused": refused,
    }


def _badness(report: Mapping[str, Any]) -> int:
    state = report.get("state")
    return WORST_LAST.index(state) if state in WORST_LAST else len(WORST_LAST)


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _number(value: Any) -> float | int:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
