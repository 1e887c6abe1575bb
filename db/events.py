"""Bodies of the messages on `observability_events`. Pure.

`Publisher.publish` appends `timestamp`, `seq` and `epoch`. The hub sends each body to the room
`events` of the namespace `/metrics`. It sends the `details` of a `system_alert`, which is the whole
alert in contract form, to the room `alerts` too, as the event `alert`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

SYSTEM_ALERT, METRIC_THRESHOLD = "system_alert", "metric_threshold"
_ALERT_SEVERITIES = {"warning": "medium", "critical": "critical"}


def event_body(
    event_type: str, source: str, fields: Mapping[str, object], *, event_id: str | None = None, metadata: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """The body of an event of process `source`; `fields` are those of its class.

    Without an `event_id` it gets a new one.
    """
    return {"event_id": event_id or str(uuid4()), "event_type": event_type, "source": source, "metadata": dict(metadata or {}), **fields}


def alert_event(source: str, alert: Mapping[str, Any]) -> dict[str, Any]:
    """An `AlertEvent`: the change of an alert to its present state.

    `alert` is in contract form. Two events of one change have the same `event_id`.
    """
    fields = {
        "alert_type": alert["severity"],
        "severity": _ALERT_SEVERITIES[alert["severity"]],
        "message": alert["message"],
        "details": dict(alert),
        "acknowledged": alert["acknowledged_at"] is not None,
    }
    return event_body(SYSTEM_ALERT, source, fields, event_id=f"{alert['alert_id']}:{alert['state']}")


def threshold_event(source: str, metric: str, value: float, threshold: float, *, exceeded: bool, subject: str) -> dict[str, Any]:
    """A `MetricEvent`: the value of a rule has risen above its threshold, or fallen below it."""
    fields = {"metric_name": metric, "metric_value": value, "threshold": threshold, "exceeded": exceeded}
    return event_body(METRIC_THRESHOLD, source, fields, metadata={"subject": subject})
