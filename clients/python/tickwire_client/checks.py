"""The check of a request before it is sent. Pure.

The hub refuses values that JSON cannot give back exactly, and closes the connection of a client
that sends a message above its limit.
"""

from __future__ import annotations

import json
import math
from typing import Any

from tickwire_client.errors import Refused
from tickwire_client.messages import Body

MAX_PAYLOAD_BYTES = 64 * 1024  # `maxPayload` of the hub
_MAX_DEPTH = 16  # levels of a payload
_ENVELOPE_BYTES = 32  # packet type, namespace and number of the ack


def check(event: str, payload: Body) -> None:
    """Raise `Refused` with the code `invalid_payload` and the fields, as the hub would answer."""
    problems = {}
    for name, value in payload.items():
        if problem := _problem_of(name, _MAX_DEPTH) or _problem_of(value, 2):
            problems[str(name).encode(errors="replace").decode()] = [problem]
    if not problems:
        size = len(json.dumps([event, payload]).encode()) + _ENVELOPE_BYTES
        if size > MAX_PAYLOAD_BYTES:
            problems["payload"] = [f"{size} bytes: the hub accepts at most {MAX_PAYLOAD_BYTES}."]
    if problems:
        raise Refused("invalid_payload", f"Invalid {', '.join(problems)} of {event}; nothing was sent.", problems)


def _problem_of(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return None if _is_text(value) else "Not Unicode text: it has half of a surrogate pair."
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else "An integer is from -2^63 to 2^64-1."
    if isinstance(value, float):
        return None if math.isfinite(value) else "Not a finite number."
    if not isinstance(value, dict | list | tuple):
        return f"A {type(value).__name__} is no value of JSON."
    if depth > _MAX_DEPTH:
        return f"Nested deeper than {_MAX_DEPTH} levels."
    items = [*value, *value.values()] if isinstance(value, dict) else value
    return next((problem for item in items if (problem := _problem_of(item, depth + 1))), None)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
