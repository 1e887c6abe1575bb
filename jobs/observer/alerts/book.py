"""The open alerts, and the changes that readings cause. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from db.alert_changes import StoredAlert
from db.alerts import FIRING, SYSTEM_TYPES, SystemAlert
from jobs.observer.alerts.machine import Timers, step
from jobs.observer.alerts.rules import Reading


@dataclass(frozen=True, slots=True)
class Resolution:
    """The end of the open alerts of one key, each as it is afterwards."""

    key: str
    time: datetime
    alerts: tuple[StoredAlert, ...]


Change = SystemAlert | Resolution


@dataclass(frozen=True, slots=True)
class Crossing:
    """A value has risen above a threshold of its rule, or fallen below it."""

    rule: str
    subject: str
    severity: str
    value: float
    threshold: float
    exceeded: bool


@dataclass(slots=True)
class AlertBook:
    """The open alerts of every type, and the times since which values are above or below.

    Alerts of figures are resolved by their own jobs; here they count only.
    """

    open: list[StoredAlert] = field(default_factory=list)
    _timers: dict[str, Timers] = field(default_factory=dict)  # key -> timers
    # (type, subject) -> severities whose threshold the last value exceeded
    _exceeded: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    @property
    def firing(self) -> int:
        """The number of firing alerts: `active_alerts`."""
        return sum(alert.state == FIRING for alert in self.open)

    def firing_by_type(self) -> Counter[tuple[str, str]]:
        """(type, severity) -> number of firing alerts. Any thread may call it."""
        return Counter((alert.type, alert.severity) for alert in list(self.open) if alert.state == FIRING)

    def subjects(self) -> list[tuple[str, str]]:
        """(type, subject) of the open alerts of the rules, and of the last values."""
        return [*((alert.type, alert.subject) for alert in self.open if alert.type in SYSTEM_TYPES), *self._exceeded]

    def note(self, sent: Iterable[StoredAlert]) -> None:
        """Note the states that were sent to clients, in their order."""
        states = {alert.alert_id: alert.state for alert in sent}
        self.open = [replace(alert, announced=states.get(alert.alert_id, alert.announced)) for alert in self.open]

    def judge(self, readings: Sequence[Reading], now: datetime) -> list[Change]:
        """Judge the readings at `now`; return the changes, which are made in `open` too."""
        known = {reading.key for reading in readings}
        self._timers = {key: timers for key, timers in self._timers.items() if key in known}
        return [change for reading in readings for change in self._judge(reading, now)]

    def _judge(self, reading: Reading, now: datetime) -> Iterable[Change]:
        opened = [alert for alert in self.open if alert.key == reading.key]
        after = step(self._timers.get(reading.key), [alert.severity for alert in opened], reading.level, now)
        if after.timers is None:
            self._timers.pop(reading.key, None)
        else:
            self._timers[reading.key] = after.timers
        if after.resolves:
            self.open = [alert for alert in self.open if alert.key != reading.key]
            yield Resolution(reading.key, now, tuple(alert.resolved(now) for alert in opened))
        if after.fires is not None:
            alert = _alert(reading, after.fires, now)
            self.open.append(StoredAlert.of(alert))
            yield alert

    def crossings(self, readings: Iterable[Reading]) -> list[Crossing]:
        """The thresholds that values have crossed since the last readings. Call it before `judge`.

        If there were none, an open alert shows that the value was above the threshold. A failed
        reading leaves the last one.
        """
        found: list[Crossing] = []
        known: dict[tuple[str, str], frozenset[str]] = {}
        for reading in readings:
            subject = (reading.type, reading.subject)
            before = self._exceeded.get(subject)
            if before is None:
                before = frozenset(alert.severity for alert in self.open if alert.key == reading.key)
            if reading.level is None:
                known[subject] = before
            elif reading.value is not None:
                known[subject] = exceeded = reading.exceeded
                found += [
                    Crossing(reading.rule, reading.subject, severity, reading.value, float(limit), severity in exceeded)
                    for severity, limit in reading.limits.items()
                    if (severity in before) != (severity in exceeded)
                ]
        self._exceeded = known
        return found


def _alert(reading: Reading, severity: str, now: datetime) -> SystemAlert:
    limit = reading.limits.get(severity)
    threshold = None if limit is None else float(limit)
    return SystemAlert(reading.type, reading.subject, severity, now, reading.value, threshold, reading.texts[severity])
