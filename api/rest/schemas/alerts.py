"""Query and answer of `/alerts`."""

from __future__ import annotations

from marshmallow import Schema
from marshmallow.fields import Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_number, output_time
from api.rest.schemas.listings import ListQuerySchema, choice, next_page, symbol_argument, token_argument
from db.listing.tables import ALERT_TYPES, ALERTS


class AlertsQuerySchema(ListQuerySchema):
    """A range of the alerts; `start` and `end` refer to the time of the figure."""

    type = choice(ALERT_TYPES, "Kind of figure")
    symbol = symbol_argument("An instrument; of a correlation, either of the two", required=False)
    severity = choice(("warning", "critical"), "Severity")
    page_token = token_argument(ALERTS)


class AlertSchema(Schema):
    """One alert with its figures."""

    id = Int(required=True)
    type = Str(required=True, metadata=about("`volatility` or `correlation`"))
    symbol = Str(required=True)
    symbol2 = NullableText("The other instrument of a correlation; null for volatility")
    severity = Str(required=True, metadata=about("`warning` or `critical`"))
    time = output_time("Time of the figure")
    value = output_number("The volatility, scaled to a day, or the correlation")
    previous = output_number("The correlation before; null for volatility", allow_none=True)
    threshold = output_number("The threshold that the volatility, or the change of the correlation, exceeds")
    message = Str(required=True, metadata=about("For people"))
    published = NullableText("Time at which the bus accepted it; null until then", format="date-time")


class AlertsSchema(Schema):
    """A page of alerts."""

    alerts = List(Nested(AlertSchema), required=True)
    next_page_token = next_page()
