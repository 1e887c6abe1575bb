"""Queries and answers of volatility and correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Bool, Dict, Float, Int, List, Nested, Str

from api.rest.schemas.answers import about, output_number, output_time
from api.rest.schemas.arguments import QuerySchema, SymbolList, TimeArgument
from api.rest.schemas.listings import FORMATS, ListQuerySchema, choice, next_page, symbol_argument, token_argument
from api.rest.schemas.paging import Format
from db.correlations import METHODS
from db.listing import tables as listings
from db.volatility import ESTIMATORS

_COMMON = "Hours that the two have in common (`shrunk`: that all have)"


def _estimator() -> Str:
    return choice(ESTIMATORS, "One estimator only; `alert` is the figure that alerts compare, scaled to a day")


def _method() -> Str:
    return choice(METHODS, "Method of computation", load_default="pearson")


def _format() -> Str:
    return Str(load_default="json", validate=validate.OneOf(FORMATS))


class VolatilityQuerySchema(ListQuerySchema):
    """A range of one instrument's volatility."""

    symbol = symbol_argument()
    estimator = _estimator()
    page_token = token_argument(listings.VOLATILITY)


class EstimateSchema(Schema):
    """One estimate, as fractions: 0.01 is 1 %."""

    volatility = output_number("Per hour; that of `alert` per day")
    annualised = output_number("Per year of the hours in which such an instrument trades")
    observations = Int(required=True, metadata=about("Number of observations"))


class VolatilityRowSchema(EstimateSchema):
    """One stored estimate."""

    time = output_time("End of its window")
    estimator = Str(required=True)


class VolatilitySchema(Schema):
    """A page of stored volatility. An estimate that was not available has no row."""

    symbol = Str(required=True)
    volatility = List(Nested(VolatilityRowSchema), required=True)
    next_page_token = next_page()


@dataclass(frozen=True, slots=True)
class LatestVolatilityQuery:
    """A request for the last estimates; None selects all instruments, or all estimators."""

    format: Format
    symbols: tuple[str, ...] | None = None
    estimator: str | None = None


class LatestVolatilityQuerySchema(QuerySchema):
    """All instruments or some, all estimators or one."""

    makes = LatestVolatilityQuery

    symbols = SymbolList(metadata=about("Some instruments, separated by commas; all without it", example="EUR_USD,BTCUSDT"))
    estimator = _estimator()
    format = _format()


class InstrumentVolatilitySchema(Schema):
    """One instrument's volatility."""

    time = output_time("The last full hour with an estimate")
    estimators = Dict(keys=Str(), values=Nested(EstimateSchema), required=True, metadata=about("Estimator to estimate, of those available"))


class VolatilityThresholdsSchema(Schema):
    """An alert is raised above these values of the estimator `alert`."""

    warning = output_number("A fraction per day")
    critical = output_number("A fraction per day")


class LatestVolatilitySchema(Schema):
    """The last volatility of every instrument that has one."""

    volatility = Dict(keys=Str(), values=Nested(InstrumentVolatilitySchema), required=True, metadata=about("By symbol"))
    thresholds = Dict(keys=Str(), values=Nested(VolatilityThresholdsSchema), required=True, metadata=about("Of alerts, by symbol"))
    count = Int(required=True, metadata=about("Number of instruments"))
    timestamp = output_time("Time of the answer")


@dataclass(frozen=True, slots=True)
class MatrixQuery:
    """A request for the last matrix up to `as_of`.

    None selects the last one, or all instruments.
    """

    method: str
    format: Format
    repair: str | None = None
    as_of: str | None = None
    symbols: tuple[str, ...] | None = None


class MatrixQuerySchema(QuerySchema):
    """The selection of one matrix."""

    makes = MatrixQuery

    as_of = TimeArgument(metadata=about("The last matrix up to this time; without it, the last one", format="date-time"))
    method = _method()
    symbols = SymbolList(
        metadata=about("Some instruments, separated by commas, which also order the matrix; all without it", example="EUR_USD,GBP_USD")
    )
    repair = choice(("psd",), "`psd`: the nearest positive semidefinite correlation matrix, by Higham's method of 2002")
    format = _format()


class MatrixSchema(Schema):
    """A symmetric correlation matrix: row and column i belong to `symbols[i]`.

    Null: not available.
    """

    as_of = output_time("End of its window")
    method = Str(required=True)
    repaired = Bool(metadata=about("True with `repair`, else absent"))
    symbols = List(Str(), required=True)
    matrix = List(
        List(Float(allow_none=True)),
        required=True,
        metadata=about("-1 to 1; 1 on the diagonal, null for an instrument without variance or with fewer than 2 returns"),
    )
    observations = List(
        List(Int(allow_none=True)),
        required=True,
        metadata=about(f"{_COMMON}; null on the diagonal, which counts none"),
    )
    timestamp = output_time("Time of the answer")


class HistoryQuerySchema(ListQuerySchema):
    """A range of the history of one pair, given in either order."""

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

    time = output_time("End of its window")
    correlation = output_number("-1 to 1; null if it is not available", allow_none=True)
    observations = Int(required=True, metadata=about(_COMMON))


class HistorySchema(Schema):
    """A page of one pair's history."""

    symbol1 = Str(required=True)
    symbol2 = Str(required=True)
    history = List(Nested(CorrelationSchema), required=True)
    next_page_token = next_page()
