"""The channel table and the names of keys, topics and rooms. Pure: imports no Redis client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

PRICES = "price_updates"
VOLATILITY_ALERTS = "volatility_alerts"
CORRELATION_ALERTS = "correlation_alerts"
DATA_READY = "data_ready"
CANDLES = "candle_updates"
TRADES = "trades"
SOURCE_STATES = "source_states"
METRICS = "metrics_updates"
OBSERVABILITY_EVENTS = "observability_events"
BOOKS = "book_updates"
BOOK_STATES = "book_states"
HEARTBEATS = "heartbeats"
SCENARIO_CHANGES = "scenario_changes"
BOOK_TOPS = "book_tops"

STREAM_TAIL_ENTRIES = 20_000
LATEST_KEY = "tickwire:latest"  # hash of the latest prices


def latest_key(channel: str) -> str:
    """Key of the hash with the channel's latest message of each topic, except for prices."""
    return f"{LATEST_KEY}:{channel}"


@dataclass(frozen=True, slots=True)
class Stream:
    """One row of the channel table: the bus's half. `api/hub/channels.py` has the hub's half."""

    name: str  # Redis channel
    # Entries kept beyond the unstored ones. 0: no stream unless `stored`, hence no catch-up.
    tail: int = STREAM_TAIL_ENTRIES
    stored: bool = False  # bounded by STREAM_MAX_LENGTH until acknowledged
    keeps_latest: bool = False  # last body per topic in the hash `latest_key`
    latest_key: str = LATEST_KEY
    relayed: bool = True  # the hub subscribes to it
    # Its messages live in the shard of their instrument, those of any other channel in shard 0. If
    # it is relayed, each shard has a shard channel `shard_channel`.
    by_instrument: bool = False


_ROWS = (
    Stream(PRICES, stored=True, keeps_latest=True, by_instrument=True),
    Stream(VOLATILITY_ALERTS),
    Stream(CORRELATION_ALERTS),
    Stream(DATA_READY),
    Stream(CANDLES, by_instrument=True),
    # Stored only: trades are never broadcast to clients.
    Stream(TRADES, tail=0, stored=True, relayed=False, by_instrument=True),
    Stream(SOURCE_STATES, tail=1_000, relayed=False),  # for operators
    # No catch-up: a snapshot supersedes the one before. Published by `snapshot.lua`.
    Stream(METRICS, tail=0),
    Stream(OBSERVABILITY_EVENTS),
    # No catch-up: the latest message has a snapshot, which supersedes all missed messages.
    Stream(BOOKS, tail=0, keeps_latest=True, latest_key=latest_key(BOOKS)),
    Stream(BOOK_STATES),
    Stream(HEARTBEATS, tail=0, keeps_latest=True, latest_key=latest_key(HEARTBEATS)),
    Stream(SCENARIO_CHANGES, tail=0, keeps_latest=True, latest_key=latest_key(SCENARIO_CHANGES)),
    Stream(BOOK_TOPS, tail=0, stored=True, relayed=False),  # rows of `book_tops` and `book_snapshots`
)

# channel -> row
STREAMS: dict[str, Stream] = {row.name: row for row in _ROWS}


def relayed(streams: Mapping[str, Stream] = STREAMS) -> tuple[str, ...]:
    """Channels that the hub subscribes to, in the order of the table."""
    return tuple(row.name for row in streams.values() if row.relayed)


def instrument_of(channel: str, topic: str) -> str:
    """The instrument of a topic of a channel with messages per instrument."""
    return topic.rpartition("|")[0] if channel == CANDLES else topic


def shard_channel(channel: str) -> str:
    """Name of the channel in a shard of a Redis Cluster, before the tag is added."""
    return f"tickwire:{channel}"


# Channels of our processes among themselves; they are not in the channel table.
HEALTH = "tickwire:health"  # hash and channel of the checks of the bus
INSTRUMENTS = "tickwire:instruments"  # key and channel of the number of the last change of the instruments
ACCESS = "tickwire:access"  # channel of the number of the last change of keys and revoked tokens
SCENARIO_COMMANDS = "scenario_commands"  # channel of the wanted scenario
INTERNAL_CHANNELS = (HEALTH, INSTRUMENTS, ACCESS, SCENARIO_COMMANDS)

KEY_PATTERN = "tickwire:*"  # of every key
NUMBERS_KEY = "tickwire:seq"  # hash: `epoch`, `number_field` of each topic, `last|CHANNEL`
OLD_KEYS = ("tickwire:sources", "tickwire:leader")  # of earlier versions; deleted by jobs
PROCESSES_KEY = "tickwire:processes"  # sorted set: process -> Unix milliseconds of its last heartbeat
PARKED_KEY = "tickwire:parked"  # hash: `total` and `last` (time) of the malformed entries
LAYOUT_KEY = "tickwire:layout"  # JSON: version of the layout, number of shards
FENCE_KEY = "tickwire:fence"  # hash: duty -> highest number of a process that published for it
ACCESS_COUNTER = "tickwire:access:counter"  # that number, for processes that missed the message
LIMITS_PREFIX = "tickwire:limits"  # of the keys of the package `limits`
CALENDARS_KEY = "tickwire:calendars"  # JSON: calendars and sources of the instruments, limit of times ahead

