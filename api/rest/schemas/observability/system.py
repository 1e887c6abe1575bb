"""Queries and answers of the routes of the system."""

from __future__ import annotations

from dataclasses import dataclass

from marshmallow import Schema, validate
from marshmallow.fields import Bool, Dict, Float, Int, List, Nested, Str

from api.rest.schemas.answers import about, output_time
from api.rest.schemas.arguments import PRINTABLE, QuerySchema
from api.rest.schemas.listings import choice
from config.fields import WholeNumber
from health.system.components import CIRCUITS, STATUSES
from health.system.recent_logs import LEVELS, MAX_RECORDS

DEFAULT_RECORDS = 100


class ComponentSchema(Schema):
    """A collector of the observer, or the sockets of the hubs (`websocket`)."""

    name = Str(metadata=about("Its section"))
    status = Str(required=True, validate=validate.OneOf(STATUSES))
    uptime_seconds = Float()
    metrics_collected = Int()
    errors = Int()
    circuit = Str(validate=validate.OneOf(CIRCUITS), metadata=about("State of its circuit breaker, if it reads remote servers"))
    connections = Int(metadata=about("Of `websocket`: clients of all hubs"))
    stats = Dict(metadata=about("Of `websocket`: counts of all hubs"))


class ComponentsSchema(Schema):
    """The collectors of the observer, and the sockets of the hubs."""

    status = Str(required=True, metadata=about("`healthy`, `degraded`, or `unhealthy` if no collector is ready"))
    components = Dict(keys=Str(), values=Nested(ComponentSchema), required=True)
    timestamp = output_time("Time of the answer")


class ApiStatsSchema(Schema):
    """The sockets of all hubs."""

    running = Bool(required=True)
    websocket_connections = Int(required=True)
    total_messages_sent = Int(required=True)


class CollectorStatsSchema(Schema):
    """A collector of the observer."""

    name = Str(required=True)
    status = Str(required=True, validate=validate.OneOf(STATUSES))
    uptime = Float(required=True, metadata=about("Seconds"))
    metrics_collected = Int(required=True)
    errors = Int(required=True)
    error_rate = Float(required=True, metadata=about("Errors / collections"))


class SystemStatsSchema(Schema):
    """Counts of the sockets and the collectors."""

    api = Nested(ApiStatsSchema, required=True)
    collectors = Dict(keys=Str(), values=Nested(CollectorStatsSchema), required=True)


@dataclass(frozen=True, slots=True)
class LogsQuery:
    """A request for log records of at least `level`, or with `exact` "true" of that level only."""

    level: str
    limit: int
    exact: str
    service: str | None = None


class LogsQuerySchema(QuerySchema):
    """The selection of log records."""

    makes = LogsQuery

    level = choice(LEVELS, "Least level", load_default="INFO")
    limit = WholeNumber(
        load_default=DEFAULT_RECORDS,
        validate=validate.Range(min=1, max=MAX_RECORDS, error="Must be from {min} to {max}."),
        metadata=about("Maximum number of records"),
    )
    service = Str(validate=PRINTABLE, metadata=about("`hub`, `rest`, `jobs`, `observer` or `up`", example="jobs"))
    exact = choice(("true", "false"), "`true`: records of that level only", load_default="false")


class LogRecordSchema(Schema):
    """A log record, without secrets."""

    timestamp = output_time("Time of the record")
    level = Str(required=True)
    message = Str(required=True)
    service = Str(required=True)
    logger = Str(required=True)
    fields_ = Dict(required=True, data_key="fields", metadata=about("Variable parts of the message"))


class LogsSchema(Schema):
    """The newest log records of all processes."""

    logs = List(Nested(LogRecordSchema), required=True)
    count = Int(required=True)
    level = Str(required=True)
