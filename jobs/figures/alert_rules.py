"""When a value is worth an alert: thresholds, episodes, and when the next may be told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

WARNING, CRITICAL = "warning", "critical"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Thresholds of one metric: an alert where the value is above.

    An episode ends only when the value is below `warning` by the fraction `hysteresis`, so that one that wavers around a threshold is one
    alert; and for `cooldown` after the last alert a new episode is not told, unless it is worse than what was told. One that outlasts the
    cooldown is told then.
    """

    warning: float
    critical: float
    hysteresis: float = 0.1
    cooldown: timedelta = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Episode:
    """Where a rule stands: the highest severity told in the present episode (None: calm, or nothing told of it yet), when something was
    told last, and how bad that was.

    `told` outlives the episode: the cooldown counts from it.
    """

    severity: str | None = None
    alerted: datetime | None = None
    told: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The episode after a value, and the alert that the value is worth: a severity with the threshold it broke, or none."""

    episode: Episode
    severity: str | None = None
    threshold: float | None = None


def judge(rule: AlertRule, episode: Episode, value: float, moment: datetime) -> Verdict:
    """What `value`, seen at `moment`, makes of the episode. An escalation from warning to critical is a second alert, a way down none."""
    severity = CRITICAL if value > rule.critical else WARNING if value > rule.warning else None
    if severity is None:
        calm = value < rule.warning * (1 - rule.hysteresis)
        return Verdict(Episode(None, episode.alerted, episode.told) if calm else episode)
    if _rank(severity) <= _rank(episode.severity):
        return Verdict(episode)
    cooling = episode.severity is None and episode.alerted is not None and moment < episode.alerted + rule.cooldown
    if cooling and _rank(severity) <= _rank(episode.told):
        return Verdict(episode)
    threshold = rule.critical if severity == CRITICAL else rule.warning
    return Verdict(Episode(severity, moment, severity), severity, threshold)


def _rank(severity: str | None) -> int:
    return (None, WARNING, CRITICAL).index(severity)
