"""Schemas of the hub's answers and notices.

A running hub does not validate with them: its broadcasts have passed the schema of their channel,
and it builds the answers itself. The AsyncAPI document is made from them. Tests compare the
messages of a running hub with them, field by field.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from marshmallow import Schema, validate
from marshmallow.fields import Dict, Int, List, Nested, Raw, Str

from api.access.model import OBSERVE, OPEN, READ
from api.errors import ErrorCode
from api.fields import Flag, Number, TimeText
from api.hub.schemas import bus
from api.hub.schemas.books import BookSnapshotSchema
from api.hub.schemas.metrics import METRICS_SPACE, AlertSchema
from api.hub.schemas.requests import ALL, METRICS, OPERATORS
from db.intervals import INTERVALS
from db.topics import BOOK_DEPTHS

_RESTS_CODES = (ErrorCode.NO_DATA, ErrorCode.BOOK_NOT_LIVE, ErrorCode.UNKNOWN_SCENARIO, ErrorCode.SCENARIO_UNAVAILABLE)
_HUBS_CODES = [code.value for code in ErrorCode if code not in _RESTS_CODES]


_REJECTED_CODES = [code.value for code in (ErrorCode.UNKNOWN_INSTRUMENT, ErrorCode.INVALID_PAYLOAD, ErrorCode.FORBIDDEN, ErrorCode.NO_BOOK)]
_DETAILS = (
    "Names the invalid fields, or the missing `scope`; with `unavailable`, `retry_after` in seconds; with `unauthorized` of `disconnect`, "
    "`reason` (`expired`, `revoked` or `key_changed`) and `reconnect`"
)


def _about(text: str) -> dict[str, Any]:
    return {"description": text}


def _count(text: str, **more: Any) -> Int:
    return Int(required=True, strict=True, validate=validate.Range(min=0), metadata=_about(text), **more)


def _counts(text: str) -> Dict:
    return Dict(keys=Str(), values=Int(strict=True), required=True, metadata=_about(text))


def _now() -> TimeText:
    return TimeText(required=True, metadata=_about("Time at which the hub sent it"))


def _names(text: str) -> List[str]:
    return List(Str(), required=True, metadata=_about(text))


class ConnectionEstablishedSchema(Schema):
    """The first event of every connection."""

    client_id = Str(required=True)
    message = Str(required=True)
    server_time = _now()
    available_pairs = _names("Every instrument that can be subscribed to")
    ping_interval = _count("Seconds from one ping of the hub to the next")
    ping_timeout = _count("Seconds that the hub waits for the pong")
    key_id = Str(required=True, allow_none=True, metadata=_about("Id of the API key; null with a token, and without a credential"))
    scopes = List(Str(), required=True, allow_none=True, metadata=_about("Rights of the credential; null without one"))
    expires_at = TimeText(required=True, allow_none=True, metadata=_about("Time at which the credential expires; null if it does not"))


class RefreshedSchema(Schema):
    """The rights of a new token are in force."""

    expires_at = TimeText(required=True, allow_none=True, metadata=_about("Time at which the new token expires"))
    scopes = _names("Rights of the new token")
    instruments = _names("Its patterns of instruments")
    removed = _names("Rooms that the client is no longer in, because the token has fewer rights")
    timestamp = _now()


class CredentialsExpiringSchema(Schema):
    """The credential expires soon: send `refresh` with a new token."""

    expires_at = TimeText(required=True)
    in_seconds = _count("Seconds until then: 60, or fewer for a shorter life")


class CandleSeriesSchema(Schema):
    """One series of candles."""

    pair = Str(required=True)
    interval = Str(required=True, validate=validate.OneOf(list(INTERVALS)))


class HeldBookSchema(Schema):
    """One book of a client."""

    pair = Str(required=True)
    depth = Int(required=True, strict=True, validate=validate.OneOf(BOOK_DEPTHS))


class RejectedSchema(Schema):
    """One item of a request that was not served."""

    pair = Raw(
        required=True, allow_none=True, metadata=_about("The requested value; at most 64 characters of it; null if JSON cannot contain it")
    )
    interval = Raw(allow_none=True, metadata=_about("Of a candle: the requested value, likewise"))
    depth = Raw(allow_none=True, metadata=_about("Of a book: the requested value, likewise"))
    code = Str(
        required=True,
        validate=validate.OneOf(_REJECTED_CODES),
    )
    message = Str(required=True)


class SubscriptionsInfoSchema(Schema):
    """The subscriptions of the client."""

    pairs = _names("All instruments now held")
    pair_count = _count("Their number")
    candles = List(Nested(CandleSeriesSchema), metadata=_about("All candles now held; present if the client holds or requests some"))
    books = List(Nested(HeldBookSchema), metadata=_about("All books now held; present if the client holds or requests books or heartbeats"))
    heartbeat = Flag(metadata=_about("True if the client holds heartbeats; present as `books` is"))
    alerts = Str(
        allow_none=True,
        validate=validate.Equal(ALL),
        metadata=_about("`all` if the client holds the alerts of all instruments, else null; present if it holds or requests them"),
    )
    timestamp = _now()


class StartSchema(Schema):
    """The position of an instrument before its first message, for `since`."""

    epoch = Str(required=True, metadata=_about("Of this instrument: others may have another one"))
    seq = _count("0")


class SubscriptionConfirmedSchema(SubscriptionsInfoSchema):
    """The rooms are joined; missed messages follow."""

    added = _names("Instruments that were not held before")
    rejected = List(Nested(RejectedSchema), required=True, metadata=_about("The first 20 items that were not served"))
    rejected_count = _count("Number of all items that were not served")
    snapshot = Dict(
        keys=Str(),
        values=Nested(bus.PriceUpdateSchema),
        required=True,
        metadata=_about("Instrument to its latest price, of those that have one"),
    )
    recovered = Dict(
        keys=Str(), values=Flag(), required=True, metadata=_about("Of each instrument in `since`: true if all missed messages follow")
    )
    positions = Dict(
        keys=Str(),
        values=Nested(StartSchema),
        metadata=_about("Instrument to the position before its first message, of those that have none yet; present if there is one"),
    )
    max_rate = Number(required=True, allow_none=True, metadata=_about("Granted rate in Hz; null: every message"))
    candle_snapshot = List(Nested(bus.CandleUpdateSchema), metadata=_about("The newest candle of each requested series that has one"))
    book_snapshot = List(
        Nested(BookSnapshotSchema), metadata=_about("The newest snapshot of each requested book that was live; present as `books` is")
    )


class UnsubscriptionConfirmedSchema(SubscriptionsInfoSchema):
    """The rooms are left."""

    removed = _names("Instruments that are no longer held")


class AllPricesSchema(Schema):
    """The latest price of every instrument that has one."""

    prices = Dict(keys=Str(), values=Nested(bus.PriceSchema), required=True, metadata=_about("By instrument"))
    count = _count("How many")
    timestamp = _now()


class ClusterSchema(Schema):
    """Sums over all hubs, this one included, as of its last read of their reports."""

    hubs = _count("Hubs that have reported within 15 s")
    connected_clients = _count("Their clients")
    total_subscriptions = _count("Instruments held, over all their clients")
    subscriptions_by_pair = _counts("Number of clients by instrument, without zeros")
    as_of = TimeText(required=True, allow_none=True, metadata=_about("Time of that read; null before the first one"))


class ServerStatsSchema(Schema):
    """Figures of this hub process; `cluster` has those of all hubs."""

    connected_clients = _count("Clients now")
    total_connections = _count("Clients since the start of the process")
    total_subscriptions = _count("Instruments held, over all clients")
    subscriptions_by_pair = _counts("Number of clients by instrument, without zeros")
    candle_subscriptions = _count("Candles held, over all clients")
    book_subscriptions = _count("Books held, over all clients")
    alerts_set = _count("Alerts of all clients")
    messages_relayed = _count("Messages taken from the bus")
    messages_delivered = _count("Messages delivered to clients")
    average_batch = Number(required=True, metadata=_about("Mean number of messages per send"))
    messages_skipped = _counts("Bad messages of the bus, which were not relayed, by kind")
    messages_conflated = _count("Messages conflated for slow clients")
    slow_clients = _count("Slow clients that were disconnected")
    flooding_clients = _count("Clients that were disconnected because their packets kept arriving above the rate")
    sessions_by_state = _counts("Open sessions by state, and connections before and after a session; the sum is the number of all of them")
    outbox_bytes = _count("Bytes that wait for all clients")
    uptime_seconds = Number(required=True)
    memory_usage_mb = Number(required=True, metadata=_about("MiB resident"))
    redis_connected = Flag(required=True)
    last_message_age_seconds = Number(required=True, allow_none=True, metadata=_about("Null before the first message"))
    fanout_loop = Str(
        required=True,
        validate=validate.OneOf(["c", "python"]),
        metadata=_about("The loop that sends broadcasts: in C, or in Python without the extension"),
    )
    flush_interval_ms = _count("Milliseconds in which broadcasts are collected")
    open_sessions = _names("Markets that are open")
    cluster = Nested(ClusterSchema, required=True)
    timestamp = _now()


class PongSchema(Schema):
    """The answer to `ping`, with which a client measures the round trip."""

    timestamp = Raw(required=True, allow_none=True, metadata=_about("The client's timestamp, unchanged; without one, the time of the hub"))
    server_time = _now()


class GapNoticeSchema(Schema):
    """The client was too slow: messages were conflated before this notice."""

    dropped = _counts(
        "Number of conflated messages by instrument, by `INSTRUMENT|interval` of candles, by `INSTRUMENT|depth` of books, or of "
        "`heartbeat` or `metrics`"
    )
    reason = Str(required=True, validate=validate.Equal("slow_consumer"))


class InstrumentsChangedSchema(Schema):
    """The set of instruments has changed. The client is in no room of a removed one any more."""

    added = _names("Instruments that the client may subscribe to from now on")
    removed = _names("Instruments that are unknown from now on")
    count = _count("Instruments that the client may subscribe to now")
    timestamp = _now()


class ErrorEventSchema(Schema):
    """A request was refused, the hub shuts down (`unavailable`), or the client's rights ended."""

    component_name = "Error"  # in the AsyncAPI document

    code = Str(required=True, validate=validate.OneOf(_HUBS_CODES), metadata=_about("For programs"))
    message = Str(required=True, metadata=_about("For people"))
    event = Str(required=True, metadata=_about("The refused event; else `connect` or `disconnect`"))
    details = Dict(required=True, metadata=_about(_DETAILS))


