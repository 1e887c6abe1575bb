"""The HTTP requests of Engine.IO: refusals, bodies and kept headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import orjson

from api.access.model import KEPT_HEADERS
from api.hub.transport.wire import WireError

_KEPT = {f"HTTP_{name.upper().replace('-', '_')}": name for name in KEPT_HEADERS}  # WSGI name -> name in lower case


class Refused(Exception):
    """A refused request: the code of Engine.IO, a message, the HTTP status and more headers."""

    def __init__(self, code: int, message: str, status: str = "400 Bad Request", headers: Sequence[tuple[str, str]] = ()) -> None:
        self.body = orjson.dumps({"code": code, "message": message})
        self.status = status
        self.headers = headers
        super().__init__(message)


def unknown_sid() -> Refused:
    """Return the refusal of a session that does not exist."""
    return Refused(1, "Session ID unknown")


def bad_request() -> Refused:
    """Return the refusal of a request that the protocol forbids."""
    return Refused(3, "Bad request")


def too_large() -> Refused:
    """Return the refusal of a body above the limit."""
    return Refused(3, "Payload too large", "413 Request Entity Too Large")


def too_many(message: str, retry_after: float) -> Refused:
    """Return the refusal of an address that holds too many places. `retry_after` is in seconds."""
    return Refused(3, message, "429 Too Many Requests", [("Retry-After", str(ceil(retry_after)))])


def read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """Return the body of a request. Raises `Refused`, and `WireError` if it is too large or cut."""
    text = environ.get("CONTENT_LENGTH") or str(limit + 1)
    if not text.isdigit():
        raise bad_request()
    size = min(int(text), limit + 1)  # one byte more than the limit detects a larger body
    try:
        body: bytes = environ["wsgi.input"].read(size)
    except (OSError, ValueError):
        raise WireError(1002, "the request ended within its body") from None
    environ.get("tickwire.body_complete", _nothing)()
    if len(body) > limit:
        raise WireError(1009, "payload too large")
    if environ.get("CONTENT_LENGTH") and len(body) < size:
        raise WireError(1002, "the request ended within its body")
    return body


def _nothing() -> None:
    """Replace the end of the body's time, on a server without one."""


def kept_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of the request that a handshake keeps."""
    return {name: environ[key] for key, name in _KEPT.items() if key in environ}
