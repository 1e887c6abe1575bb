"""What the hub says to its clients, and the table of all events both ways.

Nothing is checked by these when the hub runs: what it broadcasts has passed `api.hub.schemas.bus`, and its own answers are its own. The
AsyncAPI document is made from them, and tests hold the messages of a running hub against them, which may not lack a field nor have another.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from marshmallow import Schema, validate
from marshmallow.fields import Dict, Int, List, Nested, Raw, Str

from api.errors import ErrorCode
from api.fields import Flag, Number, TimeText
from api.hub.schemas import bus
from api.hub.schemas.requests import METRICS, OPERATORS
from db.intervals import INTERVALS

_HUBS_CODES = [code.value for code in ErrorCode if code is not ErrorCode.NO_DATA]


def _about(text: str) -> dict[str, Any]:
    return {"description": text}


def _count(text: str, **more: Any) -> Int:
    return Int(required=True, strict=True, validate=validate.Range(min=0), metadata=_about(text), **more)


def _now() -> TimeText:
    return TimeText(required=True, metadata=_about("When the hub said it"))


def _names(text: str) -> List[str]:
    return List(Str(), required=True, metadata=_about(text))


class ConnectionEstablishedSchema(Schema):
    """The first thing that a client hears."""

    client_id = Str(required=True)
    message = Str(required=True)
    server_time = _now()
    available_pairs = _names("Every instrument that can be subscribed to")
    ping_interval = _count("Seconds from one ping of the hub to the next")
    ping_timeout = _count("Seconds it waits for the pong")


class CandleSeriesSchema(Schema):
    """One series of candles."""

    pair = Str(required=True)
    interval = Str(required=True, validate=validate.OneOf(list(INTERVALS)))


class RejectedSchema(Schema):
    """One item of a request that could not be served, by itself."""

    pair = Raw(required=True, allow_none=True, metadata=_about("As it was asked for, whatever it was"))
    interval = Raw(allow_none=True, metadata=_about("Of a candle, as it was asked for"))
    code = Str(required=True, validate=validate.OneOf([ErrorCode.UNKNOWN_INSTRUMENT.value, ErrorCode.INVALID_PAYLOAD.value]))
    message = Str(required=True)


class SubscriptionsInfoSchema(Schema):
    """What the client holds."""

    pairs = _names("All instruments now held")
    pair_count = _count("How many these are")
    candles = List(Nested(CandleSeriesSchema), metadata=_about("All candles now held; only there for clients that hold or asked for some"))
    timestamp = _now()


class SubscriptionConfirmedSchema(SubscriptionsInfoSchema):
    """Rooms are joined; what was missed follows."""

    added = _names("Instruments that were not held before")
    rejected = List(Nested(RejectedSchema), required=True)
    snapshot = Dict(
        keys=Str(),
        values=Nested(bus.PriceUpdateSchema),
        required=True,
        metadata=_about("Instrument to its latest price, of those that have one"),
    )
    recovered = Dict(
        keys=Str(), values=Flag(), required=True, metadata=_about("Of each instrument in `since`: whether everything missed follows")
    )
    max_rate = Number(required=True, allow_none=True, metadata=_about("Granted, in Hz; null without one"))
    candle_snapshot = List(Nested(bus.CandleUpdateSchema), metadata=_about("The newest candle of each series asked for that has one"))


class UnsubscriptionConfirmedSchema(SubscriptionsInfoSchema):
    """Rooms are left."""

    removed = _names("Instruments that were held and are not any more")


class AllPricesSchema(Schema):
    """The latest price of every instrument that has one."""

    prices = Dict(keys=Str(), values=Nested(bus.PriceSchema), required=True, metadata=_about("By instrument"))
    count = _count("How many")
    timestamp = _now()


class ServerStatsSchema(Schema):
    """Figures of the whole hub process."""

    connected_clients = _count("Clients now")
    total_connections = _count("Clients since it started")
    total_subscriptions = _count("Instruments held, over all clients")
    subscriptions_by_pair = Dict(
        keys=Str(), values=Int(strict=True), required=True, metadata=_about("Instrument to clients, where there are any")
    )
    candle_subscriptions = _count("Candles held, over all clients")
    alerts_set = _count("Alerts of their own that all clients have")
    messages_relayed = _count("Messages taken from the bus")
    messages_delivered = _count("Messages handed to clients")
    average_batch = Number(required=True, metadata=_about("Messages sent together, on average"))
    messages_skipped = Dict(
        keys=Str(), values=Int(strict=True), required=True, metadata=_about("What was on the bus and not relayed, by kind")
    )
    messages_conflated = _count("Prices left out for clients that did not keep up")
    slow_clients = _count("Clients disconnected for not keeping up")
    outbox_bytes = _count("Waiting for all clients")
    uptime_seconds = Number(required=True)
    memory_usage_mb = Number(required=True, metadata=_about("MiB resident"))
    redis_connected = Flag(required=True)
    last_message_age_seconds = Number(required=True, allow_none=True, metadata=_about("Null before the first message"))
    open_sessions = _names("Markets that are open")
    timestamp = _now()


class PongSchema(Schema):
    """For measuring the way."""

    timestamp = Raw(required=True, allow_none=True, metadata=_about("The client's own, as it was; without one the hub's time"))
    server_time = _now()


class GapNoticeSchema(Schema):
    """The client did not keep up, and does again."""

    dropped = Dict(
        keys=Str(),
        values=Int(strict=True),
        required=True,
        metadata=_about("Instrument, or `INSTRUMENT|interval` of candles, to messages left out"),
    )
    reason = Str(required=True, validate=validate.Equal("slow_consumer"))


class ErrorEventSchema(Schema):
    """A request was refused, or the hub goes away (`unavailable`)."""

    component_name = "Error"  # in the AsyncAPI document

    code = Str(required=True, validate=validate.OneOf(_HUBS_CODES), metadata=_about("For programs"))
    message = Str(required=True, metadata=_about("For people"))
    event = Str(required=True, metadata=_about("The event that was refused; `connect` or `disconnect` where it was none"))
    details = Dict(required=True, metadata=_about("Names the fields that are wrong; `retry_after`, in seconds, with `unavailable`"))


class ClientAlertSchema(Schema):
    """An alert of a client's own."""

    id = Str(required=True)
    instrument = Str(required=True)
    metric = Str(required=True, validate=validate.OneOf(METRICS))
    op = Str(required=True, validate=validate.OneOf(OPERATORS))
    value = Raw(required=True, metadata=_about("A decimal string for a price, a number for a volatility"))
    once = Flag(required=True)