class ClientAlertSchema(Schema):
    """An alert that a client has set."""

    id = Str(required=True)
    instrument = Str(required=True)
    metric = Str(required=True, validate=validate.OneOf(METRICS))
    op = Str(required=True, validate=validate.OneOf(OPERATORS))
    value = Raw(required=True, metadata=_about("A decimal string for a price, a number for a volatility"))
    once = Flag(required=True)


class AlertSetSchema(Schema):
    """The alert is set."""

    alert = Nested(ClientAlertSchema, required=True)
    count = _count("Alerts of this client now")
    timestamp = _now()


class AlertsListSchema(Schema):
    """The client's alerts, in the order in which they were set."""

    alerts = List(Nested(ClientAlertSchema), required=True)
    count = _count("How many")
    timestamp = _now()


class AlertDeletedSchema(Schema):
    """The alerts are deleted."""

    deleted = _names("Ids")
    count = _count("Alerts of this client left")
    timestamp = _now()


class AlertTriggeredSchema(ClientAlertSchema):
    """An alert of the client has fired."""

    current = Raw(required=True, metadata=_about("The value that fired it: a decimal string or a number, like `value`"))
    time = TimeText(required=True, metadata=_about("Time of the price, or end of the hour of the volatility"))
    timestamp = _now()
    seq = _count("Of the price; null for a volatility and for a price without one", allow_none=True)
    epoch = Str(required=True, allow_none=True)


