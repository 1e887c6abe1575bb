"""The queue of live depth: order, overflow, answers."""

from __future__ import annotations

from typing import Any

from jobs.books.live.live_line import LiveLine

BTC, ETH = "BTCUSDT", "ETHUSDT"


class Calls:
    """Takes the inputs of the books, in their order, as a keeper does."""

    def __init__(self) -> None:
        self.books = {BTC: BTC, ETH: ETH}
        self.made: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda book, *values, **named: self.made.append((name, book, *values, *named.values()))


def line(limit: int = 3) -> tuple[LiveLine, list[int]]:
    woken: list[int] = []
    return LiveLine(limit, monotonic=lambda: 7.0, wake=lambda: woken.append(1)), woken


def delivered(feed: LiveLine) -> list[tuple[Any, ...]]:
    calls: Any = Calls()
    while feed.advance(calls):
        pass
    return list(calls.made)


def test_messages_reach_the_books_in_their_order() -> None:
    feed, woken = line()
    feed.connected([BTC, ETH], 1.0)
    feed.diff(BTC, b"diff", 2.0)
    feed.ticker(ETH, b"ticker", 3.0)
    feed.snapshot(BTC, 4, b"book", 1_000, 5.0)
    feed.snapshot_failed(ETH, 6, 2.5, 7.0)
    feed.disconnected([BTC], 8.0)
    feed.diff("ADAUSDT", b"unknown", 9.0)
    assert len(woken) == 7
    assert delivered(feed) == [
        ("connected", BTC),
        ("connected", ETH),
        ("diff", BTC, b"diff", 2.0),
        ("ticker", ETH, b"ticker", 3.0),
        ("snapshot", BTC, b"book", 5.0, 1_000, 4),
        ("snapshot_failed", ETH, 6, 2.5),
        ("disconnected", BTC),
    ]
    assert feed.is_idle
    assert feed.queue.counts.processed == 2


def test_full_queue_is_emptied_and_the_books_are_informed() -> None:
    feed, _ = line(3)
    feed.connected([BTC], 1.0)
    for number in range(3):
        feed.diff(BTC, b"%d" % number, 2.0)
    feed.snapshot(BTC, 1, b"book", 1_000, 3.0)
    feed.diff(BTC, b"3", 4.0)
    assert feed.queue_size() == 1
    assert delivered(feed) == [
        ("connected", BTC),
        ("overflow", BTC),
        ("snapshot", BTC, b"book", 3.0, 1_000, 1),
        ("diff", BTC, b"3", 4.0),
    ]
    assert (feed.queue.counts.dropped, feed.queue.counts.overflows) == (3, 1)
