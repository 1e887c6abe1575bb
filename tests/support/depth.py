"""Recorded order books: events of the files, oracles, and books to compare with."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jobs.books.book import Book
from jobs.books.machine import BookMachine
from jobs.books.messages import Diff, Snapshot, Ticker, read_diff, read_snapshot, read_ticker
from jobs.books.parts.states import Output, SnapshotRequest
from jobs.books.parts.transitions import MachineOptions
from jobs.books.sequence import RULES

ROOT = Path(__file__).parents[2]
DEPTH = ROOT / "tests" / "data" / "depth"
LIMIT = 1_000  # levels a side of the recorded snapshots
ALL = 1_000_000  # more levels than any book has


@dataclass(frozen=True, slots=True)
class Recorded:
    """A Binance recording; `oracle` names its expected results."""

    name: str
    file: Path
    market: str
    max_held: int  # levels of a book that holds only its window, from tests/data/depth/README.md

    @property
    def oracle(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((DEPTH / f"oracle_{self.name}_20240808.json").read_text())
        return found


SPOT_BTC = Recorded("spot_btcusdt", ROOT / "data" / "recordings" / "btcusdt_20240808.gz", "spot", 2_086)
SPOT_ETH = Recorded("spot_ethusdt", ROOT / "tests" / "data" / "binance" / "ethusdt_20240808.gz", "spot", 2_029)
USDM_BTC = Recorded("usdm_btcusdt", DEPTH / "usdm_btcusdt_20240808.gz", "usdm", 2_121)
COINM_BTC = Recorded("cm_btcusd_perp", DEPTH / "cm_btcusd_perp_20240808.gz", "usdm", 2_063)
RECORDED = (SPOT_BTC, SPOT_ETH, USDM_BTC, COINM_BTC)


class Event(NamedTuple):
    """A message without trades; `received` is in seconds."""

    received: float
    message: Diff | Snapshot | Ticker


@cache
def events(recorded: Recorded) -> list[Event]:
    """All diffs, tickers and the snapshot in order of receipt."""
    return list(_events(recorded.file))


def _events(file: Path) -> Iterator[Event]:
    with gzip.open(file, "rb") as lines:
        for line in lines:
            time, _, body = line.rstrip().partition(b" ")
            start = body[:48]
            if b"@depth" in start:
                yield Event(int(time) / 1e9, read_diff(body))
            elif b"@bookTicker" in start:
                yield Event(int(time) / 1e9, read_ticker(body))
            elif b"lastUpdateId" in start:
                yield Event(int(time) / 1e9, read_snapshot(body, LIMIT))


def diffs(recorded: Recorded) -> list[Diff]:
    return [event.message for event in events(recorded) if isinstance(event.message, Diff)]


def snapshot(recorded: Recorded) -> Snapshot:
    return next(event.message for event in events(recorded) if isinstance(event.message, Snapshot))


def machine(recorded: Recorded, *, now: float = 0.0, **options: Any) -> BookMachine:
    """A machine whose waits are the longest possible."""
    return BookMachine(RULES[recorded.market], MachineOptions(**options), lambda: 1.0, now)


def feed(machine: BookMachine, event: Event, *, refused: bool = False) -> list[Output]:
    """Give the event to the machine at the time of its receipt; `refused` fails its requests."""
    now, message = event
    if isinstance(message, Diff):
        outputs = machine.diff(message, now, now)
    elif isinstance(message, Ticker):
        outputs = machine.ticker(message, now)
    else:
        outputs = machine.snapshot(message, now)
    if refused:
        for output in list(outputs):
            if isinstance(output, SnapshotRequest):
                outputs += machine.snapshot_failed(now, output.number)
    return outputs


def sha256(book: Book) -> str:
    """The hash of the oracles: `b PRICE QUANTITY` for all bids, then `a …` for all asks."""
    bids, asks = book.top(ALL)
    lines = [*(f"b {price} {quantity}\n" for price, quantity in bids), *(f"a {price} {quantity}\n" for price, quantity in asks)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def answer(book: Book, update_id: int, limit: int = LIMIT) -> Snapshot:
    """The snapshot that an exchange with this complete book returns."""
    return Snapshot(update_id, *book.top(limit), limit)
