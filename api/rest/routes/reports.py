"""Reports of bots, over REST: checked here, accepted by the bus, computed by the observer."""

from __future__ import annotations

from typing import Any

from flask import g, request

from api.access.model import REPORT
from api.errors import ErrorCode
from api.rest.batches import JSON, NDJSON, BadLine, BatchForm, JsonObject, read_entries
from api.rest.context import context
from api.rest.observability.report_groups import report_groups
from api.rest.observability.report_symbols import report_symbols
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.schemas.report_documents import ReportsAcceptedSchema, ReportsSchema
from api.schemas.reports import MAX_REPORTS, RejectedReport, accept
from db.bus import ReportLimits

_FORM = BatchForm("reports", "a report", MAX_REPORTS, 1024 * 1024)
_EXAMPLE = (
    '{"kind":"fill","bot":"mm-1","strategy":"mean_reversion","id":"f-17","fill_id":"f-17","order_id":"o-6","symbol":"EUR_USD",'
    '"side":"buy","quantity":"1000","price":"1.09450","time":"2025-11-18T12:34:56.789123Z"}\n'
)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"1 to {MAX_REPORTS} reports, at most 1 MiB. NDJSON has one report per line.",
        "content": {JSON: {"schema": ReportsSchema}, NDJSON: {"schema": {"type": "string", "example": _EXAMPLE}}},
    }
}

routes = Routes("reports", "Reports of bots")


@routes.post("/reports", ReportsAcceptedSchema, scope=REPORT, fails={413: ErrorResponseSchema, 422: ErrorResponseSchema}, doc=_BODY)
def post_reports() -> Any:
    """Report orders, fills, signals, heartbeats and corrections of bots.

    A report that is refused is in `rejected`, and the others are accepted: on disk, and in effect
    once. Either all of these are, in one step, or the answer is 429 or 503 and none is. The same
    report with the same content again is a duplicate, with another content a `conflict`.
    """
    entries = [_entry(each) for each in read_entries(_FORM, request.mimetype, request.get_data(cache=False))]
    app = context()
    limits = ReportLimits(app.settings.reports_rate, app.settings.report_dedupe_seconds)
    return accept(entries, g.access, report_symbols(_symbols(entries)), app.clock(), report_groups(), limits)


def _entry(entry: Any) -> Any:
    """Return the entry, or its refusal if it is not JSON or has a name twice."""
    if isinstance(entry, BadLine):
        return RejectedReport(ErrorCode.INVALID_PAYLOAD, f"{entry[:1].upper()}{entry[1:]}.")
    if isinstance(entry, JsonObject) and entry.repeated:
        return RejectedReport(ErrorCode.INVALID_PAYLOAD, f"{entry.repeated[0]:.64}: Given more than once.")
    return entry


def _symbols(entries: list[Any]) -> set[str]:
    """Return the instruments that the entries name."""
    return {symbol for entry in entries if isinstance(entry, dict) and isinstance(symbol := entry.get("symbol"), str)}
