"""Bodies of events as other processes publish them on `observability_events`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SEVERITIES = {"warning": "medium", "critical": "critical"}  # of an alert -> of its event


def event_body(event_type: str, source: str, fields: Mapping[str, object], event_id: str = "e-1") -> dict[str, Any]:
    """Return the body of an event; `fields` are those of its class."""
    return {"event_id": event_id, "event_type": event_type, "source": source, "metadata": {}, **fields}


def alert_event(source: str, alert: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of an alert in contract form that has entered its state."""
    fields = {
        "alert_type": alert["severity"],
        "severity": _SEVERITIES[alert["severity"]],
        "message": alert["message"],
        "details": dict(alert),
        "acknowledged": alert["acknowledged_at"] is not None,
    }
    return event_body("system_alert", source, fields, f"{alert['alert_id']}:{alert['state']}")
