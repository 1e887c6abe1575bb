"""Every name on the bus and in the rooms, in one place."""

from __future__ import annotations

PRICES = "price_updates"
VOLATILITY_ALERTS = "volatility_alerts"
CORRELATION_ALERTS = "correlation_alerts"
DATA_READY = "data_ready"

CHANNELS = (PRICES, VOLATILITY_ALERTS, CORRELATION_ALERTS, DATA_READY)

# channel -> the Socket.IO event its messages become
EVENTS = {
    PRICES: "price_update",
    VOLATILITY_ALERTS: "volatility_alert",
    CORRELATION_ALERTS: "correlation_alert",
    DATA_READY: "data_ready",
}

EPOCH_KEY = "tickwire:epoch"
LATEST_KEY = "tickwire:latest"
SOURCES_KEY = "tickwire:sources"

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
