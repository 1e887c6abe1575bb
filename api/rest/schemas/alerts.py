"""Query and answer of `/alerts`."""

from __future__ import annotations

from marshmallow import Schema
from marshmallow.fields import Bool, Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_number, output_time
from api.rest.schemas.arguments import SUBJECT
from api.rest.schemas.listings import ListQuerySchema, choice, next_page, symbol_argument, token_argument
from db.alerts import ALERT_TYPES, SEVERITIES, STATES
from db.listing.tables import ALERTS


class AlertsQuerySchema(ListQuerySchema):
    """A range of the alerts; `start` and `end` refer to the time of the figure."""

    type = choice(ALERT_TYPES, "`volatility` and `correlation` need the scope `read`, the others `observe`")
    symbol = symbol_argument("An instrument; of a correlation, either of the two", required=False)
    severity = choice(SEVERITIES, "Severity")
    state = choice(STATES, "State; an alert is active until it is resolved")
    subject = Str(validate=SUBJECT, metadata=about("An instrument, a pair, or a part of the system", example="disk"))
    page_token = token_argument(ALERTS)


class AlertSchema(Schema):
    """One alert with its figures."""

    id = Int(required=True)
    type = Str(required=True, metadata=about("`volatility`, `correlation`, `system`, `strategy` or `execution`"))
    symbol = NullableText("The instrument; null for alerts without one")
    symbol2 = NullableText("The other instrument of a correlation; else null")
    severity = Str(required=True, metadata=about("`warning` or `critical`"))
    time = output_time("Time of the figure")
    value = output_number(
        "The volatility, scaled to a day, the correlation, or the value of a rule; null if the rule judges a state", allow_none=True
    )
    previous = output_number("The correlation before; else null", allow_none=True)
    threshold = output_number("The threshold that the value, or the change of the correlation, exceeds; else null", allow_none=True)
    message = Str(required=True, metadata=about("For people"))
    published = NullableText("Time at which the bus accepted it; null until then", format="date-time")
    alert_id = Str(required=True, metadata=about("Its id for acknowledgements", example="system:disk:critical:1763469296789"))
    subject = Str(required=True, metadata=about("The instrument, the pair `A|B`, or for example `disk` or `source:binance`"))
    state = Str(required=True, metadata=about("`firing`, `acknowledged` or `resolved`"))
    active = Bool(required=True, metadata=about("False when it is resolved"))
    updated_at = output_time("Time of the last change of its state")
    acknowledged_at = NullableText("Time of the acknowledgement; else null", format="date-time")
    acknowledged_by = NullableText("Name of the acknowledging caller; else null")
    comment = NullableText("Comment of the acknowledgement; else null")
    resolved_at = NullableText("Time of the end of its episode; else null", format="date-time")


class AlertsSchema(Schema):
    """A page of alerts."""

    alerts = List(Nested(AlertSchema), required=True)
    next_page_token = next_page()
