"""Bodies of the events of alerts on the channel `observability_events`. Pure.

The hub sends each body to the room `events` of the namespace `/metrics`. It sends the `details` of
a `system_alert`, which is the whole alert in contract form, to the room `alerts` too, as the event
`alert`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from db.alert_changes import StoredAlert
from db.timestamps import format_time
from db.topics import SYSTEM_ALERT
from jobs.observer.alerts.book import Crossing

Event = dict[str, Any]
SOURCE = "observer"
_SEVERITIES = {"warning": "medium", "critical": "critical"}  # of an alert -> of its event


def alert_event(alert: StoredAlert) -> Event:
    """`system_alert`: the change of an alert to its state. Equal changes have equal events."""
    return {
        "event_id": f"{alert.alert_id}:{alert.state}",
        "event_type": SYSTEM_ALERT,
        "timestamp": format_time(alert.updated_at),
        "source": SOURCE,
        "metadata": {},
        "alert_type": alert.severity,
        "severity": _SEVERITIES[alert.severity],
        "message": alert.message,
        "details": alert.body(),
        "acknowledged": alert.acknowledged_at is not None,
    }


def threshold_event(crossing: Crossing, now: datetime) -> Event:
    """`metric_threshold`: the value of a rule has risen above its threshold, or fallen below it."""
    time = format_time(now)
    return {
        "event_id": f"threshold:{crossing.rule}:{crossing.subject}:{crossing.severity}:{time}",
        "event_type": "metric_threshold",
        "timestamp": time,
        "source": SOURCE,
        "metadata": {"subject": crossing.subject, "severity": crossing.severity},
        "metric_name": crossing.rule,
        "metric_value": crossing.value,
        "threshold": crossing.threshold,
        "exceeded": crossing.exceeded,
    }
