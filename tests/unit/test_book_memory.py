"""The memory of a book after half an hour of recorded time is that after its snapshot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIB = 2**20


def test_half_an_hour_of_a_looped_recording_needs_no_more_memory() -> None:
    argv = [sys.executable, "-m", "tests.support.long_books", "1", "30"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    found = json.loads(done.stdout)
    assert found["updates"] > 25_000  # of 34,000 diffs in five rounds
    assert 1_000 < found["levels"] <= 2_121
    assert found["after"] <= 1.1 * found["before"]
    assert found["resident_after"] <= found["resident_before"] + 4 * MIB
