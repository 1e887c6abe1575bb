"""Reports in the process registry, as processes that no test starts would send them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from db.bus import Bus
from db.timestamps import format_time, utc_now


def put_report(bus: Bus, name: str = "jobs@test", /, *, now: datetime | None = None, **parts: Any) -> None:
    """Report the process `name` once; it acts and nothing fails unless `parts` say otherwise."""
    at = now or utc_now()
    role = name.partition("@")[0].partition(":")[0].partition(".")[0]
    own = {"name": name, "role": role, "version": "1", "pid": 1, "host": "test", "started": format_time(at), "at": format_time(at)}
    bus.put_process(name, int(at.timestamp() * 1000), orjson.dumps({**own, "acting": True, "failing": {}, **parts}))


def report_sources(bus: Bus, sources: Mapping[str, Mapping[str, Any]], now: datetime | None = None) -> None:
    """Report an acting jobs process with these sources and one unstored price."""
    writer = {"unstored": {"price_updates": 1, "trades": 0}, "limit": {}, "oldest_age_seconds": 0.1, "parked": 0, "last_parked": None}
    put_report(bus, now=now, sources=sources, writer=writer)
