"""Error codes, shared by the hub and REST, and the exception that refuses a request."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any

from api.nearest import suggestion


class ErrorCode(StrEnum):
    """The machine-readable part of an error. Only REST uses `no_data`.

    A missing right is `unauthorized` in the hub and `forbidden` in REST; `OpenAuthenticator` grants
    all rights.
    """

    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    NO_PRICE = "no_price"
    NO_DATA = "no_data"
    TOO_MANY_REQUESTS = "too_many_requests"
    SERVER_FULL = "server_full"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Refusal(Exception):
    """The request is not served; the client receives the code, the message and the details."""

    def __init__(self, code: ErrorCode, message: str, details: dict[str, Any] | None = None) -> None:
        self.code = code
        self.details = details or {}
        super().__init__(message)


def unknown_instrument(instrument: str, known: Collection[str] = (), permitted: Callable[[str], bool] = lambda _: True) -> Refusal:
    """Return the refusal of an instrument that does not exist.

    Its message proposes the nearest of `known` that is `permitted`.
    """
    message = f"There is no instrument {instrument!r}{suggestion([instrument], known, permitted) or '.'}"
    return Refusal(ErrorCode.UNKNOWN_INSTRUMENT, message, {"instrument": ["Unknown instrument."]})


def forbidden_instrument(instrument: str) -> Refusal:
    """Return the refusal of an instrument that the client may not see."""
    message = f"You have no access to the instrument {instrument!r}."
    return Refusal(ErrorCode.UNAUTHORIZED, message, {"instrument": ["No access."]})


def error_body(code: ErrorCode, message: str, event: str, details: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the `error` event."""
    return {"code": code.value, "message": message, "event": event, "details": details}
