"""Alert rules: thresholds, episodes, cooldown. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

WARNING, CRITICAL = "warning", "critical"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Thresholds of one metric; a value above one of them is an alert.

    An episode ends when the value is below `warning` by the fraction `hysteresis`. So a value that
    oscillates around a threshold is one alert. For `cooldown` after the last alert, a new episode
    makes an alert only if it is worse than the last one. An episode that outlasts the cooldown
    makes its alert then.
    """

    warning: float
    critical: float
    hysteresis: float = 0.1
    cooldown: timedelta = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Episode:
    """State of a rule.

    `severity` is the highest one with an alert in this episode; None: calm, or no alert yet.
    `alerted` is the time of the last alert, `told` its severity. Both outlive the episode, because
    the cooldown counts from them.
    """

    severity: str | None = None
    alerted: datetime | None = None
    told: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The episode after a value, and the alert for the value: severity and broken threshold, or
    None.
    """

    episode: Episode
    severity: str | None = None
    threshold: float | None = None


def judge(rule: AlertRule, episode: Episode, value: float, moment: datetime) -> Verdict:
    """Judge `value` at `moment`.

    An escalation from warning to critical is a second alert; a decrease is none.
    """
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
