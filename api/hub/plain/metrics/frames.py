"""The frames of `/ws/metrics` as bytes, in both directions.

Times at the top level of a frame are Unix seconds; each argument `at` is such a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson

from api.errors import ErrorCode, Refusal
from api.hub.transport import wire
from api.hub.transport.client_json import readable
from api.hub.transport.wire import Frame
from db.bus.snapshots import SECTIONS

ALERTS, TRADES = "alerts", "trades"
TOPICS = (ALERTS, TRADES)  # independent of the sections
CHANNELS = (*SECTIONS, *TOPICS)
METRICS_KEY = "metrics"  # conflation key of the snapshots

PONG = wire.text(b"pong")
TEXT_PING = wire.text(b"ping")

_FRAMES = 'ping, subscribe:NAME, unsubscribe:NAME, auth:TOKEN, {"type":"health"}'
_AUTH = b"auth:"
_HEALTH = "health"
Kind = Literal["ping", "pong", "subscribe", "unsubscribe", "auth", "health"]


class Command(NamedTuple):
    """A frame of a client: its kind, the credential of `auth`, the channels of a subscription."""

    kind: Kind
    token: str = ""
    channels: tuple[str, ...] = ()


def read(data: bytes, binary: bool) -> Command:
    """Return the command of a frame. Raises `Refusal` (`invalid_payload`).

    No message of a refusal repeats the frame: it may contain a credential.
    """
    if binary:
        raise _invalid("A frame is text.", "Binary.")
    if data in (b"ping", b"pong"):
        return Command("ping" if data == b"ping" else "pong")
    if data.startswith(_AUTH):
        return Command("auth", token=data[len(_AUTH) :].decode().strip())
    name, colon, channels = data.partition(b":")
    if colon and name in (b"subscribe", b"unsubscribe"):
        return Command("subscribe" if name == b"subscribe" else "unsubscribe", channels=_channels(channels.decode()))
    if data.lstrip().startswith(b"{") and _type_of(data) == _HEALTH:
        return Command("health")
    raise no_such_frame()


def no_such_frame() -> Refusal:
    """Return the refusal of an unknown frame."""
    return _invalid("There is no such frame.", f"One of {_FRAMES}.")


def _type_of(data: bytes) -> Any:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _invalid("The frame is not JSON.", f"One of {_FRAMES}.") from None
    return value.get("type") if isinstance(value, dict) else None


def _channels(text: str) -> tuple[str, ...]:
    """Return the channels of a comma list, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in CHANNELS:
            message = f"There is no channel {readable(name)!r}."
            raise Refusal(ErrorCode.INVALID_PAYLOAD, message, {"channels": [f"One of {', '.join(CHANNELS)}."]})
    return names


def _invalid(message: str, problem: str) -> Refusal:
    return Refusal(ErrorCode.INVALID_PAYLOAD, message, {"frame": [problem]})


def _frame(kind: str, fields: Mapping[str, Any]) -> Frame:
    return wire.text(orjson.dumps({"type": kind, **fields}))


def _number(at: str) -> orjson.Fragment:
    return orjson.Fragment(at)


def connected(client: str, at: str, frequency: float, channels: Sequence[str], max_rate: float | None) -> Frame:
    """Return the first frame of a client; `frequency` and `max_rate` are in Hz."""
    hertz = int(frequency) if frequency == int(frequency) else frequency
    fields = {"client_id": client, "server_time": _number(at), "update_frequency_hz": hertz, "channels": channels, "max_rate": max_rate}
    return _frame("connected", fields)


def snapshot(text: bytes) -> Frame:
    """Return the frame of a snapshot. A newer one replaces it in the outbox of a slow client."""
    return wire.text(text, METRICS_KEY)


def subscribed(kind: Literal["subscribed", "unsubscribed"], channels: Sequence[str], at: str) -> Frame:
    """Return the answer to a subscription; `channels` is everything that the client holds."""
    return _frame(kind, {"channels": channels, "timestamp": _number(at)})


def health(at: str) -> Frame:
    """Return the answer to `health`."""
    return _frame(_HEALTH, {"data": {"pong": True}, "timestamp": _number(at)})


def error(refusal: Refusal) -> Frame:
    """Return the frame of a refusal."""
    return _frame("error", {"error": {"code": refusal.code.value, "message": str(refusal), "details": refusal.details}})


def gap_notice(dropped: Mapping[str, int]) -> Frame:
    """Return the frame that reports the snapshots that a slow client did not receive."""
    return _frame("gap_notice", {"dropped": dict(dropped), "reason": "slow_consumer"})


def notification(topic: str, body: bytes, at: str) -> Frame:
    """Return the frame of an alert or a trade; `body` is its JSON. It is never dropped."""
    kind = {ALERTS: "alert_notification", TRADES: "trade_notification"}[topic]
    return _frame(kind, {"timestamp": _number(at), "data": orjson.Fragment(body)})


def expiring(expires_at: str, in_seconds: int, at: str) -> Frame:
    """Return the notice that precedes the end of a credential; `expires_at` is ISO."""
    return _frame("credentials_expiring", {"expires_at": expires_at, "in_seconds": in_seconds, "timestamp": _number(at)})


def refreshed(expires_at: str | None, at: str) -> Frame:
    """Return the answer to a further credential; `expires_at` is ISO, null without an expiry."""
    return _frame("refreshed", {"expires_at": expires_at, "timestamp": _number(at)})
