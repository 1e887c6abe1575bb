"""Error codes, shared by the hub and REST, and the exception that refuses a request."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """What went wrong, for programs. `no_data` is REST's alone; `unauthorized` waits for API keys: nothing is protected yet."""

    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    NO_PRICE = "no_price"
    NO_DATA = "no_data"
    TOO_MANY_REQUESTS = "too_many_requests"
    SERVER_FULL = "server_full"
    UNAUTHORIZED = "unauthorized"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Refusal(Exception):
    """The request cannot be served; becomes the `error` event."""

    def __init__(self, code: ErrorCode, message: str, details: dict[str, Any] | None = None) -> None:
        self.code = code
        self.details = details or {}
        super().__init__(message)


def unknown_instrument(instrument: str) -> Refusal:
    """There is no instrument of that name."""
    message = f"There is no instrument {instrument!r}."
    return Refusal(ErrorCode.UNKNOWN_INSTRUMENT, message, {"instrument": ["Unknown instrument."]})


def error_body(code: ErrorCode, message: str, event: str, details: dict[str, Any]) -> dict[str, Any]:
    """The body of the `error` event."""
    return {"code": code.value, "message": message, "event": event, "details": details}
