"""The judgement: which parts fail, from the reports of all processes. Pure.

`GET /health`, `manage.py status` and `python -m jobs.health` all use it, so that they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

from db import topics
from db.timestamps import parse_time
from health.reports import Process, Report
from health.sources import reported_sources
from health.timing import DEFAULT, Timing

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"
_FAILING_STATES = ("stale", "down")
_TRYING_STATES = ("backing_off", "connecting")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of all parts.

    `failing` maps each failing part to the reason. `hub` is `connected`, `disconnected` or
    `unknown`. `writer` has the counts of all writers together. `unreplicated` is True if a
    process publishes without confirmation by a replica.
    """

    failing: Mapping[str, str]
    hub: str = "unknown"
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    writer: Mapping[str, Any] = field(default_factory=dict)
    degraded: bool = False
    unreplicated: bool = False

    @property
    def status(self) -> str:
        """`healthy`, `degraded` or `unhealthy`."""
        if self.failing:
            return UNHEALTHY
        return DEGRADED if self.degraded else HEALTHY


def judge(
    processes: Sequence[Process],
    now: datetime,
    *,
    own: Mapping[str, str],
    bus_works: bool = True,
    settled: bool = True,
    jobs_expected: bool = True,
    timing: Timing = DEFAULT,
) -> Verdict:
    """Return the verdict about these expected processes and the own failing parts.

    `bus_works` is false if the registry cannot be used: then other processes are not judged.
    `settled` is false shortly after an outage of the bus: then no process counts as down.
    `jobs_expected` is false shortly after the start of the reader, and after the orderly end of a
    jobs process: another one is about to act.
    """
    down = {each.name for each in processes if settled and each.is_down(timing.down)}
    acting = acting_reports(processes, down)
    sources = reported_sources(source_reports(processes, acting), down)
    writer = _merged_writer(acting)
    unreplicated = any(each.report.unreplicated for each in processes if each.report and each.name not in down)
    degraded = unreplicated or _is_recent(writer.get("last_parked"), now, timing.degraded)
    if not bus_works:
        return Verdict(dict(own), "unknown", sources, writer, degraded, unreplicated)
    failing = dict(own)
    for process in processes:
        if process.report and process.name not in down:
            for part, reason in process.report.failing.items():
                failing.setdefault(part, reason)
    _judge_hubs(processes, down, failing)
    jobs = [report for report in acting if report.role == "jobs"]
    if settled and (jobs_expected or jobs) and not any(report.name not in down for report in jobs):
        failing["jobs"] = "no jobs process acts"
    for role in ("observer", "books"):
        known = [process.name for process in processes if process.role == role]
        if known and down.issuperset(known):
            failing[role] = f"no {role} process reports"
    for name, report in sources.items():
        if failure := source_failure(report, now, timing):
            failing[f"source:{name}"] = failure
    age = _merged_writer(report for report in acting if report.name not in down)["oldest_age_seconds"]
    if age is not None and age > timing.unstored:
        failing["writer"] = f"the oldest message has waited {age:.0f} s for the store"
    hubs = any(process.role == "hub" for process in processes)
    hub = ("disconnected" if "hub" in failing else "connected") if hubs else "unknown"
    return Verdict(failing, hub, sources, writer, degraded, unreplicated)


def acting_reports(processes: Iterable[Process], down: Iterable[str] = ()) -> list[Report]:
    """The newest report of each role among the processes that act; living ones come first."""
    down = set(down)
    found: dict[str, Report] = {}
    for process in processes:
        report = process.report
        if report is None or not report.acting or report.role in ("hub", "rest"):
            continue
        other = found.get(report.role)
        if other is None or (report.name not in down, report.at) > (other.name not in down, other.at):
            found[report.role] = report
    return list(found.values())


def source_reports(processes: Iterable[Process], acting: Iterable[Report]) -> list[Report]:
    """The reports that have sources: those of all jobs processes, and of the others that act."""
    jobs = [process.report for process in processes if process.report is not None and process.report.role == "jobs"]
    return [*jobs, *(report for report in acting if report.role != "jobs")]


def source_failure(report: Mapping[str, Any], now: datetime, timing: Timing = DEFAULT) -> str | None:
    """Return the reason why a source does not give records; None if it does, or is over."""
    state, detail = report.get("state"), report.get("detail")
    if state in _FAILING_STATES:
        return f"{state}: {detail}" if detail else str(state)
    since = _time(report.get("failing_since"))
    if state in _TRYING_STATES and since is not None:
        seconds = (now - since).total_seconds()
        if seconds > timing.backing_off:
            return f"not live for {seconds:.0f} s: {detail}" if detail else f"not live for {seconds:.0f} s"
    return None


def with_ages(sources: Mapping[str, Mapping[str, Any]], now: datetime) -> dict[str, dict[str, Any]]:
    """Return the reports of sources with `age_seconds`: since the last record was received.

    It is None for a source without a record.
    """
    found = {}
    for name, source in sources.items():
        last = _time(source.get("last_tick"))
        age = None if last is None else round(max(0.0, (now - last).total_seconds()), 3)
        found[name] = {**source, "age_seconds": age}
    return found


def _judge_hubs(processes: Sequence[Process], down: Iterable[str], failing: dict[str, str]) -> None:
    for process in processes:
        if process.role == "hub" and process.name in down:
            failing["hub"] = f"{process.name} has not reported for {process.age_seconds:.0f} s"


def _merged_writer(acting: Iterable[Report]) -> dict[str, Any]:
    parts = [report.part("writer") for report in acting]
    ages = _numbers(part.get("oldest_age_seconds") for part in parts)
    times = [str(moment) for part in parts if _time(moment := part.get("last_parked")) is not None]
    unstored = _numbers(_channel(part.get("unstored"), topics.PRICES) for part in parts)
    return {
        "unstored": int(sum(unstored)) if unstored else None,
        "oldest_age_seconds": max(ages, default=None),
        "parked": int(sum(_numbers(part.get("parked") for part in parts))),
        "last_parked": max(times, default=None),
    }


def _channel(counts: Any, channel: str) -> Any:
    return counts.get(channel) if isinstance(counts, dict) else None


def _numbers(values: Iterable[Any]) -> list[float]:
    """The finite numbers among the values that other processes have reported."""
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)]


def _time(value: Any) -> datetime | None:
    """The time that another process has reported; None if there is none, or it is unreadable."""
    try:
        return parse_time(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _is_recent(value: Any, now: datetime, seconds: float) -> bool:
    moment = _time(value)
    return moment is not None and (now - moment).total_seconds() <= seconds
