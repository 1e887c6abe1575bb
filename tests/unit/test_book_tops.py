"""Updates and snapshots of each depth, applied as a client does."""

from __future__ import annotations

import zlib
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.books.book import Book, Levels
from jobs.books.parts.states import Reason, State, StateChange
from jobs.books.top_changes import changes
from jobs.books.tops import DEPTHS, DepthMessage, Facts, Tops, state_body
from tests.support.depth import SPOT_BTC, diffs, snapshot

FACTS = Facts("live", "start", 50093239224, "2024-08-08T23:54:15.408000Z", "2024-08-08T23:54:14.300000Z", 3.2)
SIDES = (("bids", True), ("asks", False))


class Client:
    """The client of the documentation: levels by price, removed by quantity 0."""

    def __init__(self) -> None:
        self.levels: dict[str, dict[float, list[str]]] = {"bids": {}, "asks": {}}
        self.sent: dict[str, Any] = {}

    def take(self, message: DepthMessage) -> None:
        """Apply the update, or the snapshot if there is none, as it arrives."""
        body = orjson.loads(orjson.dumps(message.snapshot if message.update is None else message.update))
        for side in ("bids", "asks"):
            if message.update is None:
                self.levels[side].clear()
            for level in body[side]:
                if level[1] == "0":
                    del self.levels[side][float(level[0])]
                else:
                    self.levels[side][float(level[0])] = level
        self.sent = body

    def top(self, side: str, *, is_bid: bool) -> list[list[str]]:
        return [self.levels[side][key] for key in sorted(self.levels[side], reverse=is_bid)]

    def checksum(self, depth: int) -> int:
        bids, asks = (self.top(side, is_bid=is_bid)[: min(10, depth)] for side, is_bid in SIDES)
        places = range(max(len(bids), len(asks)))
        turns = [side[place] for place in places for side in (bids, asks) if place < len(side)]
        return zlib.crc32(":".join(":".join(level) for level in turns).encode())


def check(clients: dict[int, Client], messages: list[DepthMessage], book: Book) -> None:
    for message in messages:
        clients[message.depth].take(message)
    for depth, client in clients.items():
        expected = book.top(depth)
        assert tuple(client.top(side, is_bid=is_bid) for side, is_bid in SIDES) == expected
        assert client.checksum(depth) == book.checksum(min(10, depth))
        assert client.sent["checksum"] == client.checksum(depth)
        for message in messages:
            if message.depth == depth:
                assert (message.snapshot["bids"], message.snapshot["asks"]) == expected


def test_clients_of_the_recording_have_the_book_after_every_message() -> None:
    first = snapshot(SPOT_BTC)
    book, tops, clients = Book(first.window), Tops("BTCUSDT"), {depth: Client() for depth in DEPTHS}
    book.replace(first.bids, first.asks)
    check(clients, tops.snapshot(book, FACTS), book)
    sent = dict.fromkeys(DEPTHS, 0)
    # The second part contains the stretch in which the window has fewer bids than the depths.
    for diff in diffs(SPOT_BTC)[2:400] + diffs(SPOT_BTC)[2400:2800]:
        before = {depth: book.top(depth) for depth in DEPTHS}
        book.apply(diff.bids, diff.asks)
        messages = tops.update(book, FACTS)
        assert [message.depth for message in messages] == [depth for depth in DEPTHS if before[depth] != book.top(depth)]
        check(clients, messages, book)
        for message in messages:
            assert message.update is not None
            sent[message.depth] += 1
    assert 600 < sent[5] < sent[50] <= 798


PRICES = st.integers(1, 30).map(lambda tenths: f"{tenths / 10:.1f}") | st.integers(1, 30).map(lambda tenths: f"{tenths / 10:.2f}")
SIDE = st.lists(st.tuples(PRICES, st.sampled_from(["0", "1", "1.0", "2"])).map(list), max_size=8)


@settings(max_examples=60)
@given(messages=st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=8))
def test_updates_of_random_changes_give_the_book(messages: list[tuple[list[list[str]], list[list[str]]]]) -> None:
    book, tops, clients = Book(), Tops("X", (1, 3, 5)), {depth: Client() for depth in (1, 3, 5)}
    check(clients, tops.snapshot(book, FACTS), book)
    for bids, asks in messages:
        book.apply(bids, asks)
        check(clients, tops.update(book, FACTS), book)


