"""State machine of the alerts of one subject. Pure.

| from | to | condition |
| --- | --- | --- |
| none | firing | the value is above a threshold for `FIRE_AFTER` without interruption |
| warning open | critical fires too | the value is above `critical` for `FIRE_AFTER` |
| firing, acknowledged | resolved | the value is below 0.9 × threshold for `RESOLVE_AFTER` |

The threshold in the last row is the lowest one of the subject's open alerts: a warning and its
escalation are resolved together. A resolved alert stays as it is; a new episode is a new alert.
Only people acknowledge, so the machine does not distinguish `firing` and `acknowledged`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from db.alerts import CRITICAL, SEVERITIES, WARNING

FIRE_AFTER = timedelta(seconds=10)
RESOLVE_AFTER = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(seconds=15)  # between two readings; after a longer one all times begin anew


@dataclass(frozen=True, slots=True)
class Level:
    """The place of one reading among the thresholds.

    `above` is the highest severity whose threshold the value exceeds, None if it exceeds none.
    `below` is the lowest severity that the reading resolves, None if it resolves none: `warning`
    resolves both, `critical` alone a critical alert without a warning.
    """

    above: str | None = None
    below: str | None = None


CALM = Level(below=WARNING)


@dataclass(frozen=True, slots=True)
class Timers:
    """Since when a subject is above the thresholds, and below the ones to resolve.

    Severity -> time of the first of the readings that continue without interruption. `last` is the
    time of the last reading.
    """

    last: datetime
    above: Mapping[str, datetime] = field(default_factory=dict)
    below: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """The timers after a reading, and the change that it causes, if any.

    `fires` is the severity of a new alert. `resolves`: all open alerts of the subject end.
    """

    timers: Timers | None
    fires: str | None = None
    resolves: bool = False


def step(timers: Timers | None, opened: Collection[str], level: Level | None, now: datetime) -> Step:
    """Judge a reading at `now`.

    `opened` has the severities of the subject's open alerts. `level` None is a reading that failed:
    it changes no alert and interrupts all times. `timers` is None before the first reading.
    """
    if level is None:
        return Step(None)
    if timers is not None and not timedelta(0) <= now - timers.last <= LONGEST_PAUSE:
        timers = None
    after = Timers(
        now,
        _continued(timers.above if timers else {}, _up_to(level.above), now),
        _continued(timers.below if timers else {}, _from(level.below), now),
    )
    if opened and (since := after.below.get(_lowest(opened))) is not None and now - since >= RESOLVE_AFTER:
        return Step(after, resolves=True)
    ripe = [severity for severity, since in after.above.items() if now - since >= FIRE_AFTER]
    highest = max(map(_rank, opened), default=-1)
    if ripe and _rank(ripe[-1]) > highest:
        return Step(after, fires=ripe[-1])
    return Step(after)


def _continued(since: Mapping[str, datetime], severities: Collection[str], now: datetime) -> dict[str, datetime]:
    """The times of these severities; those that were not there before begin now."""
    return {severity: since.get(severity, now) for severity in severities}


def _up_to(severity: str | None) -> tuple[str, ...]:
    return () if severity is None else SEVERITIES[: _rank(severity) + 1]


def _from(severity: str | None) -> tuple[str, ...]:
    return () if severity is None else SEVERITIES[_rank(severity) :]


def _lowest(severities: Collection[str]) -> str:
    return WARNING if WARNING in severities else CRITICAL


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity)
