"""The memory of a book after half an hour of recorded time, against that after its snapshot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.servers import ROOT

RATIO = Bar("memory per book at the end ÷ after the snapshot", 1.1)
RESIDENT = Bar("resident memory of the process at the end ÷ after the first round", 1.1)
_BOOKS, _MINUTES, _QUICK_MINUTES = 4, 30, 7


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    minutes = _QUICK_MINUTES if quick else _MINUTES
    case = f"{minutes} min of looped USD-M BTCUSDT"
    argv = [sys.executable, "-m", "tests.support.long_books", str(1 if quick else _BOOKS), str(minutes)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    found = json.loads(done.stdout)
    yield Measured(case, found["before"] / 1024, text="a book after the snapshot, KiB")
    yield Measured(case, found["after"] / 1024, text="a book at the end, KiB")
    yield Measured(case, found["after"] / found["before"], RATIO)
    yield Measured(case, found["resident_after"] / found["resident_before"], RESIDENT)


PART = Part("Memory", _run)
