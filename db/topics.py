"""Every name on the bus and in the rooms, in one place."""

from __future__ import annotations

PRICES = "price_updates"
VOLATILITY_ALERTS = "volatility_alerts"
CORRELATION_ALERTS = "correlation_alerts"
DATA_READY = "data_ready"
CANDLES = "candle_updates"

CHANNELS = (PRICES, VOLATILITY_ALERTS, CORRELATION_ALERTS, DATA_READY, CANDLES)

TRADES = "trades"  # a stream alone: trades go to the store and ring nowhere
SOURCE_STATES = "source_states"  # for operators; the hub does not relay it

# channel -> the Socket.IO event its messages become
EVENTS = {
    PRICES: "price_update",
    VOLATILITY_ALERTS: "volatility_alert",
    CORRELATION_ALERTS: "correlation_alert",
    DATA_READY: "data_ready",
    CANDLES: "candle_update",
}

EPOCH_KEY = "tickwire:epoch"
LATEST_KEY = "tickwire:latest"
SOURCES_KEY = "tickwire:sources"
LEADER_KEY = "tickwire:leader"

WRITER_GROUP = "store"


def stream_key(channel: str) -> str:
    """The stream that keeps the channel's recent messages."""
    return f"tickwire:stream:{channel}"


def seq_key(channel: str) -> str:
    """Hash of topic -> last `seq` on the channel."""
    return f"tickwire:seq:{channel}"


def count_key(channel: str) -> str:
    """Hash of `published` and `stored`: how many messages the stream was given, and how many the store holds."""
    return f"tickwire:count:{channel}"


def receipt_key(publisher: str, part: int) -> str:
    """What the publisher's last batch was answered, so that a retry gets the same answer."""
    return f"tickwire:receipt:{publisher}:{part}"


def price_room(instrument: str) -> str:
    """The Socket.IO room of one instrument."""
    return f"price_{instrument}"


def candle_topic(instrument: str, interval: str) -> str:
    """What `seq` counts on `candle_updates`."""
    return f"{instrument}|{interval}"


def candle_room(instrument: str, interval: str) -> str:
    """The Socket.IO room of one instrument's candles of one interval."""
    return f"candle_{instrument}_{interval}"
