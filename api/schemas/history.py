"""The request for stored metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, ValidationError, post_load, validate, validates_schema
from marshmallow.fields import Int, List, Str

from api.fields import TimeText
from api.schemas.observability import METRIC_TYPES, TIME_RANGES, about
from db.metrics.history import INTERVALS, Span
from db.timestamps import parse_time

MAX_RECORDS, DEFAULT_RECORDS = 10_000, 1_000
_MAX_NAMES = 1_000


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """A request for stored metrics.

    None is a missing field. An empty list of names selects nothing.
    """

    time_range: Span | None = None
    start_time: str | None = None
    end_time: str | None = None
    metric_types: tuple[str, ...] = METRIC_TYPES
    symbols: tuple[str, ...] | None = None
    strategies: tuple[str, ...] | None = None
    bots: tuple[str, ...] | None = None
    interval: str = "5m"
    limit: int = DEFAULT_RECORDS
    page_token: str | None = None


class _JsonInt(Int):
    """A whole JSON number; numeric text is invalid."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or (isinstance(value, float) and not value.is_integer()):
            raise ValidationError("Not a whole number.")
        return int(value)


def _names(text: str) -> List[str]:
    return List(
        Str(validate=validate.Regexp(r"^[^\x00-\x1f\x7f]{1,64}$", error="Must be 1 to 64 printable characters.")),
        validate=validate.Length(max=_MAX_NAMES),
        metadata=about(text),
    )


class MetricsHistoryRequestSchema(Schema):
    """A request for stored metrics of a range of time: the last hour by default."""

    time_range = Str(validate=validate.OneOf(TIME_RANGES), metadata=about("Ends now; instead of `start_time` and `end_time`"))
    start_time = TimeText(metadata=about("From this time on; an hour before the end if missing", format="date-time"))
    end_time = TimeText(metadata=about("Before this time; now if missing", format="date-time"))
    metric_types = List(Str(validate=validate.OneOf(METRIC_TYPES)), metadata=about("All if missing"))
    symbols = _names("Of market data; all if missing")
    strategies = _names("Of strategies and executions; all if missing")
    bots = _names("Of strategies and executions; all if missing")
    interval = Str(validate=validate.OneOf(list(INTERVALS)), metadata=about("Length of the interval of a record; 5m if missing"))
    limit = _JsonInt(
        validate=validate.Range(min=1, max=MAX_RECORDS, error="Must be from {min} to {max}."),
        metadata=about(f"Maximum number of records; {DEFAULT_RECORDS} if missing"),
    )
    page_token = Str(metadata=about("`next_page_token` of the previous page; all other fields unchanged"))

    @validates_schema
    def _check(self, data: dict[str, Any], **_: Any) -> None:
        for name in ("start_time", "end_time"):
            if "time_range" in data and name in data:
                raise ValidationError(f"Not together with {name}.", "time_range")
        if "start_time" in data and "end_time" in data and parse_time(data["start_time"]) > parse_time(data["end_time"]):
            raise ValidationError("Must not be before start_time.", "end_time")

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> HistoryRequest:
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
        return HistoryRequest(**values)
