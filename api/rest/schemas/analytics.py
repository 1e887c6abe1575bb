"""What the routes of volatility, correlation, alerts and jobs take and give."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Dict, Float, Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, time_text
from api.rest.schemas.arguments import SymbolList, TimeArgument
from api.rest.schemas.listings import FORMATS, ListQuery, next_page, symbol_argument, token_argument
from db.correlations import METHODS
from db.listing import tables as listings
from db.volatility import ESTIMATORS

_COMMON = "Hours that the two have in common (`shrunk`: that all have)"


def _number(text: str, **more: Any) -> Float:
    return Float(required=True, metadata=about(text), **more)


def _one_of(names: tuple[str, ...], text: str, **more: Any) -> Str:
    return Str(validate=validate.OneOf(names), metadata=about(text), **more)


def _estimator() -> Str:
    return _one_of(ESTIMATORS, "One estimator alone; `alert` is the figure that alerts look at, scaled to a day")


def _method() -> Str:
    return _one_of(METHODS, "How it was computed", load_default="pearson")


def _format() -> Str:
    return Str(load_default="json", validate=validate.OneOf(FORMATS))


class VolatilityQuery(ListQuery):
    """A part of one instrument's volatility."""

    symbol = symbol_argument()
    estimator = _estimator()
    page_token = token_argument(listings.VOLATILITY)


class EstimateSchema(Schema):
    """What one estimator says, as fractions: 0.01 is 1 %."""

    volatility = _number("Per hour; that of `alert` per day")
    annualised = _number("Per year of the hours in which such an instrument trades")
    observations = Int(required=True, metadata=about("How many observations it is made of"))


class VolatilityRowSchema(EstimateSchema):
    """One stored estimate."""

    time = time_text("Where its window ends")
    estimator = Str(required=True)


class VolatilitySchema(Schema):
    """A page of stored volatility. What was not available has no row."""

    symbol = Str(required=True)
    volatility = List(Nested(VolatilityRowSchema), required=True)
    next_page_token = next_page()


class LatestVolatilityQuery(Schema):
    """All instruments or some, all estimators or one."""

    symbols = SymbolList(metadata=about("Some instruments, separated by commas; all without it", example="EUR_USD,BTCUSDT"))
    estimator = _estimator()
    format = _format()


class InstrumentVolatilitySchema(Schema):
    """One instrument's volatility."""

    time = time_text("The last full hour for which there is any")
    estimators = Dict(keys=Str(), values=Nested(EstimateSchema), required=True, metadata=about("Estimator to estimate, of those available"))


class LatestVolatilitySchema(Schema):
    """The last volatility of every instrument that has any."""

    volatility = Dict(keys=Str(), values=Nested(InstrumentVolatilitySchema), required=True, metadata=about("By symbol"))
    count = Int(required=True, metadata=about("Instruments in it"))
    timestamp = time_text("Now")


class MatrixQuery(Schema):
    """Which matrix."""

    as_of = TimeArgument(metadata=about("The last one up to this time; without it, the last one", format="date-time"))
    method = _method()
    symbols = SymbolList(
        metadata=about("Some instruments, separated by commas, which also order the matrix; all without it", example="EUR_USD,GBP_USD")
    )
    format = _format()


class MatrixSchema(Schema):
    """A correlation matrix: row and column i belong to `symbols[i]`. It is symmetric; null is what is not available."""

    as_of = time_text("Where its window ends")
    method = Str(required=True)
    symbols = List(Str(), required=True)
    matrix = List(List(Float(allow_none=True)), required=True, metadata=about("-1 to 1, and 1 on the diagonal"))
    observations = List(
        List(Int(allow_none=True)),
        required=True,
        metadata=about(f"{_COMMON}; null on the diagonal, where none are counted"),
    )
    timestamp = time_text("Now")


class HistoryQuery(ListQuery):
    """A part of the history of one pair, given in either order."""

    symbol1 = symbol_argument("One of the two")
    symbol2 = symbol_argument("The other", example="GBP_USD")
    method = _method()
    page_token = token_argument(listings.CORRELATIONS)

    @validates_schema
    def _two(self, data: dict[str, Any], **_: Any) -> None:
        if data["symbol1"] == data["symbol2"]:
            raise ValidationError("Must be another than symbol1.", "symbol2")


class CorrelationSchema(Schema):
    """The correlation of the pair on one day."""

    time = time_text("Where its window ends")
    correlation = _number("-1 to 1; null where it is not available", allow_none=True)
    observations = Int(required=True, metadata=about(_COMMON))


class HistorySchema(Schema):
    """A page of one pair's history."""

    symbol1 = Str(required=True)
    symbol2 = Str(required=True)
    history = List(Nested(CorrelationSchema), required=True)
    next_page_token = next_page()


class AlertsQuery(ListQuery):
    """A part of the alerts; `start` and `end` are about the time of what they saw."""

    type = _one_of(("volatility", "correlation"), "What they are about")
    symbol = symbol_argument("An instrument; of a correlation, either of the two", required=False)
    severity = _one_of(("warning", "critical"), "How bad")
    page_token = token_argument(listings.ALERTS)


class AlertSchema(Schema):
    """One alert with what it saw."""

    id = Int(required=True)
    type = Str(required=True, metadata=about("`volatility` or `correlation`"))
    symbol = Str(required=True)
    symbol2 = NullableText("The other instrument of a correlation; null for volatility")
    severity = Str(required=True, metadata=about("`warning` or `critical`"))
    time = time_text("Of what it saw")
    value = _number("The volatility, scaled to a day, or the correlation")
    previous = _number("The correlation before; null for volatility", allow_none=True)
    threshold = _number("What the volatility, or the change of the correlation, is above")
    message = Str(required=True, metadata=about("For people"))
    published = NullableText("When the bus had it; null until then", format="date-time")


class AlertsSchema(Schema):
    """A page of alerts."""

    alerts = List(Nested(AlertSchema), required=True)
    next_page_token = next_page()


class RunSchema(Schema):
    """One run of a job."""

    as_of = time_text("The moment that it was for: of a run that was caught up, earlier than its start")
    started = time_text("When it began")
    finished = NullableText("When it ended; null while it runs", format="date-time")
    duration_seconds = _number("Null while it runs", allow_none=True)
    outcome = Str(required=True, metadata=about("`running`, `succeeded`, `failed`, or `abandoned`: its process ended before it did"))
    rows = Int(required=True, allow_none=True, metadata=about("How many it wrote"))
    error = NullableText("What went wrong")


class JobSchema(Schema):
    """One job as the active scheduler has it."""

    id = Str(required=True, metadata=about("Its name", example="hourly_job"))
    schedule = Str(required=True, metadata=about("In words, UTC", example="every hour at :00"))
    next_run = NullableText("When it runs next; null for a job that lasts as long as its process", format="date-time")
    last_run = Nested(RunSchema, required=True, allow_none=True, metadata=about("Its last run, null without one; lasting jobs have none"))


class JobsSchema(Schema):
    """Every job."""

    jobs = List(Nested(JobSchema), required=True)
    count = Int(required=True)
    timestamp = time_text("Now")
