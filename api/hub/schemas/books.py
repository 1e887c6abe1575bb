"""Schemas of the channels of order books, and of the bodies that clients receive."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Dict, Field, Int, List, Nested, Str

from api.fields import DecimalText, Number, TimeText
from api.hub.schemas.bus import MAX_EPOCH_LENGTH, MAX_NAME_LENGTH, MAX_SEQ, MessageSchema
from db.decimals import is_decimal
from db.scenarios.status import BOOK_STATES, STATUSES
from db.topics import BOOK_DEPTHS

_NAME = validate.Length(min=1, max=MAX_NAME_LENGTH)
MAX_ID = 2**63 - 1
MAX_CRC32 = 2**32 - 1


def _about(text: str) -> dict[str, Any]:
    return {"description": text}


def _id(text: str, **more: Any) -> Int:
    return Int(required=True, strict=True, validate=validate.Range(min=0, max=MAX_ID), metadata=_about(text), **more)


def _count(text: str) -> Int:
    return Int(required=True, strict=True, validate=validate.Range(min=0), metadata=_about(text))


def _number(text: str) -> Number:
    return Number(required=True, metadata=_about(text))


def _time(text: str) -> TimeText:
    return TimeText(required=True, metadata=_about(text))


class LevelField(Field[list[str]]):
    """One level of a book: `[price, quantity]`, both decimal strings."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        if not isinstance(value, list) or len(value) != 2:
            raise ValidationError("Not a pair of price and quantity.")
        if not all(isinstance(text, str) and is_decimal(text) for text in value):
            raise ValidationError("A price or a quantity is no decimal string.")
        return value


class _Open(Schema):
    class Meta:
        unknown = INCLUDE


class _BookBody(_Open):
    """The fields that `book_snapshot` and `book_update` share; `seq` and `epoch` are a MUST."""

    instrument = Str(required=True, validate=_NAME)
    depth = Int(required=True, strict=True, validate=validate.OneOf(BOOK_DEPTHS), metadata=_about("Levels a side"))
    bids = List(LevelField(), required=True, metadata=_about("`[price, quantity]`, highest price first"))
    asks = List(LevelField(), required=True, metadata=_about("`[price, quantity]`, lowest price first"))
    update_id = _id("The exchange's update id of the book")
    checksum = Int(
        required=True,
        strict=True,
        validate=validate.Range(min=0, max=MAX_CRC32),
        metadata=_about("CRC32 of the first min(10, depth) levels a side, after this message"),
    )
    time = _time("The exchange's event time; of a recording, the recorded one")
    timestamp = _time("Time of its publication")
    lag_ms = _number("From the receipt of the exchange's message to the publication, in milliseconds")
    seq = Int(
        required=True,
        strict=True,
        validate=validate.Range(min=1, max=MAX_SEQ),
        metadata=_about("Rises by one per instrument and depth, over snapshots and updates together"),
    )
    epoch = Str(required=True, validate=validate.Length(min=1, max=MAX_EPOCH_LENGTH))


_Window = _Open.from_dict(
    {
        "bids": _count("Proven levels that are held on this side"),
        "asks": _count("Proven levels that are held on this side"),
        "from": DecimalText(required=True, allow_none=True, metadata=_about("Lowest proven bid; null if all bids are known")),
        "to": DecimalText(required=True, allow_none=True, metadata=_about("Highest proven ask; null if all asks are known")),
    },
    name="BookWindowSchema",
)


def _state(text: str, **more: Any) -> Str:
    return Str(required=True, validate=validate.OneOf(BOOK_STATES), metadata=_about(text), **more)


class BookSnapshotSchema(_BookBody):
    """The best proven levels of a book, complete in itself."""

    state = _state("State of the book; if it is not `live`, the levels are those of the last good book")
    reason = Str(required=True, metadata=_about("Cause of the state, or of the new snapshot"))
    complete = Nested(_Window, required=True)


class BookUpdateSchema(_BookBody):
    """The levels of a book that have changed since the message before; quantity `"0"` removes."""


class BookMessageSchema(_Open):
    """`book_updates`: the bodies of one message for clients, and facts about its processing."""

    update = Nested(BookUpdateSchema, required=True, allow_none=True)
    snapshot = Nested(BookSnapshotSchema, required=True)
    meta = Dict(required=True)

    @validates_schema
    def _same_position(self, data: dict[str, Any], **_: object) -> None:
        update, snapshot = data["update"], data["snapshot"]
        if update is not None and any(update[name] != snapshot[name] for name in ("instrument", "depth", "seq", "epoch")):
            raise ValidationError("The update and the snapshot have different positions.", "update")


class BookStateSchema(MessageSchema):
    """A change of the state of a book."""

    instrument = Str(required=True, validate=_NAME)
    state = _state("The new state")
    previous = _state("The state before; null at the start. Equal to `state` if a request failed", allow_none=True)
    reason = Str(required=True, metadata=_about("Cause of the change"))
    update_id = _id("The exchange's update id of the book; null before the first one", allow_none=True)
    expected_id = _id("Of a missing update: the id that was expected; otherwise null", allow_none=True)
    received_id = _id("Of a missing update: the id that was received instead; otherwise null", allow_none=True)
    timestamp = _time("Time of the change")
    seq = Int(
        strict=True,
        allow_none=True,
        validate=validate.Range(min=1, max=MAX_SEQ),
        metadata=_about("Null in a state of the hub, which has lost the process of the books"),
    )
    epoch = Str(allow_none=True, validate=validate.Length(min=1, max=MAX_EPOCH_LENGTH))


class HeartbeatSchema(MessageSchema):
    """Sign of life of the process of the books, every `HEARTBEAT_INTERVAL` seconds."""

    type = Str(required=True, validate=validate.Equal("heartbeat"))
    status = Str(required=True, validate=validate.OneOf(STATUSES))
    uptime_seconds = _number("Of the process of the books")
    total_messages_processed = _count("Messages taken from the queue since its start")
    current_queue_size = _count("Messages between feed and book, of all books together")
    memory_usage_mb = _number("Resident memory of all processes, in MiB")
    active_clients = _count("Clients of all hubs, Socket.IO and plain")
    current_scenario = Str(required=True, metadata=_about("The scenario; the setting `SCENARIO` if none is played"))
    last_heartbeat = _time("Time of this heartbeat")
    lag_ms = _number("Delay of the message that was processed last, in milliseconds")
    queue_max = _count("Limit of the queue")
    queue_peak = _count("Largest size of the queue since the heartbeat before")
    books = Dict(
        keys=Str(validate=_NAME),
        values=Str(validate=validate.OneOf(BOOK_STATES)),
        required=True,
        metadata=_about("Instrument to the state of its book"),
    )
    timestamp = _time("Time of its publication")


class ScenarioChangedSchema(MessageSchema):
    """Another scenario is played."""

    previous_scenario = Str(required=True, allow_none=True)
    current_scenario = Str(required=True)
    run_id = Str(required=True, metadata=_about("Of the run that has begun"))
