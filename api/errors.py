"""Error codes, shared by the hub and REST, and the exception that refuses a request."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any

from api.nearest import suggestion


class ErrorCode(StrEnum):
    """The machine-readable part of an error. Only REST uses `no_data` and those of scenarios.

    `unauthorized` means that the credential is missing or bad, `forbidden` that a right is missing.
    `conflict` contradicts the stored state. `no_book` means that no book is kept, or that it was
    not live yet; `book_not_live` that a live one is required.
    """

    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    NO_PRICE = "no_price"
    NO_DATA = "no_data"
    NO_BOOK = "no_book"
    BOOK_NOT_LIVE = "book_not_live"
    UNKNOWN_SCENARIO = "unknown_scenario"
    SCENARIO_UNAVAILABLE = "scenario_unavailable"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_MANY_REQUESTS = "too_many_requests"
    SERVER_FULL = "server_full"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


# The status of a refusal over HTTP.
HTTP_STATUS = {
    ErrorCode.INVALID_PAYLOAD: 400,
    ErrorCode.UNKNOWN_INSTRUMENT: 400,  # of a handshake; the routes of REST answer 404 themselves
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.TOO_MANY_REQUESTS: 429,
    ErrorCode.INTERNAL: 500,
    ErrorCode.SERVER_FULL: 503,
    ErrorCode.UNAVAILABLE: 503,
}


class Refusal(Exception):
    """The request is not served; the client receives the code, the message and the details."""

    def __init__(self, code: ErrorCode, message: str, details: dict[str, Any] | None = None) -> None:
        self.code = code
        self.details = details or {}
        super().__init__(message)


class Unauthorized(Refusal):
    """The credential is missing or not accepted. The client receives one message for all reasons.

    `reason` is for the log alone. `sent` is False without a credential. `key_id` is the public id
    of a key, if the credential has the form of one.
    """

    def __init__(self, reason: str, *, sent: bool, key_id: str | None = None) -> None:
        super().__init__(ErrorCode.UNAUTHORIZED, "A valid credential is needed.")
        self.reason = reason
        self.sent = sent
        self.key_id = key_id


def forbidden_scope(scope: str) -> Refusal:
    """Return the refusal of a request whose scope the client lacks."""
    return Refusal(ErrorCode.FORBIDDEN, f"The scope {scope!r} is missing.", {"scope": [scope]})


def unknown_instrument(instrument: str, known: Collection[str] = (), permitted: Callable[[str], bool] = lambda _: True) -> Refusal:
    """Return the refusal of an instrument that does not exist.

    Its message proposes the nearest of `known` that is `permitted`.
    """
    message = f"There is no instrument {instrument!r}{suggestion([instrument], known, permitted) or '.'}"
    return Refusal(ErrorCode.UNKNOWN_INSTRUMENT, message, {"instrument": ["Unknown instrument."]})


def forbidden_instrument(instrument: str) -> Refusal:
    """Return the refusal of an instrument that the client may not see."""
    message = f"You have no access to the instrument {instrument!r}."
    return Refusal(ErrorCode.FORBIDDEN, message, {"instrument": ["No access."]})


def error_body(code: ErrorCode, message: str, event: str, details: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the `error` event."""
    return {"code": code.value, "message": message, "event": event, "details": details}
