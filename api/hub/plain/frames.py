"""The frames that all routes of plain WebSockets have, as bytes, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from api.errors import ErrorCode, Refusal
from api.hub.transport import wire
from api.hub.transport.wire import Frame

PONG = wire.text(b"pong")
TEXT_PING = wire.text(b"ping")

_AUTH = b"auth:"


def token_of(data: bytes, *, binary: bool) -> str | None:
    """Return the credential in a frame `auth:TOKEN`; None for any other frame."""
    return None if binary or not data.startswith(_AUTH) else data[len(_AUTH) :].decode().strip()


def type_of(data: bytes, known: str) -> Any:
    """Return `type` of a frame with a JSON object, else None.

    Raises `Refusal` if the text begins as an object and is not JSON. `known` lists the frames.
    """
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise invalid("The frame is not JSON.", f"One of {known}.") from None
    return value.get("type") if isinstance(value, dict) else None


def invalid(message: str, problem: str) -> Refusal:
    """Return the refusal of a frame. No message repeats it: it may contain a credential."""
    return Refusal(ErrorCode.INVALID_PAYLOAD, message, {"frame": [problem]})


def binary_frame() -> Refusal:
    """Return the refusal of a binary frame."""
    return invalid("A frame is text.", "Binary.")


def unknown_frame(known: str) -> Refusal:
    """Return the refusal of an unknown frame; `known` lists the others."""
    return invalid("There is no such frame.", f"One of {known}.")


def of_type(kind: str, fields: Mapping[str, Any]) -> Frame:
    """Return a frame with this `type`; it is never dropped."""
    return wire.text(orjson.dumps({"type": kind, **fields}))


def error(refusal: Refusal) -> Frame:
    """Return the frame of a refusal."""
    return of_type("error", {"error": {"code": refusal.code.value, "message": str(refusal), "details": refusal.details}})


def gap_notice(dropped: Mapping[str, int]) -> Frame:
    """Return the frame that reports the frames that a slow client did not receive."""
    return of_type("gap_notice", {"dropped": dict(dropped), "reason": "slow_consumer"})
