"""Reads of the bus that only tests need."""

from __future__ import annotations

from typing import Any

import orjson

from db import topics
from db.bus import Bus
from db.bus.errors import translated


def source_changes(bus: Bus) -> list[dict[str, Any]]:
    """The kept changes of the sources' states, oldest first. Raises `BusError`."""
    with translated():
        entries = bus._redis.xrange(topics.stream_key(topics.SOURCE_STATES))
    return [orjson.loads(fields[b"body"]) for _, fields in entries]
