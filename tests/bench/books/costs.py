"""The CPU time for one message: text in, texts of four depths out, against the bare JSON parser.

`python -m tests.bench.books.costs MARKET MESSAGES` is the measurement, a process of its own. Short
stretches of both sides alternate, and the ratio is the median of all stretches.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median

import orjson

from db.book_bodies import BookMessage, pieces_of
from jobs.books.machine import BookMachine
from jobs.books.messages import read_diff
from jobs.books.parts.states import State
from jobs.books.tops import Tops
from tests.bench.bars import Bar, Measured, Part
from tests.bench.books.recorded import TIME, facts_of, is_update, live_machine, take
from tests.bench.fanout import Ground
from tests.bench.servers import ROOT

RATIO = Bar("one message ÷ bare `orjson.loads` of it", 8.0)
_MARKETS = {"spot": "spot BTCUSDT", "usdm": "USD-M BTCUSDT"}
_MESSAGES, _QUICK_MESSAGES = 2_000, 600  # the window of the snapshot lasts for 2,200 messages of spot
_STRETCH = 20  # messages
_META = {"received_at": TIME, "processed_at": TIME, "queue_size": 0}


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    for market, case in _MARKETS.items():
        argv = [sys.executable, "-m", __name__, market, str(_QUICK_MESSAGES if quick else _MESSAGES)]
        with place.cores.of_server():
            done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
        found = json.loads(done.stdout)
        yield Measured(case, found["bare"], text="bare `orjson.loads`, µs per message")
        yield Measured(case, found["whole"], text="one message, µs")
        yield Measured(case, found["ratio"], RATIO)


def measure(market: str, count: int) -> dict[str, float]:
    """Return the median microseconds of CPU per message of both sides, and their ratio."""
    machine, texts = live_machine(market)
    tops = Tops("BTCUSDT")
    tops.snapshot(machine.book, facts_of(machine))
    gc.collect()
    gc.freeze()
    rows = []
    for start in range(0, min(count, len(texts)) - _STRETCH, _STRETCH):
        stretch = texts[start : start + _STRETCH]
        bare = _bare_seconds(stretch)
        whole = _whole_seconds(machine, tops, stretch)
        bare = (bare + _bare_seconds(stretch)) / 2
        rows.append((bare / _STRETCH * 1e6, whole / _STRETCH * 1e6, whole / bare))
    assert machine.state is State.LIVE
    found = [median(column) for column in zip(*rows, strict=True)]
    return dict(zip(("bare", "whole", "ratio"), found, strict=True))


def _bare_seconds(texts: Sequence[bytes]) -> float:
    begin = time.process_time()
    for text in texts:
        orjson.loads(text)
    return time.process_time() - begin


def _whole_seconds(machine: BookMachine, tops: Tops, texts: Sequence[bytes]) -> float:
    """Decode, sequence, apply, four depths with their checksums, and encode."""
    begin = time.process_time()
    for text in texts:
        if is_update(take(machine, read_diff(text))):
            for each in tops.update(machine.book, facts_of(machine)):
                pieces_of(BookMessage("BTCUSDT", each.depth, each.update, each.snapshot, _META), TIME)
    return time.process_time() - begin


PART = Part("One message", _run)

if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