@settings(max_examples=60)
@given(messages=st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=8))
def test_updates_are_those_of_a_comparison_of_whole_tops(messages: list[tuple[list[list[str]], list[list[str]]]]) -> None:
    book, tops = Book(), Tops("X", (1, 3, 5))
    tops.snapshot(book, FACTS)
    for bids, asks in messages:
        before = {depth: book.top(depth) for depth in (1, 3, 5)}
        book.apply(bids, asks)
        expected = {depth: both_changes(before[depth], book.top(depth)) for depth in before}
        sent = {message.depth: message.update for message in tops.update(book, FACTS)}
        assert {depth: (update["bids"], update["asks"]) for depth, update in sent.items() if update is not None} == {
            depth: both for depth, both in expected.items() if both != ([], [])
        }


def both_changes(old: tuple[Levels, Levels], new: tuple[Levels, Levels]) -> tuple[Levels, Levels]:
    return changes(old[0], new[0], is_bid=True), changes(old[1], new[1], is_bid=False)


def test_update_of_another_book_is_compared_with_the_levels_before() -> None:
    tops, first, second = Tops("X", (2,)), Book(), Book()
    first.replace([["3", "1"], ["2", "1"]], [["4", "1"]])
    second.replace([["3", "1"], ["1", "1"]], [["4", "2"]])
    tops.snapshot(first, FACTS)
    [message] = tops.update(second, FACTS)
    assert message.update is not None
    assert (message.update["bids"], message.update["asks"]) == ([["2", "0"], ["1", "1"]], [["4", "2"]])


def test_level_that_leaves_the_top_is_removed_and_the_next_one_enters() -> None:
    book, tops = Book(), Tops("X", (2,))
    book.replace([["3", "1"], ["2", "1"], ["1", "1"]], [["4", "1"]])
    tops.snapshot(book, FACTS)
    book.apply([["3", "0"]], [])
    [message] = tops.update(book, FACTS)
    assert message.update is not None
    assert (message.update["bids"], message.update["asks"]) == ([["3", "0"], ["1", "1"]], [])
    book.apply([["2.5", "7"]], [["5", "1"], ["3.5", "1"]])
    [message] = tops.update(book, FACTS)
    assert message.update is not None
    assert (message.update["bids"], message.update["asks"]) == ([["2.5", "7"], ["1", "0"]], [["3.5", "1"]])


def test_diff_that_changes_nothing_in_the_top_sends_no_message() -> None:
    book, tops = Book(), Tops("X", (1, 2))
    book.replace([["3", "1"], ["2", "1"]], [["4", "1"]])
    tops.snapshot(book, FACTS)
    book.apply([["1", "1"], ["3", "1"]], [["9", "0"]])
    assert tops.update(book, FACTS) == []
    book.apply([["2", "5"]], [])
    assert [message.depth for message in tops.update(book, FACTS)] == [2]


def test_removal_of_a_price_with_other_zeros_comes_first() -> None:
    assert changes([["2", "1"], ["1.0", "1"]], [["2", "1"], ["1.00", "1"]], is_bid=True) == [["1.0", "0"], ["1.00", "1"]]


def test_bodies_have_the_keys_of_the_contract_in_their_order() -> None:
    first, book, tops = snapshot(SPOT_BTC), Book(snapshot(SPOT_BTC).window), Tops("BTCUSDT", (20,))
    book.replace(first.bids, first.asks)
    tops.snapshot(book, FACTS)
    for diff in diffs(SPOT_BTC)[2:3]:
        book.apply(diff.bids, diff.asks)
    [message] = tops.update(book, FACTS)
    expected = {
        "instrument": "BTCUSDT",
        "depth": 20,
        "state": "live",
        "reason": "start",
        "bids": book.top(20)[0],
        "asks": book.top(20)[1],
        "complete": {"bids": 999, "asks": 999, "from": "61631.55000000", "to": "62053.18000000"},
        "update_id": 50093239224,
        "checksum": 1580128075,
        "time": "2024-08-08T23:54:15.408000Z",
        "timestamp": "2024-08-08T23:54:14.300000Z",
        "lag_ms": 3.2,
    }
    assert list(message.snapshot.items()) == list(expected.items())
    assert message.update is not None
    assert list(message.update) == ["instrument", "depth", "bids", "asks", "update_id", "checksum", "time", "timestamp", "lag_ms"]


def test_state_body_has_the_keys_of_the_contract_in_their_order() -> None:
    change = StateChange(State.GAP, State.LIVE, Reason.MISSING_UPDATE, 100, 101, 105)
    assert orjson.dumps(state_body("BTCUSDT", change, "T")) == (
        b'{"instrument":"BTCUSDT","state":"gap","previous":"live","reason":"missing_update","update_id":100,'
        b'"expected_id":101,"received_id":105,"timestamp":"T"}'
    )
