"""Reports and their answer in the OpenAPI and AsyncAPI documents.

`api.schemas.report_fields` checks the reports themselves, at a tenth of the cost.
"""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, validate
from marshmallow.fields import Dict, Float, Int, List, Nested, Str

from api.schemas.report_fields import MAX_METADATA_BYTES
from api.schemas.reports import MAX_REPORTS
from db.reports.model import ACTIONS, KINDS, LIQUIDITY, ORDER_STATUSES, OUTCOMES, SIDES, SIGNALS


def _about(text: str, **more: Any) -> dict[str, Any]:
    return {"description": text, **more}


def _decimal(text: str) -> Str:
    return Str(metadata=_about(f"{text}, a decimal string", example="1.09450"))


def _choice(choices: tuple[str, ...], text: str) -> Str:
    return Str(validate=validate.OneOf(choices), metadata=_about(text))


class ReportSchema(Schema):
    """One report of a bot; (bot, kind, id) identifies it. docs/REST.md has the fields per kind."""

    kind = Str(required=True, validate=validate.OneOf(KINDS))
    bot = Str(required=True, metadata=_about("Name of the bot, which the key must list", example="mm-1"))
    strategy = Str(required=True, metadata=_about("Name of a strategy within the bot", example="mean_reversion"))
    id = Str(required=True, metadata=_about("A repeated id has no effect", example="f-17"))
    time = Str(required=True, metadata=_about("At most 5 minutes in the future and 30 days old", format="date-time"))
    metadata = Dict(metadata=_about(f"At most {MAX_METADATA_BYTES} bytes"))
    order_id = Str(metadata=_about("Of orders and fills"))
    fill_id = Str(metadata=_about("Equal to `id`; in a correction, the fill"))
    symbol = Str(metadata=_about("An instrument", example="EUR_USD"))
    side = _choice(SIDES, "Of orders and fills")
    quantity = _decimal("Positive")
    price = _decimal("Positive")
    order_type = Str(metadata=_about("Of an order", example="limit"))
    status = _choice(ORDER_STATUSES, "Of an order")
    client_order_id = Str(metadata=_about("Of an order"))
    reason = Str(metadata=_about("Of an order, for people"))
    decision_price = _decimal("Price at which the order was decided, positive")
    decision_time = Str(metadata=_about("Time of that decision", format="date-time"))
    arrival_price = _decimal("Mid price when the order was sent, positive")
    fee = _decimal("Positive: paid, negative: a rebate; 0 if missing")
    fee_currency = Str(metadata=_about("That of the fill if missing", example="USD"))
    liquidity = _choice(LIQUIDITY, "Of a fill")
    currency = Str(metadata=_about("Of a fill; that of the instrument if missing", example="USD"))
    multiplier = _decimal("Of a fill, positive; 1 if missing")
    signal = _choice(SIGNALS, "Of a signal")
    outcome = _choice(OUTCOMES, "Of a signal")
    confidence = Float(metadata=_about("Of a signal"))
    equity = _decimal("Of a heartbeat")
    cash = _decimal("Of a heartbeat")
    action = _choice(ACTIONS, "Of a correction")


class ReportsSchema(Schema):
    """A batch of reports."""

    reports = List(Nested(ReportSchema), required=True, validate=validate.Length(1, MAX_REPORTS))


class ReportRejectionSchema(Schema):
    """A report that was not accepted."""

    index = Int(required=True, metadata=_about("Its place in the batch, from 0 on"))
    id = Str(required=True, allow_none=True, metadata=_about("Its id; null if it has no readable one"))
    code = Str(required=True, metadata=_about("`invalid_payload`, `unknown_instrument`, `forbidden` or `conflict`"))
    message = Str(required=True)


class ReportsAcceptedSchema(Schema):
    """The outcome for each report of the batch."""

    accepted = Int(required=True, metadata=_about("Reports that take effect"))
    duplicates = Int(required=True, metadata=_about("Reports that were accepted before, with the same content"))
    rejected = List(Nested(ReportRejectionSchema), required=True, metadata=_about("The others, in the order of the batch"))
    timestamp = Str(required=True, metadata=_about("Time of the answer", format="date-time"))
