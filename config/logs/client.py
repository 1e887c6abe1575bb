"""Fields of a log record of the hub about one client."""

from __future__ import annotations

from hashlib import sha256

_DIGITS = 8


def client_fields(sid: str, event: str) -> dict[str, str]:
    """Return `sid` and `event`. Who reads the log must not get the id, which opens the session.

    `sid` becomes the first 8 hexadecimal digits of its SHA-256. `event` is the client's event, or
    `connect`, `message` or `disconnect` outside of one.
    """
    return {"sid": sha256(sid.encode()).hexdigest()[:_DIGITS], "event": event}
