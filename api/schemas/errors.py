"""The one list of error codes, shared by the hub and REST."""

from __future__ import annotations

from enum import StrEnum


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
