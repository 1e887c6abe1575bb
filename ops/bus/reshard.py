"""The change of the number of shards of a bus that no process uses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime

from db.bus import Bus, BusSetup, Layout
from ops.process import StartError


def reshard(url: str, setup: BusSetup, shards: int, clock: Callable[[], datetime]) -> int | None:
    """Give the bus this number of shards; return the number before it, None for an empty bus.

    Streams, numbers, counts and receipts are deleted, the latest prices stay. Every instrument has
    a new epoch then. Raises `StartError` while a process has a report or a record is not stored,
    and `BusError`.
    """
    with closing(Bus(url, clock, setup=setup)) as bus:
        held = bus.held_shards()
        reports = [entry.name for entry in bus.processes(int(clock().timestamp() * 1000)) if entry.report is not None]
    if reports:
        raise StartError(f"processes use the bus ({', '.join(sorted(reports))}): stop them first; a killed one is forgotten after 15 s")
    latest: dict[bytes, bytes] = {}
    if held is not None and held != shards:
        with closing(Layout(url, clock, setup=replace(setup, shards=held), timeout=60.0)) as old:
            if not old.is_stored():
                raise StartError("the bus has records that are not stored: start jobs with the old BUS_SHARDS until they are")
            latest = old.clear()
    if held != shards:
        with closing(Layout(url, clock, setup=replace(setup, shards=shards))) as new:
            new.begin(latest)
    return held
