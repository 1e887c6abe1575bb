"""The frames of `/ws/metrics` as bytes, in both directions.

Times at the top level of a frame are Unix seconds; each argument `at` is such a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import orjson

from api.errors import ErrorCode, Refusal
from api.hub.plain.frames import binary_frame, of_type, type_of, unknown_frame
from api.hub.transport import wire
from api.hub.transport.client_json import readable
from api.hub.transport.wire import Frame
from db.bus.observability.snapshots import SECTIONS

ALERTS, TRADES = "alerts", "trades"
TOPICS = (ALERTS, TRADES)  # independent of the sections
CHANNELS = (*SECTIONS, *TOPICS)
METRICS_KEY = "metrics"  # conflation key of the snapshots

_FRAMES = 'ping, subscribe:NAME, unsubscribe:NAME, auth:TOKEN, {"type":"health"}'
_HEALTH = "health"
Kind = Literal["ping", "pong", "subscribe", "unsubscribe", "health"]


class Command(NamedTuple):
    """A frame of a client: its kind, and the channels of a subscription."""

    kind: Kind
    channels: tuple[str, ...] = ()


def read(data: bytes, binary: bool) -> Command:
    """Return the command of a frame. Raises `Refusal` (`invalid_payload`)."""
    if binary:
        raise binary_frame()
    if data in (b"ping", b"pong"):
        return Command("ping" if data == b"ping" else "pong")
    name, colon, channels = data.partition(b":")
    if colon and name in (b"subscribe", b"unsubscribe"):
        return Command("subscribe" if name == b"subscribe" else "unsubscribe", channels=_channels(channels.decode()))
    if type_of(data, _FRAMES) == _HEALTH:
        return Command("health")
    raise no_such_frame()


def no_such_frame() -> Refusal:
    """Return the refusal of an unknown frame."""
    return unknown_frame(_FRAMES)


def _channels(text: str) -> tuple[str, ...]:
    """Return the channels of a comma list, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in CHANNELS:
            message = f"There is no channel {readable(name)!r}."
            raise Refusal(ErrorCode.INVALID_PAYLOAD, message, {"channels": [f"One of {', '.join(CHANNELS)}."]})
    return names


def _number(at: str) -> orjson.Fragment:
    return orjson.Fragment(at)


def connected(client: str, at: str, frequency: float, channels: Sequence[str], max_rate: float | None) -> Frame:
    """Return the first frame of a client; `frequency` and `max_rate` are in Hz."""
    hertz = int(frequency) if frequency == int(frequency) else frequency
    fields = {"client_id": client, "server_time": _number(at), "update_frequency_hz": hertz, "channels": channels, "max_rate": max_rate}
    return of_type("connected", fields)


def snapshot(text: bytes) -> Frame:
    """Return the frame of a snapshot. A newer one replaces it in the outbox of a slow client."""
    return wire.text(text, METRICS_KEY)


def subscribed(kind: Literal["subscribed", "unsubscribed"], channels: Sequence[str], at: str) -> Frame:
    """Return the answer to a subscription; `channels` is everything that the client holds."""
    return of_type(kind, {"channels": channels, "timestamp": _number(at)})


def health(at: str) -> Frame:
    """Return the answer to `health`."""
    return of_type(_HEALTH, {"data": {"pong": True}, "timestamp": _number(at)})


def notification(topic: str, body: bytes, at: str) -> Frame:
    """Return the frame of an alert or a trade; `body` is its JSON. It is never dropped."""
    kind = {ALERTS: "alert_notification", TRADES: "trade_notification"}[topic]
    return of_type(kind, {"timestamp": _number(at), "data": orjson.Fragment(body)})


def expiring(expires_at: str, in_seconds: int, at: str) -> Frame:
    """Return the notice that precedes the end of a credential; `expires_at` is ISO."""
    return of_type("credentials_expiring", {"expires_at": expires_at, "in_seconds": in_seconds, "timestamp": _number(at)})


def refreshed(expires_at: str | None, at: str) -> Frame:
    """Return the answer to a further credential; `expires_at` is ISO, null without an expiry."""
    return of_type("refreshed", {"expires_at": expires_at, "timestamp": _number(at)})