class AlertSetSchema(Schema):
    """The hub waits for it."""

    alert = Nested(ClientAlertSchema, required=True)
    count = _count("Alerts of this client now")
    timestamp = _now()


class AlertsListSchema(Schema):
    """The client's alerts, in the order they were set."""

    alerts = List(Nested(ClientAlertSchema), required=True)
    count = _count("How many")
    timestamp = _now()


class AlertDeletedSchema(Schema):
    """Gone."""

    deleted = _names("Ids")
    count = _count("Alerts of this client left")
    timestamp = _now()


class AlertTriggeredSchema(ClientAlertSchema):
    """What the client waited for has come."""

    current = Raw(required=True, metadata=_about("The value that fired it: a decimal string or a number, like `value`"))
    time = TimeText(required=True, metadata=_about("Of the price, or the end of the hour of the volatility"))
    timestamp = _now()
    seq = _count("Of the price; null for a volatility and for a price without one", allow_none=True)
    epoch = Str(required=True, allow_none=True)


class HubEvent(NamedTuple):
    """An event of the hub that neither answers a request nor comes from a channel."""

    schema: type[Schema]
    audience: str
    everywhere: bool = False  # sent in every namespace, not in the main one alone


# event -> row
GREETING = {"connection_established": HubEvent(ConnectionEstablishedSchema, "A client that has just connected")}
NOTICES = {
    "alert_triggered": HubEvent(AlertTriggeredSchema, "The client whose alert it is"),
    "gap_notice": HubEvent(GapNoticeSchema, "A client that had not kept up"),
    "error": HubEvent(
        ErrorEventSchema,
        "The client whose request was refused; everyone, with `unavailable`, before the hub goes away",
        everywhere=True,
    ),
}
