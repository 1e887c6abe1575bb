"""The arguments and the JSON of `GET /metrics`."""

from __future__ import annotations

from dataclasses import dataclass

from marshmallow import Schema, validate
from marshmallow.fields import Bool, Float, Int, Nested, Str

from api.rest.schemas.answers import about, output_time
from api.rest.schemas.arguments import QuerySchema
from config.exposition import FORMATS


@dataclass(frozen=True, slots=True)
class FormatQuery:
    """A request for metrics; without a `format`, `Accept` decides."""

    format: str | None = None


class FormatQuerySchema(QuerySchema):
    """The form of the answer."""

    makes = FormatQuery
    format = Str(validate=validate.OneOf(FORMATS), metadata=about("Form of the answer; without it, `Accept` decides"))


class PerformanceFiguresSchema(Schema):
    """Figures of the jobs process."""

    tradesPerSecond = Float(required=True, metadata=about("Accepted records per second, of the last 60 s"))
    averageLatency = Float(required=True, metadata=about("Mean time from a record to its acceptance in ms, of the last 60 s"))
    errorCount = Int(required=True, metadata=about("Errors of sources and failed batches since the start"))
    reconnectionCount = Int(required=True, metadata=about("Reconnections of all sources since the start"))
    memoryUsage = Int(required=True, metadata=about("Resident memory in bytes"))
    batchProcessingTime = Float(required=True, metadata=about("Mean time of a writer batch in ms, of the last 60 s"))


class StatusFiguresSchema(Schema):
    """State of the system."""

    isRunning = Bool(required=True, metadata=about("True if a jobs process with the duty `timed` reported within 15 s"))
    binanceConnected = Bool(required=True, metadata=about("True if the source `binance` is live"))
    databaseConnected = Bool(required=True, metadata=about("As `database` in `/health`"))
    bufferSize = Int(required=True, metadata=about("Unstored prices and trades"))
    totalTrades = Int(required=True, metadata=about("Accepted records since the start of the jobs process"))
    totalBatches = Int(required=True, metadata=about("Stored batches since the start of the jobs process"))
    uptime = Float(required=True, metadata=about("Seconds since the start of the jobs process"))


class FiguresSchema(Schema):
    """Figures of all jobs processes; 0 and false without one."""

    timestamp = output_time("Time of the answer")
    performance = Nested(PerformanceFiguresSchema, required=True)
    status = Nested(StatusFiguresSchema, required=True)
