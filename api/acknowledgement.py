"""Acknowledgement of an alert, for REST and the hub: one row, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from api.access.model import Access
from api.errors import ErrorCode, Refusal
from db.alerts import acknowledge
from db.postgres import Store
from db.timestamps import format_time


def acknowledge_alert(store: Store, access: Access, alert_id: str, given: Mapping[str, str | None], now: datetime) -> dict[str, Any]:
    """Acknowledge a firing alert; return the answer, as `AcknowledgedSchema` has it.

    `given` may have `by` and `comment`. A caller with a credential acknowledges under its name. The
    caller checks the scope `operate`. A repetition returns the first answer. Raises `StoreError`.
    Raises `Refusal` if the alert is unknown or resolved.
    """
    by = given.get("by") if access.anonymous else access.name
    with store.transaction() as cursor:
        done = acknowledge(cursor, alert_id, by or None, given.get("comment"), now)
    if done.outcome == "unknown":
        raise Refusal(ErrorCode.NOT_FOUND, "no such alert", {"alert_id": [alert_id]})
    if done.outcome == "resolved" or done.at is None:
        raise Refusal(ErrorCode.CONFLICT, "the alert is resolved: nothing is left to acknowledge", {"alert_id": [alert_id]})
    return {"status": "acknowledged", "alert_id": alert_id, "acknowledged_at": format_time(done.at), "acknowledged_by": done.by}