class HubEvent(NamedTuple):
    """An event of the hub that neither answers a request nor comes from a channel."""

    schema: type[Schema]
    audience: str
    scope: str  # of the receivers
    everywhere: bool = False  # sent in every namespace
    namespace: str = "/"


# event -> row
GREETING = {"connection_established": HubEvent(ConnectionEstablishedSchema, "A client that has just connected", OPEN)}
NOTICES = {
    "alert_triggered": HubEvent(AlertTriggeredSchema, "The client whose alert it is", READ),
    "book_snapshot": HubEvent(
        BookSnapshotSchema,
        "Clients that hold the book: when its chain of updates begins anew, instead of updates if a client is slow, and with `max_rate`",
        READ,
    ),
    "instruments_changed": HubEvent(InstrumentsChangedSchema, "Clients that may see an added or removed instrument", READ),
    "gap_notice": HubEvent(GapNoticeSchema, "A client that was too slow", OPEN, everywhere=True),
    "alert": HubEvent(AlertSchema, "Clients that hold `alerts`", OBSERVE, namespace=METRICS_SPACE),
    "credentials_expiring": HubEvent(CredentialsExpiringSchema, "A client whose credential expires soon", OPEN),
    "error": HubEvent(
        ErrorEventSchema,
        "The client whose request was refused; with `unavailable`, every client before the hub shuts down; with `unauthorized` of "
        "`disconnect`, a client whose rights have ended",
        OPEN,
        everywhere=True,
    ),
}
