"""The recording of the screenshots comes from its script, and ends at the frozen time."""

from __future__ import annotations

import csv
import gzip
from datetime import datetime, timedelta

from tests.web.screens.recording import FILE, MOMENT, REAL, packed

LARGEST = 2_000_000  # bytes


def test_the_script_writes_the_recording_again() -> None:
    """The bytes are equal if zlib is the same; the lines are equal always."""
    stored = FILE.read_bytes()
    assert len(stored) <= LARGEST
    assert gzip.decompress(packed()) == gzip.decompress(stored)


def test_the_recording_ends_at_the_frozen_time_and_has_the_real_quotes() -> None:
    rows = list(csv.DictReader(gzip.decompress(FILE.read_bytes()).decode().splitlines()))
    times = [datetime.fromisoformat(row["time"]) for row in rows]
    assert times == sorted(times)
    assert MOMENT - timedelta(minutes=1) < times[-1] < MOMENT
    assert len({row["instrument"] for row in rows}) == 31
    real = gzip.decompress(REAL.read_bytes()).decode().splitlines()[1:]
    moved = [f"{row['bid']},{row['ask']}" for row in rows if row["instrument"] == "EUR_USD"][-len(real) :]
    assert moved == [line.partition(",")[2] for line in real]
