"""The book holds the levels that recordings, exchanges and `SortedDict` say."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from jobs.books.book import Book, Complete, Window, checksum_of
from tests.support.depth import ALL, DEPTH, SPOT_BTC, diffs, snapshot

# Binance


def test_book_after_the_first_diff_has_the_figures_of_the_contract() -> None:
    first = snapshot(SPOT_BTC)
    book = Book(first.window)
    book.replace(first.bids, first.asks)
    diff = next(diff for diff in diffs(SPOT_BTC) if diff.last_id > first.last_id)
    book.apply(diff.bids, diff.asks)
    assert (diff.last_id, book.checksum()) == (50093239224, 1580128075)
    assert book.complete == Complete(999, 999, "61631.55000000", "62053.18000000")
    assert book.best[0] == ["61837.63000000", "3.78826000"]


# other exchanges


def lines_of(name: str) -> Iterator[Any]:
    """The JSON of each message after the lines of the connection."""
    with gzip.open(DEPTH / name, "rt") as lines:
        for line in lines:
            if match := re.match(r"[0-9.]+: (.*)", line):
                yield orjson.loads(match[1])


def kraken_checksum(book: Book) -> int:
    bids, asks = book.top(10)
    return zlib.crc32("".join(text.replace(".", "").lstrip("0") for level in asks + bids for text in level).encode())


def pairs(levels: list[list[str]]) -> list[list[str]]:
    """Price and quantity alone: Kraken adds a time, OKX the number of orders."""
    return [level[:2] for level in levels]


def test_kraken_recording_agrees_with_every_checksum_of_the_exchange() -> None:
    books: dict[str, Book] = {}
    checked = wrong = 0
    for message in lines_of("kraken_book1000_20210417.txt.gz"):
        if not isinstance(message, list):
            continue
        *parts, _, pair = message[1:]
        body = {name: value for part in parts for name, value in part.items()}
        if "as" in body:
            books[pair] = Book(max_depth=1000)
            books[pair].replace(pairs(body["bs"]), pairs(body["as"]))
        else:
            books[pair].apply(pairs(body.get("b", [])), pairs(body.get("a", [])))
            checked += 1
            wrong += kraken_checksum(books[pair]) != int(body["c"])
    assert (len(books), checked, wrong) == (10, 4269, 0)


def test_okx_recording_agrees_with_every_checksum_of_the_exchange() -> None:
    books: dict[str, Book] = {}
    wrong = []
    for message in lines_of("okx_books_20220513.txt.gz"):
        if message.get("arg", {}).get("channel") != "books" or "data" not in message:
            continue
        name, data = message["arg"]["instId"], message["data"][0]
        if message["action"] == "snapshot":
            books[name] = Book()
            books[name].replace(pairs(data["bids"]), pairs(data["asks"]))
        else:
            books[name].apply(pairs(data["bids"]), pairs(data["asks"]))
        signed = (books[name].checksum(25) ^ 1 << 31) - (1 << 31)
        wrong.append(signed != data["checksum"])
    assert (len(books), len(wrong), sum(wrong)) == (3, 290, 0)


# random changes

PRICES = st.integers(1, 60).map(lambda cents: f"{cents / 10:.1f}") | st.integers(1, 60).map(lambda cents: f"{cents / 10:.2f}")
QUANTITIES = st.sampled_from(["0", "0.0", "0.00000000", "0.5", "1", "1.50", "20.00000001"])
SIDE = st.lists(st.tuples(PRICES, QUANTITIES).map(list), max_size=12)
WINDOWS = st.none() | st.tuples(st.none() | PRICES, st.none() | PRICES)


class Peer:
    """A side of a book in a SortedDict: price as a number -> level."""

    def __init__(self, *, is_bid: bool, bound: str | None, depth: int | None) -> None:
        self.levels: Any = SortedDict()
        self._sign, self._depth = (-1 if is_bid else 1), depth
        self._bound = None if bound is None else self._sign * float(bound)

    def apply(self, levels: list[list[str]]) -> None:
        for level in levels:
            key = self._sign * float(level[0])
            if self._bound is not None and key > self._bound:
                continue
            self.levels.pop(key, None)
            if float(level[1]):
                self.levels[key] = level
        while self._depth is not None and len(self.levels) > self._depth:
            self.levels.popitem()

    def top(self, count: int) -> list[list[str]]:
        return list(self.levels.values()[:count])


@settings(max_examples=120)
@given(
    messages=st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=8),
    window=WINDOWS,
    depth=st.none() | st.integers(1, 8),
    count=st.integers(0, 15),
)
def test_random_changes_give_the_levels_of_a_sorted_dict(
    messages: list[tuple[list[list[str]], list[list[str]]]], window: Window | None, depth: int | None, count: int
) -> None:
    low, high = window or (None, None)
    book, bids, asks = Book(window, depth), Peer(is_bid=True, bound=low, depth=depth), Peer(is_bid=False, bound=high, depth=depth)
    for changed_bids, changed_asks in messages:
        book.apply(changed_bids, changed_asks)
        bids.apply(changed_bids)
        asks.apply(changed_asks)
        assert book.top(count) == (bids.top(count), asks.top(count))
        assert book.complete == Complete(len(bids.levels), len(asks.levels), low, high)
        assert book.has_both_sides == bool(bids.levels and asks.levels)
        assert book.checksum() == zlib.crc32(interleaved(bids.top(10), asks.top(10)).encode())
    again = Book(window, depth)
    again.replace(*book.top(ALL))
    assert again.top(ALL) == book.top(ALL)
    assert again.equals(book)


def interleaved(bids: list[list[str]], asks: list[list[str]]) -> str:
    turns = (side[place] for place in range(max(len(bids), len(asks))) for side in (bids, asks) if place < len(side))
    return ":".join(":".join(level) for level in turns)


# single cases


def test_price_that_differs_in_zeros_at_the_end_is_one_level() -> None:
    book = Book()
    book.apply([["1.0", "5"]], [])
    book.apply([["1.00", "6"]], [])
    assert book.top(9) == ([["1.00", "6"]], [])


def test_checksum_of_a_shorter_side_skips_it() -> None:
    assert checksum_of([["1", "2"], ["3", "4"]], [["5", "6"]]) == zlib.crc32(b"1:2:5:6:3:4")
    assert checksum_of([], [["5", "6"], ["7", "8"]]) == zlib.crc32(b"5:6:7:8")
    assert checksum_of([], []) == 0


@pytest.mark.parametrize("price", ["1234567890.123456", "0.1234567890123456", "1234567890123456"])
def test_price_with_more_than_15_digits_is_refused(price: str) -> None:
    with pytest.raises(ValueError, match="more than 15 significant digits"):
        Book().apply([[price, "1"]], [])
    with pytest.raises(ValueError, match="more than 15 significant digits"):
        Book().replace([], [[price, "1"]])


def test_zeros_at_the_ends_of_a_price_are_no_digits() -> None:
    book = Book()
    book.apply([["0.000000000000123456", "1"], ["61837.630000000000000000", "2"]], [])
    assert book.complete.bids == 2


@pytest.mark.parametrize("level", [["1"], ["1", "2", "3"], ["x", "1"], [None, "1"], ["1", None, "2"], "x", ["", "1"]])
def test_level_that_is_no_pair_of_decimals_is_refused(level: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Book().apply([level], [])


def test_price_that_is_no_number_never_becomes_a_level() -> None:
    book = Book()
    book.apply([["nan", "1"], ["2", "1"]], [["nan", "1"]])
    assert book.top(9) == ([["2", "1"]], [])


def two_books(one: tuple[Window, list[list[str]]], other: tuple[Window, list[list[str]]]) -> tuple[Book, Book]:
    """Two books with bids alone."""
    books = Book(one[0]), Book(other[0])
    for book, (_, bids) in zip(books, (one, other), strict=True):
        book.replace(bids, [])
    return books


def test_books_are_compared_inside_both_windows() -> None:
    deep, near = two_books((("1", None), [["3", "1"], ["2", "1"], ["1", "1"]]), (("2", None), [["3", "1"], ["2", "1"]]))
    assert deep.equals(near)
    assert near.equals(deep)
    deep.apply([["1", "9"]], [])
    assert deep.equals(near)
    deep.apply([["2", "0"]], [])
    assert not deep.equals(near)
    assert not near.equals(deep)


def test_books_with_other_zeros_at_the_end_are_equal() -> None:
    one, other = two_books(((None, None), [["3.0", "1"]]), ((None, None), [["3", "1.00"]]))
    assert one.equals(other)
    other.apply([["3", "1.01"]], [])
    assert not one.equals(other)


def test_only_a_bounded_side_needs_a_refresh() -> None:
    book = Book(("1", None))
    book.replace([["3", "1"], ["2", "1"]], [["4", "1"]])
    assert book.needs_refresh(3)
    assert not book.needs_refresh(2)
    assert not two_books(((None, None), [["3", "1"]]), ((None, None), []))[0].needs_refresh(3)
