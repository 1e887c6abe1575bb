"""Schemas of the messages of the bus: the hub relays valid messages only.

Unknown fields are allowed and relayed.
"""

from __future__ import annotations

from typing import Any

import orjson
from marshmallow import INCLUDE, Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Dict, Int, List, Nested, Str

from api.fields import DecimalText, Flag, Number, TimeText
from db.intervals import INTERVALS

_SEVERITY = validate.OneOf(["warning", "critical"])
MAX_NAME_LENGTH, MAX_EPOCH_LENGTH, MAX_SEQ = 32, 64, 2**53
_NAME = validate.Length(min=1, max=MAX_NAME_LENGTH)


class _Open(Schema):
    class Meta:
        unknown = INCLUDE


class PriceSchema(_Open):
    """The price itself."""

    bid = DecimalText(required=True)
    ask = DecimalText(required=True)
    mid = DecimalText(required=True)
    time = TimeText(required=True)


class CandleSchema(_Open):
    """The candle itself, `end_time` exclusive."""

    start_time = TimeText(required=True)
    end_time = TimeText(required=True)
    open = DecimalText(required=True)
    high = DecimalText(required=True)
    low = DecimalText(required=True)
    close = DecimalText(required=True)
    volume = DecimalText(required=True)
    complete = Flag(required=True)
    trades = Int(strict=True, allow_none=True, validate=validate.Range(min=0))


class MessageSchema(_Open):
    """Common fields. Our own publisher sets `seq` and `epoch`, foreign programs set neither."""

    timestamp = TimeText()
    seq = Int(strict=True, validate=validate.Range(min=1, max=MAX_SEQ))
    epoch = Str(validate=validate.Length(min=1, max=MAX_EPOCH_LENGTH))

    @validates_schema
    def _seq_with_epoch(self, data: dict[str, object], **_: object) -> None:
        if ("seq" in data) != ("epoch" in data):
            raise ValidationError("seq and epoch go together.", "seq")


class PriceUpdateSchema(MessageSchema):
    """`price_updates`"""

    instrument = Str(required=True, validate=_NAME)
    price = Nested(PriceSchema, required=True)


class VolatilityAlertSchema(MessageSchema):
    """`volatility_alerts`"""

    instrument = Str(required=True, validate=_NAME)
    volatility = Number(required=True)
    threshold = Number()
    severity = Str(required=True, validate=_SEVERITY)
    message = Str()


class CorrelationAlertSchema(MessageSchema):
    """`correlation_alerts`"""

    instrument1 = Str(required=True, validate=_NAME)
    instrument2 = Str(required=True, validate=_NAME)
    correlation = Number(required=True)
    previous_correlation = Number()
    change = Number()
    threshold = Number()
    severity = Str(validate=_SEVERITY)
    message = Str()


class DataReadySchema(MessageSchema):
    """`data_ready`"""

    data_type = Str(required=True, validate=validate.Length(min=1, max=64))
    instruments = List(Str(validate=_NAME), validate=validate.Length(max=10_000))
    as_of = TimeText()


class CandleUpdateSchema(MessageSchema):
    """`candle_updates`"""

    instrument = Str(required=True, validate=_NAME)
    interval = Str(required=True, validate=validate.OneOf(INTERVALS))
    candle = Nested(CandleSchema, required=True)


class SectionText(Str):
    """The JSON text of a section of the metrics, which is relayed unchanged."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            if isinstance(value, str) and isinstance(orjson.loads(value), dict):
                return value
        except orjson.JSONDecodeError:
            pass
        raise ValidationError("Not the JSON text of an object.")


class SnapshotMessageSchema(_Open):
    """`metrics_updates`; `seq` and `epoch` are those of the observer, not of the bus."""

    timestamp = TimeText(required=True)
    seq = Int(required=True, strict=True, validate=validate.Range(min=0, max=MAX_SEQ))
    epoch = Str(required=True, validate=validate.Length(min=1, max=MAX_EPOCH_LENGTH))
    numbers = Dict(keys=Str(), values=SectionText(), required=True)
    strings = Dict(keys=Str(), values=SectionText(), required=True)


class ObservabilityEventSchema(MessageSchema):
    """`observability_events`: the cause of `event_type`, with more fields for each type."""

    event_id = Str(required=True, validate=validate.Length(min=1, max=200))
    event_type = Str(required=True, validate=validate.Length(min=1, max=64))
    timestamp = TimeText(required=True)
    source = Str(required=True, validate=validate.Length(max=200))
    metadata = Dict(required=True)
