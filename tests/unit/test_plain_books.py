"""`/ws` without a network: frames, options, rooms, status and alerts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.model import Access, anonymous
from api.errors import Refusal
from api.hub.books.alerts import Alert, book_alert, status_alert
from api.hub.books.feed import BookFeed, BookState
from api.hub.books.status import StatusFeed
from api.hub.clients import Client
from api.hub.fanout import Fanout
from api.hub.messages import decode
from api.hub.plain.books import frames
from api.hub.plain.books.query import BookOptions, read_query
from api.hub.plain.books.rooms import PlainBookRooms
from api.hub.plain.frames import error, gap_notice
from api.hub.transport.limits.bucket import Allowance, Bucket
from api.hub.transport.outbox import Outbox
from config.access.patterns import Patterns
from config.settings import load
from db import topics
from db.bus import Bus
from tests.support import hub_books
from tests.unit.test_outbox import Owner

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
BUCKET = Bucket(Allowance(50, 200, lambda: 0.0))


@given(st.binary(max_size=200) | st.text(max_size=50).map(lambda text: ('{"type":' + text).encode(errors="replace")))
def test_any_text_is_a_command_or_a_refusal(data: bytes) -> None:
    assert outcome(data.decode(errors="replace").encode()) in ("ping", "text ping", "invalid_payload")


def outcome(data: bytes) -> str:
    """Return the command of a frame, or the code of its refusal."""
    try:
        return frames.read(data, binary=False)
    except Refusal as refusal:
        return str(json.loads(error(refusal).packet)["error"]["code"])


def test_options_of_a_query() -> None:
    assert read_query("") == BookOptions(None, 20)
    assert read_query("symbols=BTCUSDT%2CETHUSDT,BTCUSDT&depth=5") == BookOptions(("BTCUSDT", "ETHUSDT"), 5)


# rooms


class Rig:
    """Rooms of two instruments with a book feed; frames are counted as they are made."""

    def __init__(self) -> None:
        self.feed = BookFeed(hub_books.Kept(), {"BTCUSDT", "ETHUSDT"}, 1.0, lambda: NOON, lambda: 0.0)
        self.fanout = Fanout(lambda: 0.0, lambda seconds, function: None, "/ws")
        self.made = 0
        self.rooms = PlainBookRooms(self.fanout, self.feed, self.timestamp)
        self.clients: dict[str, Client] = {}

    def timestamp(self) -> str:
        self.made += 1
        return hub_books.STAMP

    def open(self, name: str, access: Access | None = None, *, newest_only: bool = False, **options: Any) -> Outbox:
        box = Outbox(Owner(), 10**6, gap_notice, newest_only=newest_only)
        client = self.clients[name] = Client(name, self.fanout, access or anonymous(), BUCKET, "")
        self.rooms.open(name, box)
        for frame in self.rooms.enter(client, BookOptions(**options)):
            box.put(frame)
        return box

    def publish(self, number: int, instrument: str = "BTCUSDT", *, starts: bool = False) -> None:
        for depth in topics.BOOK_DEPTHS:
            body = hub_books.raw(hub_books.message(number, depth, instrument, starts=starts), number)
            self.feed.book(decode(topics.BOOKS, body, {"BTCUSDT", "ETHUSDT"}))
        self.fanout.flush()


def received(box: Outbox) -> list[Mapping[str, Any]]:
    return [json.loads(frame.packet) for frame in box.take(10**9)]


def ids(box: Outbox) -> list[tuple[str, int]]:
    return [(body["data"]["symbol"], body["data"]["last_update_id"] - 50_000_000_000) for body in received(box)]


def test_frame_is_made_once_per_message_and_held_depth() -> None:
    rig = Rig()
    rig.publish(1, starts=True)
    assert rig.made == 0, "no client holds the book"
    boxes = [rig.open(str(number)) for number in range(3)]
    assert rig.made == 1
    rig.publish(2)
    rig.publish(3)
    assert rig.made == 3
    assert [ids(box) for box in boxes] == [[("BTCUSDT", 1), ("BTCUSDT", 2), ("BTCUSDT", 3)]] * 3
    deep = rig.open("deep", depth=50)
    rig.publish(4)
    assert (rig.made, len(received(deep)[-1]["data"]["bids"])) == (6, 50)


def test_rights_and_later_books_decide_about_rooms_and_closing_leaves_no_trace() -> None:
    rig = Rig()
    everything, bitcoin = rig.open("all"), rig.open("btc", anonymous(patterns=Patterns(("BTC*",))))
    named = rig.open("eth", symbols=("ETHUSDT",))
    rig.publish(1, starts=True)
    rig.publish(1, "ETHUSDT", starts=True)
    assert [ids(box) for box in (everything, bitcoin, named)] == [[("BTCUSDT", 1), ("ETHUSDT", 1)], [("BTCUSDT", 1)], [("ETHUSDT", 1)]]
    client = replace(rig.clients["all"], access=anonymous(patterns=Patterns(("ETH*",))))
    assert rig.rooms.enter(client, BookOptions()) == []
    rig.publish(2)
    rig.publish(2, "ETHUSDT")
    assert ids(everything) == [("ETHUSDT", 2)]
    for name in ("all", "btc", "eth", "eth"):
        rig.rooms.close(name)
    assert (rig.fanout.clients(), rig.fanout.members(), rig.rooms._held, rig.rooms._open) == ([], {}, {}, {})


def test_newest_book_of_each_topic_waits_for_a_stalled_client() -> None:
    rig = Rig()
    box = rig.open("1", newest_only=True)
    for number in range(1, 13):
        rig.publish(number, starts=number == 1)
        rig.publish(number, "ETHUSDT", starts=number == 1)
    bodies = received(box)
    assert [(body["data"]["symbol"], body["data"]["last_update_id"]) for body in bodies[:2]] == [
        ("BTCUSDT", 50_000_000_012),
        ("ETHUSDT", 50_000_000_012),
    ]
    assert bodies[2:] == [{"type": "gap_notice", "dropped": {"BTCUSDT|20": 11, "ETHUSDT|20": 11}, "reason": "slow_consumer"}]


# status


class Status:
    """The feed of the status with a clock of its own."""

    def __init__(self, tmp_path: Path, **variables: str) -> None:
        self.time = NOON
        settings = load({"HUB_DATA_DIR": str(tmp_path), **variables}, dotenv=None)
        self.feed = StatusFeed(
            settings, Bus("redis://127.0.0.1:1/0", lambda: self.time), lambda: self.time
        )  # no method of the tests reads the bus
        self.got: list[Any] = []
        self.feed.changes.append(lambda body: self.got.append((body["status"], body["current_scenario"])))
        self.feed.alerts.append(lambda alert: self.got.append((alert.severity, alert.code)))

    def beat(self, **figures: Any) -> None:
        stamp = self.time.isoformat(timespec="microseconds").replace("+00:00", "Z")
        self.feed.heartbeat({**hub_books.heartbeat({"BTCUSDT": "live"}, **figures), "timestamp": stamp, "seq": 1, "epoch": "e"})

    def take(self) -> list[Any]:
        got, self.got[:] = list(self.got), []
        return got


def test_status_is_sent_if_it_changes_and_each_worsening_alerts(tmp_path: Path) -> None:
    status = Status(tmp_path)
    assert status.feed.current() is None
    status.beat(status="degraded", lag_ms=2000)
    assert status.take() == [("degraded", "stable-mode")], "no alert about the first status"
    status.beat(status="degraded", lag_ms=3000)
    assert status.take() == []
    status.beat(status="unhealthy", lag_ms=3000, current_queue_size=1900)
    assert status.take() == [("unhealthy", "stable-mode"), ("critical", "queue")]
    status.beat(status="degraded", lag_ms=3000)
    assert status.take() == [("degraded", "stable-mode")]
    status.beat()
    status.beat(status="degraded", lag_ms=3000)
    assert status.take() == [("healthy", "stable-mode"), ("degraded", "stable-mode"), ("warning", "lag")]


def test_missing_heartbeats_change_the_status_after_three_intervals(tmp_path: Path) -> None:
    status = Status(tmp_path)
    status.beat()
    status.take()
    status.time += timedelta(seconds=3)
    status.feed.tick()
    assert status.take() == []
    status.time += timedelta(seconds=0.1)
    status.feed.tick()
    status.feed.tick()
    assert status.take() == [("unhealthy", "stable-mode"), ("critical", "heartbeat")]
    status.beat()
    assert status.take() == [("healthy", "stable-mode")]


@pytest.mark.parametrize(("sources", "expected"), [("scenario", [("healthy", "burst-mode")]), ("synthetic", [])])
def test_switch_counts_if_scenarios_are_played(tmp_path: Path, sources: str, expected: list[Any]) -> None:
    status = Status(tmp_path, SOURCES=sources)
    status.beat()
    status.take()
    status.time += timedelta(seconds=0.1)
    body = {
        "previous_scenario": "stable-mode", "current_scenario": "burst-mode", "run_id": "6a9f3f0e-0000-4000-8000-000000000000",
        "timestamp": "2025-11-18T12:00:00.050000Z", "seq": 1, "epoch": "e",
    }  # fmt: skip
    status.feed.scenario_changed(decode(topics.SCENARIO_CHANGES, orjson.dumps(body), ()))
    assert status.take() == expected


# alerts


def state(name: str, previous: str | None, reason: str) -> BookState:
    return BookState("BTCUSDT", name, hub_books.state("BTCUSDT", name, previous, reason), is_own=False)


def test_book_alerts_when_it_leaves_live() -> None:
    alert = book_alert(state("resyncing", "live", "thin"))
    assert alert == Alert("warning", "thin", "The book of BTCUSDT is not live: it is resyncing (thin).", "BTCUSDT", None, None)
    for name, previous in (("resyncing", "gap"), ("live", "resyncing"), ("syncing", None)):
        assert book_alert(state(name, previous, "missing_update")) is None


@pytest.mark.parametrize(
    ("before", "now", "alerts"),
    [
        ("healthy", "healthy", False),
        ("healthy", "degraded", True),
        ("healthy", "unhealthy", True),
        ("degraded", "degraded", False),
        ("degraded", "unhealthy", True),
        ("degraded", "healthy", False),
        ("unhealthy", "degraded", False),
        ("unhealthy", "unhealthy", False),
        ("unhealthy", "healthy", False),
    ],
)
def test_worse_status_alone_alerts(before: str, now: str, alerts: bool) -> None:
    body = {"status": now, "queue_max": 100, "current_queue_size": 95, "lag_ms": 0.0, "books": {}}
    assert (status_alert(before, body, heartbeat_age=0, heartbeat_interval=1) is not None) is alerts