WRITER_GROUP = "store"

# Observability
REPORTS = "reports"  # stream of the accepted reports of bots; it is not a channel
OBSERVER_GROUP = "observer"
SNAPSHOT_KEY = "tickwire:metrics:latest"  # hash of the newest snapshot of the metrics
LOGS_KEY = "tickwire:logs"  # stream of log records
SYSTEM_ALERT = "system_alert"  # the `event_type` of a change of an alert
EVENTS_TOPIC = "events"  # the only topic of `observability_events`: one order of all events

# Order books
BOOK_DEPTHS = (5, 10, 20, 50)  # levels a side; each is a topic of `book_updates`
BOOKS_KEY = "tickwire:books"  # hash: instrument -> row of `/book/states` and measures
SCENARIO_KEY = "tickwire:scenario"  # JSON: the wanted scenario
HEARTBEAT_TOPIC = "heartbeat"  # the only topic of `heartbeats`
SCENARIO_TOPIC = "scenario"  # the only topic of `scenario_changes`
HEARTBEAT_ROOM = "heartbeat"  # of `heartbeats` and `scenario_changes`

ALERTS_ROOM = "alerts"  # of `volatility_alerts` and `correlation_alerts`, of all instruments


def report_key(bot: str, kind: str, report_id: str) -> str:
    """Key of the digest of a report, by which repeated ones are found."""
    return f"tickwire:report:{bot}:{kind}:{report_id}"


def report_rate_key(bot: str) -> str:
    """Key of the hash of a bot's rate: the tokens left, and the time of that."""
    return f"tickwire:report_rate:{bot}"


def leader_key(role: str) -> str:
    """Key of the token of the active process of an elected role, `observer` or `books`."""
    return f"tickwire:leader:{role}"


def process_key(name: str) -> str:
    """Key of the last report of a process."""
    return f"tickwire:process:{name}"


def connections_key(caller: str) -> str:
    """Key of the leases of one caller: session -> Unix milliseconds of its expiry."""
    return f"tickwire:connections:{caller}"


def stream_key(channel: str) -> str:
    """Key of the stream with the channel's recent messages."""
    return f"tickwire:stream:{channel}"


def number_field(channel: str, topic: str) -> str:
    """Field of the last `seq` of the topic in `NUMBERS_KEY`."""
    return f"{channel}|{topic}"


def former_number_keys(streams: Mapping[str, Stream] = STREAMS) -> list[str]:
    """Keys in which versions up to 0.1 kept the epoch and the numbers."""
    return ["tickwire:epoch", *(f"tickwire:seq:{channel}" for channel in streams)]


def dead_key(channel: str) -> str:
    """Key of the stream with the malformed entries of the channel's stream."""
    return f"tickwire:dead:{channel}"


def count_key(channel: str) -> str:
    """Key of the hash with two counters: `published` entries, and `stored` (acknowledged) ones."""
    return f"tickwire:count:{channel}"


def receipt_key(publisher: str, part: int) -> str:
    """Key of the answer to the publisher's last batch; a repeat of the batch returns it."""
    return f"tickwire:receipt:{publisher}:{part}"


def seen_key(instrument: str) -> str:
    """Key of the sorted set with digests of published prices, by which repeated ones are found."""
    return f"tickwire:seen:{instrument}"


def price_room(instrument: str) -> str:
    """The Socket.IO room of one instrument."""
    return f"price_{instrument}"


def symbol_of(room: str) -> str:
    """The instrument of a room of prices, candles or books; the name of any other room."""
    kind, _, name = room.partition("_")
    if kind in ("candle", "book"):
        return name.rpartition("_")[0]
    return name if kind == "price" else room


@lru_cache(maxsize=65_536)  # a client may enter thousands of rooms at once
def kind_of(room: str) -> str:
    """The kind of a room of prices, candles or books: the first word; empty for any other room."""
    kind, separator, _ = room.partition("_")
    return kind if separator and kind in ("price", "candle", "book") else ""


def candle_topic(instrument: str, interval: str) -> str:
    """The topic that `seq` counts on `candle_updates`."""
    return f"{instrument}|{interval}"


def candle_room(instrument: str, interval: str) -> str:
    """The Socket.IO room of one instrument's candles of one interval."""
    return f"candle_{instrument}_{interval}"


def book_topic(instrument: str, depth: int) -> str:
    """The topic that `seq` counts on `book_updates`."""
    return f"{instrument}|{depth}"


def book_room(instrument: str, depth: int) -> str:
    """The Socket.IO room of one instrument's book of one depth."""
    return f"book_{instrument}_{depth}"
