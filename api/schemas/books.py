"""Books and the status of their process, in the documents of REST and the hub.

The names of these classes are the names of the components. Prices and quantities are decimal
strings with the exchange's own digits; ratios, milliseconds and counters are JSON numbers.
"""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, validate
from marshmallow.fields import Bool, Dict, Int, List, Nested, Raw, Str

from api.schemas.observability import about, moment, number, optional_text
from db.scenarios.status import BOOK_STATES, STATUSES

MESSAGE_TYPES = ("orderbook", "heartbeat", "status", "alert")


def _whole(text: str) -> Int:
    return Int(required=True, metadata=about(text))


def _status() -> Str:
    return Str(
        required=True,
        validate=validate.OneOf(STATUSES),
        metadata=about(
            "`degraded`: the queue is above 50 %, the lag above 1 s, or a book is not live. `unhealthy`: the queue is above 90 %, "
            "a book is not live for more than 30 s, or the last heartbeat is older than three intervals"
        ),
    )


def _books() -> Dict:
    return Dict(
        keys=Str(),
        values=Str(validate=validate.OneOf(BOOK_STATES)),
        required=True,
        metadata=about("Instrument to state", example={"BTCUSDT": "live"}),
    )


class OrderbookLevel(Schema):
    """One price of a side of a book."""

    price = Str(required=True, metadata=about("Decimal string", example="61837.63000000"))
    quantity = Str(required=True, metadata=about("Decimal string", example="3.78826000"))


class InternalOrderbook(Schema):
    """The best proven levels of one book, complete in itself."""

    symbol = Str(required=True, metadata=about("Its instrument", example="BTCUSDT"))
    bids = List(Nested(OrderbookLevel), required=True, metadata=about("Best first"))
    asks = List(Nested(OrderbookLevel), required=True, metadata=about("Best first"))
    last_update_id = _whole("The exchange's update id of the book")
    state = Str(required=True, validate=validate.OneOf(BOOK_STATES))
    timestamp = moment("The exchange's event time; of a recording, the recorded one")
    received_at = moment("Receipt of the message of the exchange")
    processed_at = moment("End of its processing")
    processing_ms = number("From the queue to the end of the processing, in milliseconds")
    queue_size = _whole("Messages that wait in the queue")


class _EightFields(Schema):
    """The figures of the process `books`, in their order."""

    status = _status()
    uptime_seconds = number("Of the process `books`", example=12.3)
    total_messages_processed = _whole("Messages taken from the queue since its start")
    current_queue_size = _whole("Messages between feed and book, of all books together")
    memory_usage_mb = number("Resident memory of all processes, in MiB")
    active_clients = _whole("Clients of all hubs, Socket.IO and plain")
    current_scenario = Str(required=True, metadata=about("The scenario; `SCENARIO` if none is played", example="stable-mode"))
    last_heartbeat = moment("Time of the last heartbeat")


class _LoadedFields(_EightFields):
    """The eight figures and those of the queue."""

    lag_ms = number("Delay of the message that was processed last, in milliseconds")
    queue_max = _whole("Limit of the queue")
    queue_peak = _whole("Largest size of the queue since the last heartbeat")


class HeartbeatMessage(_LoadedFields):
    """Sign of life of the process `books`, every `HEARTBEAT_INTERVAL` seconds."""

    class Meta:
        fields = (
            "type", "status", "uptime_seconds", "total_messages_processed", "current_queue_size", "memory_usage_mb", "active_clients",
            "current_scenario", "last_heartbeat", "lag_ms", "queue_max", "queue_peak", "books", "timestamp",
        )  # fmt: skip

    type = Str(required=True, validate=validate.Equal("heartbeat"))
    books = _books()
    timestamp = moment("Time of its publication")


class ScenarioRunFigures(Schema):
    """The run of a scenario that is played."""

    run_id = Str(required=True, metadata=about("Its id, as in `/scenarios/runs`"))
    started = moment("Its start")
    phase = Int(required=True, allow_none=True, metadata=about("Number of its phase, from 0 on; null after the last one"))


class StatusConfiguration(Schema):
    """Settings that concern the books; none is a secret."""

    host = Str(required=True, metadata=about("`API_HOST`"))
    port = _whole("`API_PORT`")
    websocket = Str(required=True, metadata=about("URL of the plain WebSocket with books"))
    processing_delay_ms = Raw(
        required=True,
        allow_none=True,
        metadata=about("Simulated delay of each message: a number, or `[from, to]`; null if no scenario is played"),
    )
    scenario = Str(required=True, metadata=about("`SCENARIO`"))


class ServerStatus(_LoadedFields):
    """Status of the process `books`: eight figures, then additive ones."""

    dropped = _whole("Messages that were lost with an emptied queue")
    backpressure_seconds = number("Time in which a full queue stopped its source")
    books = _books()
    scenario_running = Bool(required=True)
    scenario_run = Nested(ScenarioRunFigures, required=True, allow_none=True)
    configuration = Nested(StatusConfiguration, required=True)


class WebSocketMessage(Schema):
    """A message of `/ws`."""

    type = Str(required=True, validate=validate.OneOf(MESSAGE_TYPES))
    timestamp = moment("Time of the message")
    data = Dict(
        required=True,
        metadata=about(
            "`InternalOrderbook`, `HeartbeatMessage` or `ServerStatus`; of an alert `severity` (`warning`, `critical`), `code`, "
            "`message`, `symbol` (or null), `value` and `threshold`"
        ),
    )


class BookWindow(Schema):
    """The levels that are proven to be complete."""

    bids = _whole("Proven levels that are held on this side")
    asks = _whole("Proven levels that are held on this side")
    low = Str(
        required=True,
        allow_none=True,
        attribute="from",
        data_key="from",
        metadata=about("Lowest proven bid; null if the side is complete", example="61631.55000000"),
    )
    to = optional_text("Highest proven ask; null if the side is complete", example="62053.18000000")


# Components of the documents: name -> arguments of apispec's `schema`.
COMPONENTS: dict[str, dict[str, Any]] = {
    schema.__name__: {"schema": schema} for schema in (OrderbookLevel, InternalOrderbook, HeartbeatMessage, ServerStatus, WebSocketMessage)
}
