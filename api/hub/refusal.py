"""How a request is refused, whichever part of the hub refuses it."""

from __future__ import annotations

from typing import Any

from api.schemas.errors import ErrorCode


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
