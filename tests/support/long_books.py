"""Books of the USD-M recording that plays again and again, with their memory.

`python -m tests.support.long_books BOOKS MINUTES` plays that many minutes of recorded time as fast
as possible. It prints JSON: bytes of a book after the snapshot and at the end, counted object by
object, and the resident bytes of the process after the first round and at the end.
"""

from __future__ import annotations

import gc
import gzip
import json
import sys
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from types import FunctionType, MethodType, ModuleType
from typing import Any

import orjson
import psutil

from jobs.books.book import Book
from jobs.books.machine import BookMachine
from jobs.books.messages import read_diff, read_snapshot, read_ticker
from jobs.books.parts.states import BookSnapshot, BookUpdate, Output, SnapshotRequest, State
from jobs.books.tops import Facts, Tops
from jobs.feeds.scenario.messages import PlayedKind, raised
from tests.support.depth import LIMIT, USDM_BTC, machine

Line = tuple[float, PlayedKind, bytes]  # receipt in seconds, kind, text
_TIME = "2024-08-08T23:54:15.408000Z"
_MORE_IDS = 10**11  # by which each round raises the ids
_SHARED = (type, ModuleType, FunctionType, MethodType)


class LoopedBook:
    """A machine with the tops that were published last. It reads each text itself."""

    def __init__(self) -> None:
        self.machine = machine(USDM_BTC)
        self.tops = Tops("BTCUSDT")
        self.updates = 0

    def take(self, kind: PlayedKind, text: bytes, now: float) -> list[Output]:
        if kind == "diff":
            outputs = self.machine.diff(read_diff(text), now, now)
        elif kind == "ticker":
            outputs = self.machine.ticker(read_ticker(text), now)
        else:
            outputs = self.machine.snapshot(read_snapshot(text, LIMIT), now)
        return self.publish(outputs)

    def restart(self, now: float) -> None:
        """The recording begins again."""
        self.publish(self.machine.scenario(now))

    def answer(self, text: bytes, now: float, number: int) -> None:
        self.publish(self.machine.snapshot(read_snapshot(text, LIMIT), now, number))

    def publish(self, outputs: list[Output]) -> list[Output]:
        facts = Facts(self.machine.state, self.machine.reason, self.machine.update_id or 0, _TIME, _TIME, 0.0)
        for output in outputs:
            if isinstance(output, BookSnapshot):
                self.tops.snapshot(self.machine.book, facts)
            elif isinstance(output, BookUpdate):
                self.updates += len(self.tops.update(self.machine.book, facts)) > 0
        return outputs


class LongPlay:
    """Books of one player, which answers their requests from its complete book."""

    def __init__(self, books: int) -> None:
        self.books = [LoopedBook() for _ in range(books)]
        self._whole, self._last_id = Book(), 0

    def round(self, number: int, seconds: float) -> None:
        """Play the recording, or its first `seconds`."""
        lines = recording()
        shift = number * (lines[-1][0] - lines[0][0] + 0.1)
        self._last_id = 0  # until the snapshot of this round
        for book in self.books:
            book.restart(lines[0][0] + shift)
        for received, kind, text in lines:
            if received - lines[0][0] > seconds:
                return
            self._give(kind, raised(kind, text, number * _MORE_IDS), received + shift)

    def _give(self, kind: PlayedKind, text: bytes, now: float) -> None:
        if kind == "diff" and self._last_id:
            diff = read_diff(text)
            self._whole.apply(diff.bids, diff.asks)
            self._last_id = diff.last_id
        elif kind == "snapshot":
            snapshot = read_snapshot(text, LIMIT)
            self._whole.replace(snapshot.bids, snapshot.asks)
            self._last_id = snapshot.last_id
        for book in self.books:
            for output in book.take(kind, text, now):
                if isinstance(output, SnapshotRequest) and self._last_id:
                    book.answer(self._answer(), now, output.number)

    def _answer(self) -> bytes:
        bids, asks = self._whole.top(LIMIT)
        return orjson.dumps({"lastUpdateId": self._last_id, "bids": bids, "asks": asks})


@cache
def recording() -> tuple[Line, ...]:
    """The snapshot, the diffs, and for each diff the newest ticker with an id up to its own."""
    lines = list(_lines())
    tickers = sorted(read_ticker(text).update_id for _, kind, text in lines if kind == "ticker")
    diffs = [read_diff(text).last_id for _, kind, text in lines if kind == "diff"]
    wanted = {tickers[place - 1] for last_id in diffs if (place := bisect_right(tickers, last_id))}
    return tuple(line for line in lines if line[1] != "ticker" or read_ticker(line[2]).update_id in wanted)


def _lines() -> Iterator[Line]:
    with gzip.open(USDM_BTC.file, "rb") as lines:
        for line in lines:
            time, _, text = line.rstrip().partition(b" ")
            start = text[:48]
            kind: PlayedKind | None = "diff" if b"@depth" in start else "ticker" if b"@bookTicker" in start else None
            if kind or b"lastUpdateId" in start:
                yield int(time) / 1e9, kind or "snapshot", text


def size_of(root: Any) -> int:
    """The bytes of all objects that `root` refers to, each once; classes and functions excluded."""
    seen, todo, size = {id(root)}, [root], 0
    while todo:
        each = todo.pop()
        size += sys.getsizeof(each)
        for other in gc.get_referents(each):
            if id(other) not in seen and not isinstance(other, _SHARED):
                seen.add(id(other))
                todo.append(other)
    return size


def play(books: int, minutes: float) -> dict[str, float]:
    """Play; return the figures of the module's docstring."""
    lines = recording()
    length = lines[-1][0] - lines[0][0]
    place = next(line[0] for line in lines if line[1] == "snapshot") - lines[0][0]
    first = LongPlay(1)
    first.round(0, place + 1.0)  # joined by the diffs of a second
    assert first.books[0].machine.state is State.LIVE
    before, seconds, number = size_of(first.books[0].machine), minutes * 60, 0
    long = LongPlay(books)
    resident = 0
    while seconds > 0:
        long.round(number, min(seconds, length))
        number, seconds = number + 1, seconds - length
        gc.collect()
        resident = resident or psutil.Process().memory_info().rss
    states = {(book.machine.state, book.machine.reason) for book in long.books}
    assert {state for state, _ in states} == {State.LIVE}, states
    return {
        "before": before,
        "after": max(size_of(book.machine) for book in long.books),
        "resident_before": resident,
        "resident_after": psutil.Process().memory_info().rss,
        "updates": min(book.updates for book in long.books),
        "levels": sum(_levels(book.machine) for book in long.books) / books,
    }


def _levels(machine: BookMachine) -> int:
    held = machine.book.complete
    return held.bids + held.asks


if __name__ == "__main__":
    print(json.dumps(play(int(sys.argv[1]), float(sys.argv[2]))))
