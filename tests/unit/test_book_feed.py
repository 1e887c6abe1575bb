"""The feed of books in the hub: chains, states, and the silence of the process of the books.

Expected values are from sections 3, 6 and 8 of the page "Order books".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from api.hub.books.feed import BookFeed, BookState, HubBook
from api.hub.messages import BadMessage, Message, decode
from db import topics
from tests.support import hub_books

NAME = "BTCUSDT"
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
STAMP = "2025-11-18T12:00:00.000000Z"


class Rig:
    """A feed with a clock of its own; `got` has all that its listeners received, in order."""

    def __init__(self) -> None:
        self.kept = hub_books.Kept()
        self.time = 0.0
        self.got: list[HubBook | BookState | Mapping[str, Any]] = []
        self.feed = BookFeed(self.kept, {NAME, "ETHUSDT"}, 1.0, lambda: NOON, lambda: self.time)
        for listeners in (self.feed.listeners, self.feed.states, self.feed.heartbeats):
            listeners.append(self.got.append)

    def take(self) -> list[HubBook | BookState | Mapping[str, Any]]:
        got, self.got[:] = list(self.got), []
        return got

    def books(self) -> list[tuple[int, int, bool]]:
        """Take the books: (depth, seq, with an update)."""
        return [(book.depth, book.seq, book.update is not None) for book in self.take() if isinstance(book, HubBook)]

    def states(self) -> list[tuple[str, str | None, str, bool]]:
        return [
            (each.state, each.body["previous"], each.body["reason"], each.is_own) for each in self.take() if isinstance(each, BookState)
        ]

    def publish(self, number: int, depth: int = 20, seq: int | None = None, *, starts: bool = False, epoch: str = "one") -> None:
        """Message `number` arrives; Redis has kept it."""
        body = self.keep(number, depth, seq, starts=starts, epoch=epoch)
        self.feed.book(decoded(topics.BOOKS, body))

    def keep(self, number: int, depth: int = 20, seq: int | None = None, *, starts: bool = False, epoch: str = "one") -> bytes:
        body = hub_books.raw(hub_books.message(number, depth, starts=starts), number if seq is None else seq, epoch)
        self.kept.books[topics.book_topic(NAME, depth)] = body
        return body

    def state(self, name: str, previous: str | None, reason: str = "start", at: str = STAMP) -> None:
        body = {**hub_books.state(NAME, name, previous, reason), "timestamp": at, "seq": 1, "epoch": "one"}
        self.feed.book_state(decoded(topics.BOOK_STATES, orjson.dumps(body)))

    def heartbeat(self, **books: str) -> None:
        body = {**hub_books.heartbeat(books or {NAME: "live"}), "timestamp": STAMP, "seq": 1, "epoch": "one"}
        self.feed.heartbeat(decoded(topics.HEARTBEATS, orjson.dumps(body)))

    def snapshot(self, depth: int = 20) -> dict[str, Any]:
        book = self.feed.latest(NAME, depth)
        assert book is not None
        return dict(orjson.loads(book.snapshot))


def decoded(channel: str, body: bytes) -> Message:
    return decode(channel, body, {NAME, "ETHUSDT"})


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_both_bodies_are_the_received_bytes(rig: Rig) -> None:
    rig.publish(1, starts=True)
    body = rig.keep(2)
    rig.feed.book(decoded(topics.BOOKS, body))
    first, second = rig.take()
    assert isinstance(first, HubBook)
    assert isinstance(second, HubBook)
    assert (first.instrument, first.depth, first.seq, first.epoch, first.update) == (NAME, 20, 1, "one", None)
    assert second.update is not None
    assert all(part in body for part in (second.update, second.snapshot, second.meta))
    assert orjson.loads(second.update)["seq"] == orjson.loads(second.snapshot)["seq"] == 2
    assert orjson.loads(second.meta) == hub_books.META
    assert rig.feed.latest(NAME, 20) is second


def test_updates_follow_as_long_as_the_chain_is_unbroken(rig: Rig) -> None:
    rig.publish(1, starts=True)
    for number in (2, 3, 3, 2, 4):
        rig.publish(number)
    assert rig.books() == [(20, 1, False), (20, 2, True), (20, 3, True), (20, 4, True)]
    rig.publish(1, depth=5, starts=True)  # another topic has a seq of its own
    rig.publish(5)
    assert rig.books() == [(5, 1, False), (20, 5, True)]
    assert rig.kept.reads == 0


def test_missed_seq_is_one_snapshot_of_the_kept_message(rig: Rig) -> None:
    rig.publish(1, starts=True)
    late = hub_books.raw(hub_books.message(4), 4)
    rig.keep(6)
    rig.take()
    rig.feed.book(decoded(topics.BOOKS, late))
    assert rig.books() == [(20, 6, False)]
    for number in (5, 6, 7):
        rig.publish(number)
    assert rig.books() == [(20, 7, True)], "5 and 6 are older than the kept message"


@pytest.mark.parametrize("loss", ["redis", "message", "other epoch", "bad"])
def test_missed_seq_is_a_snapshot_of_the_message_itself_if_redis_has_no_newer_one(rig: Rig, loss: str) -> None:
    rig.publish(1, starts=True)
    body = hub_books.raw(hub_books.message(4), 4)
    if loss == "redis":
        rig.kept.is_up = False
    elif loss == "message":
        rig.kept.books.clear()
    else:
        rig.kept.books["BTCUSDT|20"] = b"{}" if loss == "bad" else hub_books.raw(hub_books.message(9), 9, "zero")
    rig.take()
    rig.feed.book(decoded(topics.BOOKS, body))
    assert rig.books() == [(20, 4, False)]


@pytest.mark.parametrize(
    ("number", "epoch", "starts", "needs"),
    [(5, "one", False, False), (6, "one", False, True), (4, "one", False, False), (9, "one", True, False), (5, "two", False, True)],
    ids=["next", "missed", "seen", "first of a chain", "other epoch"],
)
def test_feed_declares_the_messages_for_which_it_reads_the_bus(rig: Rig, number: int, epoch: str, starts: bool, needs: bool) -> None:
    rig.publish(4, starts=True)
    reads = rig.kept.reads
    message = decoded(topics.BOOKS, rig.keep(number, starts=starts, epoch=epoch))
    assert rig.feed.needs_bus(message) is needs
    assert rig.kept.reads == reads
    rig.feed.book(message)
    assert rig.kept.reads == reads + needs


def test_new_epoch_begins_with_a_snapshot(rig: Rig) -> None:
    rig.publish(1, starts=True)
    rig.publish(2, seq=1, epoch="two")
    rig.publish(3, seq=2, epoch="two")
    assert rig.books() == [(20, 1, False), (20, 1, False), (20, 2, True)]


def test_hub_begins_with_the_kept_messages_and_continues_their_chain(rig: Rig) -> None:
    for depth in topics.BOOK_DEPTHS:
        rig.keep(7, depth)
    rig.kept.books["BTCUSDT|7"] = b'{"update":null,"snapshot":{},"meta":{}}'
    rig.kept.rows = {
        NAME: hub_books.row(NAME, "live"),
        "ETHUSDT": hub_books.row("ETHUSDT", "syncing"),
        "GONE": hub_books.row("GONE", "live"),
    }
    rig.feed.catch_up()
    assert rig.books() == [(depth, 7, False) for depth in topics.BOOK_DEPTHS]
    assert rig.feed.instruments() == {NAME, "ETHUSDT"}, "the hub does not know GONE"
    assert (rig.feed.state(NAME), rig.feed.state("ETHUSDT"), rig.feed.state("XRPUSDT")) == ("live", "syncing", None)
    assert rig.feed.latest("ETHUSDT", 20) is None
    rig.publish(7)  # published after the subscription
    rig.publish(8)
    assert rig.books() == [(20, 8, True)]


def test_reconnected_hub_sends_one_snapshot_of_each_changed_topic(rig: Rig) -> None:
    rig.publish(1, starts=True)
    rig.publish(1, depth=5, starts=True)
    rig.keep(9)
    rig.take()
    rig.feed.catch_up()
    assert rig.books() == [(20, 9, False)]
    rig.feed.catch_up()
    assert rig.books() == []


def test_redis_that_went_back_in_time_is_believed(rig: Rig) -> None:
    """A lower seq of the same epoch, or the same seq with another content."""
    rig.publish(1, starts=True)
    rig.publish(9)
    for number, seq in ((4, 5), (6, 5)):
        rig.keep(number, seq=seq)
        rig.take()
        rig.feed.catch_up()
        assert rig.books() == [(20, 5, False)]
        assert rig.snapshot()["update_id"] == 50_000_000_000 + number
    rig.publish(7, seq=6)
    assert rig.books() == [(20, 6, True)]


def test_book_that_is_not_live_is_marked_until_the_next_message(rig: Rig) -> None:
    rig.publish(1, starts=True)
    rig.state("gap", "live", "missing_update")
    assert (rig.snapshot()["state"], rig.snapshot()["reason"], rig.snapshot()["seq"]) == ("gap", "missing_update", 1)
    assert list(rig.snapshot()) == list(orjson.loads(hub_books.raw(hub_books.message(1, starts=True), 1))["snapshot"])
    rig.state("resyncing", "gap", "missing_update")
    assert rig.feed.latest(NAME, 20) is rig.feed.latest(NAME, 20), "the marked book is made once"
    assert (rig.snapshot()["state"], rig.feed.state(NAME)) == ("resyncing", "resyncing")
    rig.state("live", "resyncing", "missing_update")
    assert (rig.snapshot()["state"], rig.feed.state(NAME)) == ("resyncing", "live"), "its new snapshot has not arrived"
    rig.publish(2, starts=True)
    assert rig.snapshot()["state"] == "live"
    assert [state for state, *_ in rig.states()] == ["gap", "resyncing", "live"]


def test_syncing_book_has_no_snapshot_until_its_first_message(rig: Rig) -> None:
    rig.publish(1, starts=True)
    rig.state("syncing", None)
    assert rig.feed.latest(NAME, 20) is None
    assert rig.feed.instruments() == {NAME}
    rig.state("live", "syncing")
    assert rig.feed.latest(NAME, 20) is None
    rig.publish(2, starts=True)
    assert rig.snapshot()["seq"] == 2


@pytest.mark.parametrize(("since", "marked"), [("2025-11-18T12:00:01.000000Z", "gap"), ("2025-11-18T11:59:59.000000Z", "live")])
def test_kept_book_is_marked_if_it_is_older_than_its_state(rig: Rig, since: str, marked: str) -> None:
    rig.keep(7)
    rig.kept.rows = {NAME: hub_books.row(NAME, "gap", "crossed", since)}
    rig.feed.catch_up()
    assert (rig.snapshot()["state"], rig.feed.state(NAME)) == (marked, "gap")


def test_three_intervals_without_a_heartbeat_disconnect_all_books(rig: Rig) -> None:
    for depth in (5, 20):
        rig.publish(1, depth, starts=True)
    rig.state("live", "syncing")
    rig.heartbeat()
    rig.take()
    rig.time = 3.0
    rig.feed.tick()
    assert rig.take() == []
    rig.time = 3.01
    rig.feed.tick()
    [stale] = rig.take()
    assert isinstance(stale, BookState)
    assert stale == BookState(
        NAME,
        "stale",
        {
            "instrument": NAME, "state": "stale", "previous": "live", "reason": "disconnected", "update_id": 50_000_000_001,
            "expected_id": None, "received_id": None, "timestamp": STAMP, "seq": None, "epoch": None,
        },
        is_own=True,
    )  # fmt: skip
    assert (rig.snapshot()["state"], rig.snapshot()["reason"], rig.feed.state(NAME)) == ("stale", "disconnected", "stale")
    rig.time = 60.0
    rig.feed.tick()
    assert rig.take() == []


def test_process_that_is_back_publishes_its_states_and_snapshots(rig: Rig) -> None:
    rig.publish(1, starts=True)
    rig.heartbeat()
    rig.time = 4.0
    rig.feed.tick()
    rig.state("syncing", None)
    rig.heartbeat(BTCUSDT="syncing")
    assert rig.states() == [("stale", "live", "disconnected", True), ("syncing", None, "start", False)]
    assert rig.feed.latest(NAME, 20) is None
    rig.state("live", "syncing")
    rig.publish(2, starts=True)
    rig.publish(3)
    assert rig.books() == [(20, 2, False), (20, 3, True)]


def test_process_that_was_only_silent_is_followed_by_one_snapshot_of_each_topic(rig: Rig) -> None:
    for depth in (5, 20):
        rig.publish(1, depth, starts=True)
    rig.state("live", "syncing")
    rig.heartbeat()
    rig.time = 4.0
    rig.feed.tick()
    rig.take()
    rig.publish(2)
    rig.publish(3)
    assert rig.take() == [], "no update between the state and the next snapshot"
    rig.heartbeat()
    state, small, large, heartbeat = rig.take()
    assert isinstance(state, BookState)
    assert (state.state, state.body["previous"], state.is_own) == ("live", "stale", True)
    assert isinstance(small, HubBook)
    assert (small.depth, small.seq, small.update) == (5, 1, None)
    assert isinstance(large, HubBook)
    assert (large.depth, large.seq, large.update) == (20, 3, None)
    assert isinstance(heartbeat, Mapping)
    assert heartbeat["books"] == {NAME: "live"}
    rig.publish(4)
    assert rig.books() == [(20, 4, True)]


def test_heartbeat_of_another_process_may_come_before_its_states(rig: Rig) -> None:
    rig.publish(1, starts=True)
    rig.state("live", "syncing")
    rig.heartbeat()
    rig.time = 4.0
    rig.feed.tick()
    rig.take()
    rig.heartbeat(BTCUSDT="syncing")
    assert rig.states() == [("syncing", "stale", "disconnected", True)]
    assert rig.feed.latest(NAME, 20) is None, "the book of the process before is not live"
    rig.state("syncing", None)
    rig.state("live", "syncing")
    rig.publish(2, starts=True)
    assert rig.books() == [(20, 2, False)]
    assert rig.snapshot()["state"] == "live"


def test_state_before_the_heartbeat_ends_the_silence_of_its_book(rig: Rig) -> None:
    rig.publish(1, starts=True)
    rig.heartbeat()
    rig.time = 4.0
    rig.feed.tick()
    rig.publish(2)
    rig.state("resyncing", "live", "thin")
    rig.state("live", "resyncing", "thin")
    rig.take()
    rig.publish(3)
    assert rig.books() == [(20, 3, False)], "clients have not received 2"
    rig.time = 6.0
    rig.feed.tick()
    assert rig.states() == [], "the state was a sign of life"
    rig.time = 7.5
    rig.feed.tick()
    assert rig.states() == [("stale", "live", "disconnected", True)]


def test_hub_that_starts_without_the_process_of_the_books_has_stale_books(rig: Rig) -> None:
    rig.keep(7)
    rig.kept.rows = {NAME: hub_books.row(NAME, "live")}
    rig.kept.last_heartbeat = {**hub_books.heartbeat({NAME: "live"}), "timestamp": "2025-11-18T11:59:50.000000Z"}
    rig.feed.catch_up()
    assert rig.snapshot()["state"] == "live"
    rig.feed.tick()
    assert (rig.snapshot()["state"], rig.feed.state(NAME)) == ("stale", "stale")
    rig.feed.catch_up()
    rig.feed.tick()
    assert [state for state, *_ in rig.states()] == ["stale"]


def test_hub_without_books_is_never_silent(rig: Rig) -> None:
    rig.feed.catch_up()
    rig.time = 1e6
    rig.feed.tick()
    assert (rig.take(), rig.feed.instruments()) == ([], set())


def test_heartbeat_without_a_book_ends_it(rig: Rig) -> None:
    rig.publish(1, starts=True)
    rig.heartbeat(ETHUSDT="live")
    assert rig.feed.instruments() == {"ETHUSDT"}


GOOD = hub_books.raw(hub_books.message(4), 4)
WRONG: dict[str, bytes] = {
    "no position": GOOD.replace(b',"seq":4,"epoch":"one"', b""),
    "no position of the update": GOOD.replace(b',"seq":4,"epoch":"one"', b"", 1),
    "other positions": GOOD.replace(b'"seq":4', b'"seq":5', 1),
    "other depths": GOOD.replace(b'"depth":20', b'"depth":5', 1),
    "no such depth": GOOD.replace(b'"depth":20', b'"depth":7'),
    "unknown state": GOOD.replace(b'"state":"live"', b'"state":"dead"'),
    "no decimal": GOOD.replace(b'"60000.01"', b'"6e4"'),
    "no level": GOOD.replace(b'["60000.01"', b'["60000.01","1"'),
    "number instead of a text": GOOD.replace(b'"60000.01"', b"60000.01"),
    "not JSON": GOOD.replace(b'"lag_ms":3.2', b'"lag_ms":NaN'),
    "a body that is no object": b'{"update":null,"snapshot":[],"meta":{}}',
    "a message without parts": b"{}",
    "an array": b"[]",
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_bad_message_is_refused(body: bytes) -> None:
    assert body != GOOD
    decoded(topics.BOOKS, GOOD)
    with pytest.raises(BadMessage) as refused:
        decoded(topics.BOOKS, body)
    assert refused.value.kind in ("schema", "not_json", "not_an_object")


def test_message_with_more_fields_is_relayed() -> None:
    body = GOOD.replace(b'"lag_ms":3.2', b'"lag_ms":3.2,"later":1')
    assert decoded(topics.BOOKS, body).data["snapshot"]["later"] == 1


def test_foreign_space_between_the_parts_is_refused() -> None:
    """A cut of the bytes must be the part that was decoded."""
    with pytest.raises(BadMessage):
        decoded(topics.BOOKS, orjson.dumps(orjson.loads(GOOD), option=orjson.OPT_INDENT_2))
