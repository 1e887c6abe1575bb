"""The gap filler of the Python client: order, deadlines, and items that wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tickwire_client import Gap, Tick
from tickwire_client.errors import ConnectionFailed
from tickwire_client.gap_filler import GapFiller
from tickwire_client.messages import Body, Item

from tests.conftest import until

TIME = datetime(2025, 11, 18, 12, tzinfo=UTC)


def tick(seq: int, epoch: str = "one", pair: str = "EUR_USD") -> Tick:
    one = Decimal(1)
    return Tick(pair, one, one, one, TIME, TIME, seq, epoch)


def row(seq: int, epoch: str = "one", pair: str = "EUR_USD") -> Body:
    text = "2025-11-18T12:00:00.000000Z"
    return {"symbol": pair, "bid": "1", "ask": "1", "mid": "1", "time": text, "received": text, "seq": seq, "epoch": epoch}


class Filler:
    """A filler, its rows, and the items that it has passed on."""

    def __init__(self) -> None:
        self.rows: list[Body] = []
        self.failure: Exception | None = None
        self.failure_after: int | None = None  # requests
        self.requests = 0
        self.asked = threading.Event()
        self.answer = threading.Event()
        self.answer.set()
        self.items: list[Item] = []
        self.lock = threading.RLock()
        self.filler = GapFiller(self._read, self.lock, self._deliver)

    def _read(self, instrument: str, **_: Any) -> Iterator[Body]:
        self.asked.set()
        self.answer.wait(60)
        self.requests += 1
        if self.failure:
            raise self.failure
        if self.failure_after is not None and self.requests > self.failure_after:
            raise ConnectionFailed("no")
        return iter([each for each in self.rows if each["symbol"] == instrument])

    def _deliver(self, items: Sequence[Item]) -> None:
        self.items += items

    def put(self, *items: Item) -> None:
        with self.lock:
            self.filler.put(items)

    def shown(self) -> list[Any]:
        return [(item.reason, item.missed) if isinstance(item, Gap) else item.seq for item in self.items if isinstance(item, Gap | Tick)]


@pytest.fixture
def filler() -> Iterator[Filler]:
    filler = Filler()
    yield filler
    with filler.lock:
        filler.filler.close()


def gap(first: Tick, last: Tick, missed: int | None) -> Gap:
    return Gap(first.instrument, missed, "not_recovered", after=first, before=last)


def test_stored_prices_follow_the_gap_and_newer_prices_wait(filler: Filler) -> None:
    filler.answer.clear()
    filler.rows = [row(seq) for seq in (5, 3, 4, 2, 6)]
    filler.put(tick(2), gap(tick(2), tick(6), 3), tick(6))
    until(filler.asked.is_set)
    filler.put(tick(7), tick(1, pair="GBP_USD"))
    assert filler.shown() == [2, ("not_recovered", 3), 1], "another instrument does not wait"
    assert filler.filler.holds("EUR_USD")
    filler.answer.set()
    until(lambda: len(filler.items) == 8)
    assert filler.shown() == [2, ("not_recovered", 3), 1, 3, 4, 5, 6, 7]
    assert not filler.filler.holds("EUR_USD")


def test_prices_of_both_epochs_are_filled_in_the_order_of_the_bus(filler: Filler) -> None:
    filler.rows = [row(1, "two"), row(4), row(2, "two"), row(3), row(3, "two"), row(9, "three")]
    filler.put(gap(tick(2), tick(3, "two"), None), tick(3, "two"))
    until(lambda: len(filler.items) == 6)
    assert [(item.epoch, item.seq) for item in filler.items if isinstance(item, Tick)] == [
        ("one", 3), ("one", 4), ("two", 1), ("two", 2), ("two", 3),
    ]  # fmt: skip


def test_missing_rows_are_a_gap_of_their_own(filler: Filler, monkeypatch: pytest.MonkeyPatch) -> None:
    filler.rows = [row(3), row(6)]
    filler.put(gap(tick(2), tick(6), 3), tick(6))
    until(lambda: len(filler.items) == 4)
    assert filler.shown() == [("not_recovered", 3), 3, ("not_stored", 2), 6]


def test_rest_that_does_not_answer_delays_nothing_and_adds_no_gap(filler: Filler) -> None:
    filler.failure = ConnectionFailed("no")
    filler.put(gap(tick(2), tick(6), 3), tick(6))
    until(lambda: len(filler.items) == 2)
    assert filler.shown() == [("not_recovered", 3), 6]


def test_last_answer_counts_if_rest_does_not_answer_again(filler: Filler) -> None:
    filler.rows, filler.failure_after = [row(3), row(5)], 1
    filler.put(gap(tick(2), tick(6), 3), tick(6))
    until(lambda: len(filler.items) == 5)
    assert filler.shown() == [("not_recovered", 3), 3, 5, ("not_stored", 1), 6]


def test_second_gap_behind_the_first_is_filled_after_it(filler: Filler) -> None:
    filler.answer.clear()
    filler.rows = [row(seq) for seq in range(1, 20)]
    filler.put(gap(tick(2), tick(5), 2), tick(5), gap(tick(5), tick(8), 2), tick(8), tick(9))
    until(filler.asked.is_set)
    filler.answer.set()
    until(lambda: len(filler.items) == 9)
    assert filler.shown() == [("not_recovered", 2), 3, 4, 5, ("not_recovered", 2), 6, 7, 8, 9]


def test_close_passes_on_what_waits(filler: Filler) -> None:
    filler.answer.clear()
    filler.put(gap(tick(2), tick(5), 2), tick(5))
    until(filler.asked.is_set)
    with filler.lock:
        filler.filler.close()
    assert filler.shown() == [("not_recovered", 2), 5]
    filler.answer.set()
    filler.put(gap(tick(2), tick(5), 2), tick(6))
    assert filler.shown()[2:] == [("not_recovered", 2), 6]


def test_gap_without_known_neighbours_or_rest_passes(filler: Filler) -> None:
    filler.put(Gap("EUR_USD", 3, "skipped"), tick(9))
    assert filler.shown() == [("skipped", 3), 9]
    without = GapFiller(None, filler.lock, filler._deliver)
    without.put([gap(tick(2), tick(6), 3), tick(6)])
    assert filler.shown()[2:] == [("not_recovered", 3), 6]
