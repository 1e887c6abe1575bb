"""Schemas of the namespace `/metrics`: requests of clients, answers and broadcasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, validate
from marshmallow.fields import Dict, Field, Int, List, Nested, Raw, Str

from api.fields import Number, TimeText
from api.hub.schemas.requests import ALL, RequestSchema
from api.schemas.alerts import AcknowledgeAlertSchema
from api.schemas.reports import MAX_REPORTS
from db.bus.observability.snapshots import SECTIONS

METRICS_SPACE = "/metrics"  # the namespace
ALERTS, EVENTS = "alerts", "events"
CHANNEL_NAMES = (*SECTIONS, ALERTS, EVENTS)  # in the order of answers
_MAX_CHANNELS = 100  # in one request: repeated names are allowed


class ChannelNames(Field[Sequence[str]]):
    """`"all"`, one channel, or a list; becomes the list of channels, each once, in their order."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Sequence[str]:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not 1 <= len(names) <= _MAX_CHANNELS:
            raise ValidationError(f'Must be "{ALL}" or a list of channels: {", ".join(CHANNEL_NAMES)}.')
        if any(not isinstance(name, str) or name not in (*CHANNEL_NAMES, ALL) for name in names):
            raise ValidationError(f'Must be "{ALL}" or from: {", ".join(CHANNEL_NAMES)}.')
        return [name for name in CHANNEL_NAMES if name in names or ALL in names]


class ReportList(Field[list[Any]]):
    """The reports of a batch, judged one by one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_REPORTS:
            raise ValidationError(f"Must be a list of 1 to {MAX_REPORTS} reports.")
        return value


class MetricsSubscribeSchema(RequestSchema):
    """`subscribe` in `/metrics`"""

    channels = ChannelNames(required=True)
    max_rate = Number(allow_none=True, load_default=None, validate=validate.Range(min=0.1, max=50))


class MetricsUnsubscribeSchema(RequestSchema):
    """`unsubscribe` in `/metrics`; channels that the client does not hold are ignored."""

    channels = ChannelNames(required=True)


class ReportRequestSchema(RequestSchema):
    """`report`: a bad report is rejected by itself."""

    reports = ReportList(required=True)


class AcknowledgeRequestSchema(RequestSchema, AcknowledgeAlertSchema):
    """`acknowledge_alert`: `by` is used only for a caller without a credential."""


def _now() -> TimeText:
    return TimeText(required=True, metadata={"description": "Time at which the hub sent it"})


def _section(text: str) -> Dict:
    return Dict(metadata={"description": text})


class MetricsUpdateSchema(Schema):
    """A snapshot: the sections that the client holds. Decimals are strings."""

    class Meta:
        unknown = INCLUDE

    timestamp = TimeText(required=True)
    seq = Int(required=True, strict=True, metadata={"description": "Rises with each snapshot of an `epoch`"})
    epoch = Str(required=True, metadata={"description": "Changes if the observer restarts"})
    market_data = _section("Prices and trades by symbol")
    strategy = _section("Profit and signals by strategy")
    execution = _section("Orders and fills of the day")
    system = _section("Machine and processes")


class MetricsSubscriptionsSchema(Schema):
    """The channels of the client."""

    channels = List(
        Str(validate=validate.OneOf(CHANNEL_NAMES)), required=True, metadata={"description": "All channels that the client now holds"}
    )
    max_rate = Number(
        required=True, allow_none=True, metadata={"description": "Granted rate of snapshots in Hz; null: every snapshot, or no section"}
    )
    timestamp = _now()


class MetricsSubscribedSchema(MetricsSubscriptionsSchema):
    """The rooms are joined."""

    snapshot = Nested(
        MetricsUpdateSchema,
        required=True,
        allow_none=True,
        metadata={"description": "The newest one of the requested sections; null without a section, or before the first snapshot"},
    )


class MetricsUnsubscribedSchema(Schema):
    """The rooms are left."""

    channels = List(
        Str(validate=validate.OneOf(CHANNEL_NAMES)), required=True, metadata={"description": "All channels that the client still holds"}
    )
    removed = List(Str(), required=True, metadata={"description": "Channels that the client no longer holds"})
    timestamp = _now()


class AlertSchema(Schema):
    """An alert, after each change of its state."""

    class Meta:
        unknown = INCLUDE

    alert_id = Str(required=True)
    type = Str(required=True)
    subject = Str(required=True)
    severity = Str(required=True, validate=validate.OneOf(["warning", "critical"]))
    state = Str(required=True, validate=validate.OneOf(["firing", "acknowledged", "resolved"]))
    message = Str(required=True)
    value = Raw(required=True, allow_none=True, metadata={"description": "A number; null if the rule judges a state"})
    threshold = Raw(required=True, allow_none=True, metadata={"description": "Likewise"})
    time = TimeText(required=True, metadata={"description": "Time at which it began to fire"})
