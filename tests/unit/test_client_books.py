"""Order books of the Python client: client rule, checksum, repair, reconnections. No socket."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tickwire_client import Book, BookState, ServerHeartbeat, parse
from tickwire_client.book_chain import book_of
from tickwire_client.session import Session
from tickwire_client.stream import Stream

from tests.support.hub_books import STAMP, heartbeat, message, snapshot, state

TOPIC = ("BTCUSDT", 20)
ASKED = {"pair": "BTCUSDT", "depth": 20}


def numbered(body: Any, seq: int, epoch: str = "one", **more: Any) -> dict[str, Any]:
    return {**body, "timestamp": STAMP, "seq": seq, "epoch": epoch, **more}


def whole(number: int, epoch: str = "one", **more: Any) -> dict[str, Any]:
    """The `book_snapshot` after message `number`, whose seq it is."""
    return numbered(snapshot(number, 20), number, epoch, **more)


def change(number: int, epoch: str = "one", **more: Any) -> dict[str, Any]:
    """The `book_update` of message `number`."""
    return numbered(message(number).update, number, epoch, **more)


def answer(*snapshots: dict[str, Any], books: Any = (ASKED,), rejected: Any = (), **more: Any) -> dict[str, Any]:
    """A `subscription_confirmed`."""
    body: dict[str, Any] = {"pairs": [], "added": [], "rejected": list(rejected), "snapshot": {}, "recovered": {}, "max_rate": None}
    return {**body, "books": list(books), "book_snapshot": list(snapshots), **more}


def joined(number: int = 1) -> Session:
    """A session that has received the book after message `number`."""
    session = Session()
    payload, _ = session.want((), (), None, {}, [TOPIC])
    assert payload == {"books": [ASKED]}
    assert session.receive("subscription_confirmed", answer(whole(number))) == [book_of(whole(number))]
    return session


def test_book_after_each_update_is_the_snapshot_of_the_same_message() -> None:
    session = joined()
    for number in range(2, 60):
        [book] = session.receive("book_update", change(number))
        assert isinstance(book, Book)
        assert book == book_of(whole(number)), number
        assert book.verified
    session = joined(59)
    [book] = session.books.latest([TOPIC])
    assert isinstance(book, Book)
    assert book.bids[0].price == Decimal(whole(59)["bids"][0][0])
    assert format(book.bids[0].quantity, "f") == whole(59)["bids"][0][1]  # the exchange's digits
    assert (book.window.bids, book.window.high) == (999, None)
    assert session.books.take_broken() == []


@pytest.mark.parametrize(
    "broken",
    [change(3), change(2, "two"), change(2, checksum=1), change(2, bids=[["1.00", "1"]], asks=[["0.01", "2"]]), whole(2, checksum=1)],
    ids=["missing", "epoch", "checksum", "levels", "snapshot"],
)
def test_broken_book_is_marked_and_requested_until_a_snapshot_replaces_it(broken: dict[str, Any]) -> None:
    session = joined()
    event = "book_snapshot" if "state" in broken else "book_update"
    assert session.receive(event, broken) == [replace(book_of(whole(1)), verified=False)]
    assert session.books.take_broken() == [TOPIC]
    assert session.receive("book_update", change(4)) == []  # skipped, and requested again
    assert session.books.take_broken() == [TOPIC]
    assert session.receive("book_response", whole(4)) == [book_of(whole(4))]
    assert session.receive("book_update", change(5)) == [book_of(whole(5))]
    assert session.books.take_broken() == []


def test_messages_that_the_book_contains_are_skipped() -> None:
    session = joined(5)
    assert session.receive("book_update", change(5)) == session.receive("book_update", change(4)) == []
    assert session.receive("book_snapshot", whole(4)) == []
    assert session.receive("book_snapshot", whole(5, state="stale")) == [book_of(whole(5, state="stale"))]
    assert session.receive("book_update", change(6, instrument="ETHUSDT")) == []  # not subscribed
    assert session.books.take_broken() == []


def test_snapshots_of_max_rate_may_leave_numbers_out() -> None:
    session = joined()
    for number in (4, 9):
        assert session.receive("book_snapshot", whole(number)) == [book_of(whole(number))]


def test_state_changes_the_book_of_each_depth() -> None:
    session = joined()
    [item] = session.receive("book_state", numbered(state("BTCUSDT", "gap", "live", "missing_update"), 7))
    assert item == parse.book_state(numbered(state("BTCUSDT", "gap", "live", "missing_update"), 7))
    assert isinstance(item, BookState)
    [latest] = session.books.latest([TOPIC])
    assert isinstance(latest, Book)
    assert (latest.state, latest.reason, latest.seq) == ("gap", "missing_update", 1)
    assert session.receive("book_state", numbered(state("ETHUSDT", "gap", "live"), 8)) == []


def test_new_connection_subscribes_again_and_takes_any_snapshot() -> None:
    session = joined(9)
    session.want((), (), 5.0, {}, [("ETHUSDT", 5)], heartbeat=True)
    second = [ASKED, {"pair": "ETHUSDT", "depth": 5}]
    session.receive("subscription_confirmed", answer(books=second, heartbeat=True))
    session.lost("connection lost")
    assert session.opening() == [
        ("subscribe", {"books": [ASKED]}),
        ("subscribe", {"books": second[1:], "max_rate": 5.0}),
        ("subscribe", {"heartbeat": True}),
    ]
    assert session.receive("subscription_confirmed", answer(whole(3))) == [book_of(whole(3))]  # another hub, which lags
    assert session.receive("book_update", change(4)) == [book_of(whole(4))]


def test_book_that_a_restarted_hub_does_not_have_yet_is_subscribed_again() -> None:
    session = joined()
    refusal = {**ASKED, "code": "no_book", "message": "No book of BTCUSDT is kept."}
    session.lost("connection lost")
    assert session.receive("subscription_confirmed", answer(books=(), rejected=[refusal])) == []
    assert session.books.missing == {TOPIC}
    assert session.books.missing_again() == [{"books": [ASKED]}]
    assert session.receive("subscription_confirmed", answer(whole(1, "two"))) == [book_of(whole(1, "two"))]
    assert session.books.missing == set()


def test_refused_books_are_forgotten_and_prices_of_the_instrument_stay() -> None:
    session = Session()
    asked, _ = session.want(["BTCUSDT"], (), None, {}, [("BTCUSDT", 7), ("EUR_USD", 5), TOPIC], heartbeat=True)
    assert asked == {
        "pairs": ["BTCUSDT"],
        "since": {},
        "heartbeat": True,
        "books": [{**ASKED, "depth": 7}, {"pair": "EUR_USD", "depth": 5}, ASKED],
    }
    rejected = [{"pair": "BTCUSDT", "depth": 7, "code": "invalid_payload"}, {"pair": "EUR_USD", "depth": 5, "code": "no_book"}]
    body = answer(rejected=rejected, heartbeat=True, pairs=["BTCUSDT"])
    session.receive("subscription_confirmed", body)
    session.answered(asked, body)
    assert session.wants("BTCUSDT")
    assert [payload for _, payload in session.opening()] == [{"pairs": ["BTCUSDT"], "since": {}}, {"books": [ASKED]}, {"heartbeat": True}]


def test_books_end_with_unsubscribe_with_lost_rights_and_with_their_instrument() -> None:
    refreshed = {"expires_at": None, "scopes": [], "instruments": [], "removed": ["book_BTCUSDT_20", "heartbeat"]}
    gone = {"added": [], "removed": ["BTCUSDT"], "count": 1, "timestamp": STAMP}
    for event, body in (("refreshed", refreshed), ("instruments_changed", gone)):
        session = joined()
        session.receive(event, body)
        assert session.opening() == []
    session = joined()
    assert session.unwant((), (), "all", heartbeat=True) == {"books": "all", "heartbeat": True}
    assert session.opening() == []
    session = joined()
    assert session.unwant((), (), [TOPIC]) == {"books": [ASKED]}
    assert session.receive("book_update", change(2)) == []
    _, withdraw = session.want((), (), None, {}, [TOPIC], heartbeat=True)
    withdraw()
    assert session.opening() == []


def test_heartbeat_and_scenario_become_values() -> None:
    session = Session()
    [beat] = session.receive("heartbeat", numbered(heartbeat({"BTCUSDT": "live"}), 3))
    assert isinstance(beat, ServerHeartbeat)
    assert (beat.books, beat.queue_max, beat.seq, beat.last_heartbeat.year) == ({"BTCUSDT": "live"}, 2000, 3, 2025)
    body = {"previous_scenario": None, "current_scenario": "burst-mode", "run_id": "r", "timestamp": STAMP, "seq": 1, "epoch": "one"}
    assert session.receive("scenario_changed", body) == [parse.scenario_changed(body)]


def test_slow_program_loses_old_books_without_a_gap() -> None:
    session, stream = joined(), Stream[Book](lambda item: isinstance(item, Book), 3)
    for number in range(2, 10):
        for item in session.receive("book_update", change(number)):
            stream.put(item)
    stream.close()
    assert [book.seq for book in stream] == [7, 8, 9]
