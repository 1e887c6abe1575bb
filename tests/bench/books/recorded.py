"""The recorded depth messages of the benchmark, as the exchange sent them."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jobs.books.machine import BookMachine
from jobs.books.messages import Diff, Snapshot, read_diff, read_snapshot
from jobs.books.parts.states import BookUpdate, Output, State
from jobs.books.parts.transitions import MachineOptions
from jobs.books.sequence import RULES
from jobs.books.tops import Facts
from tests.support.depth import LIMIT, SPOT_BTC, USDM_BTC, Recorded

MARKETS = {"spot": SPOT_BTC, "usdm": USDM_BTC}
TIME = "2024-08-08T23:54:15.408000Z"


@dataclass(frozen=True, slots=True)
class Texts:
    """The diffs from the first one that continues the snapshot on."""

    snapshot: bytes
    diffs: tuple[bytes, ...]

    def write(self, file: Path) -> Path:
        """Write the snapshot and the diffs, one a line."""
        file.write_bytes(b"\n".join((self.snapshot, *self.diffs)) + b"\n")
        return file


@cache
def texts(market: str) -> Texts:
    """The messages of the BTCUSDT recording of a market."""
    snapshot, diffs = b"", []
    with gzip.open(_of(market).file, "rb") as lines:
        for line in lines:
            _, _, body = line.rstrip().partition(b" ")
            if b"@depth" in body[:48]:
                diffs.append(body)
            elif b"lastUpdateId" in body[:48]:
                snapshot = snapshot or body
    last_id = read_snapshot(snapshot, LIMIT).last_id
    first = next(place for place, each in enumerate(diffs) if read_diff(each).last_id > last_id)
    return Texts(snapshot, tuple(diffs[first:]))


def live_machine(market: str) -> tuple[BookMachine, tuple[bytes, ...]]:
    """A machine after the snapshot and the first diff, and the texts of the diffs after it."""
    found = texts(market)
    machine = BookMachine(RULES[market], MachineOptions(refresh_levels=0), lambda: 1.0, 0.0)
    now = read_diff(found.diffs[0]).event_ms / 1000
    machine.start(now)
    machine.snapshot(snapshot_of(found), now)
    take(machine, read_diff(found.diffs[0]))
    assert machine.state is State.LIVE
    return machine, found.diffs[1:]


def snapshot_of(found: Texts) -> Snapshot:
    return read_snapshot(found.snapshot, LIMIT)


def take(machine: BookMachine, diff: Diff) -> list[Output]:
    """Give the diff to the machine at its event time."""
    now = diff.event_ms / 1000
    return machine.diff(diff, now, now)


def is_update(outputs: list[Output]) -> bool:
    return len(outputs) == 1 and isinstance(outputs[0], BookUpdate)


def facts_of(machine: BookMachine) -> Facts:
    return Facts(machine.state, machine.reason, machine.update_id or 0, TIME, TIME, 3.2)


def _of(market: str) -> Recorded:
    return MARKETS[market]
