"""Levels per second of CPU time, from text to the best 20 levels, beside other libraries.

`python -m tests.bench.books.levels FILE` is our loop, a process like those of the peers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import click

from jobs.books.book import Book
from jobs.books.messages import read_diff, read_snapshot
from tests.bench.bars import Bar, Measured, Part
from tests.bench.books import peers
from tests.bench.books.recorded import texts
from tests.bench.fanout import Ground
from tests.bench.peers.books.loops import DEPTH, Step
from tests.bench.peers.books.loops import measure as measure_loop
from tests.bench.servers import ROOT, BenchError
from tests.support.depth import LIMIT

BARS = {
    "cryptofeed": Bar("levels/s ÷ cryptofeed's book loop", 8.0, at_least=True),
    "ccxt": Bar("levels/s ÷ ccxt.pro", 1.0, at_least=True),
    "sorteddict": Bar("levels/s ÷ SortedDict with Decimal", 2.0, at_least=True),
}
_LABELS = {
    "ours": "Tickwire",
    "cryptofeed": "cryptofeed",
    "ccxt": "ccxt.pro",
    "ccxt_whole": "ccxt.pro with its whole handler",
    "sorteddict": "SortedDict",
}
# After 220 s, the window of the snapshot runs out of bids.
_ROUNDS, _MESSAGES, _QUICK_MESSAGES = 5, 2_200, 800
_CASE = "spot BTCUSDT, text to top 20"


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    found = texts("spot")
    found = type(found)(found.snapshot, found.diffs[: _QUICK_MESSAGES if quick else _MESSAGES])
    levels = sum(len(diff.bids) + len(diff.asks) for diff in map(read_diff, found.diffs))
    file = found.write(place.folder / "depth.txt")
    names = ["ours"]
    if missing := peers.install():
        click.echo(f"without cryptofeed, ccxt.pro and SortedDict: {missing}", err=True)
    else:
        names += [name for name in _LABELS if name != "ours"]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(1 if quick else _ROUNDS):
        runs = {name: _loop(place, name, file) for name in (names if number % 2 else reversed(names))}
        for name, run in runs.items():
            if run["best"] != runs["ours"]["best"]:
                raise BenchError(f"{name} ends with {run['best']}, Tickwire with {runs['ours']['best']}")
            seconds[name].append(run["seconds"])
    for name, each in seconds.items():
        yield Measured(_CASE, median(each) / levels * 1e6, text=f"{_LABELS[name]}: µs per level")
    for name, bar in BARS.items():
        if name in seconds:
            yield Measured(_CASE, median(other / ours for other, ours in zip(seconds[name], seconds["ours"], strict=True)), bar)


def _loop(place: Ground, name: str, file: Path) -> dict[str, Any]:
    argv = [sys.executable, "-m", __name__] if name == "ours" else [str(peers.PYTHON), str(peers.LOOPS), name]
    with place.cores.of_server():
        done = subprocess.run([*argv, str(file)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise BenchError(f"{name}: {done.stderr[-1000:]}")
    run: dict[str, Any] = json.loads(done.stdout)
    return run


def _ours(snapshot: bytes) -> Step:
    first = read_snapshot(snapshot, LIMIT)
    book = Book(first.window)
    book.replace(first.bids, first.asks)

    def step(text: bytes) -> tuple[Any, Any]:
        diff = read_diff(text)
        book.apply(diff.bids, diff.asks)
        best = book.top(DEPTH)
        return best[0][0], best[1][0]

    return step


PART = Part("Levels per second", _run)

if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_bytes().splitlines()
    print(json.dumps(measure_loop(_ours(lines[0]), lines[1:])))
