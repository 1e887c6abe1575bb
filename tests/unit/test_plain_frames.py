"""Frames, options, rooms and notifications of `/ws/metrics`, without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import Refusal
from api.hub.fanout import Fanout
from api.hub.metrics.snapshots import SnapshotTexts
from api.hub.plain.frames import error, gap_notice, token_of
from api.hub.plain.metrics import frames
from api.hub.plain.metrics.notifications import notification_of
from api.hub.plain.metrics.query import MetricsOptions, read_query
from api.hub.plain.metrics.rooms import PlainRooms
from api.hub.transport.outbox import Outbox
from db.bus.observability.snapshots import SECTIONS
from tests.support.plain import snapshot
from tests.unit.test_outbox import Owner

NOW = datetime(2025, 11, 18, tzinfo=UTC)


@given(st.binary(max_size=200) | st.text(max_size=50).map(lambda text: f"subscribe:{text}".encode(errors="replace")))
def test_any_text_is_a_command_or_a_refusal(data: bytes) -> None:
    assert outcome(data.decode(errors="replace").encode()) in (
        "ping",
        "pong",
        "subscribe",
        "unsubscribe",
        "health",
        "invalid_payload",
    )


def outcome(data: bytes) -> str:
    """Return the kind of the command, or the code of the refusal."""
    try:
        return frames.read(data, binary=False).kind
    except Refusal as refusal:
        return str(json.loads(error(refusal).packet)["error"]["code"])


def test_refusal_never_repeats_a_credential() -> None:
    for data in (b"auth TOKEN123", b'{"type":"auth","token":"TOKEN123"}', b"AUTH:TOKEN123", b'{"TOKEN123'):
        with pytest.raises(Refusal) as caught:
            frames.read(data, binary=False)
        assert b"TOKEN123" not in error(caught.value).packet


@pytest.mark.parametrize(
    ("data", "command"),
    [
        (b"subscribe:alerts, system,alerts", frames.Command("subscribe", channels=("alerts", "system"))),
        (b' {"type": "health", "id": 1}', frames.Command("health")),
    ],
)
def test_command_of_a_frame(data: bytes, command: frames.Command) -> None:
    assert frames.read(data, binary=False) == command


def test_credential_of_a_frame() -> None:
    assert token_of(b"auth: abc \n", binary=False) == "abc"
    assert token_of(b"auth:abc", binary=True) is None
    assert token_of(b"AUTH:abc", binary=False) is None


def test_options_of_a_query() -> None:
    assert read_query("") == MetricsOptions(None, None, text_heartbeat=False)
    assert read_query("channels=system%2Cmarket_data&max_rate=0.3&heartbeat=text") == MetricsOptions(
        ("market_data", "system"), 0.2, text_heartbeat=True
    )


class Client:
    """The packets that one client of the rooms receives."""

    def __init__(self, rooms: PlainRooms, name: str, **options: Any) -> None:
        self.box = Outbox(Owner(), 10**6, gap_notice)
        rooms.open(name, self.box, options.get("sections"), options.get("rate"))

    def received(self) -> list[Mapping[str, Any]]:
        return [json.loads(frame.packet) for frame in self.box.take(10**9)]


def test_each_combination_is_one_frame_of_a_snapshot() -> None:
    fanout = Fanout(lambda: 0.0, lambda seconds, function: None, "/ws/metrics")
    rooms = PlainRooms(fanout)
    first, second, third = Client(rooms, "1"), Client(rooms, "2"), Client(rooms, "3", sections=("system",))
    nothing = Client(rooms, "4")
    rooms.unsubscribe("4", SECTIONS)
    texts = SnapshotTexts(snapshot(1), NOW)
    rooms.take(texts)
    [one], [two], [three] = first.box._frames, second.box._frames, third.box._frames
    assert one is two
    assert [name for name in json.loads(three.packet) if name in SECTIONS] == ["system"]
    assert nothing.received() == []
    assert rooms.newest("3") is three
    assert rooms.newest("4") is None
    assert fanout.delivered == 3


def test_closed_client_leaves_no_trace() -> None:
    fanout = Fanout(lambda: 0.0, lambda seconds, function: None, "/ws/metrics")
    rooms = PlainRooms(fanout)
    Client(rooms, "1", rate=1.0)
    rooms.subscribe("1", ["alerts"])
    rooms.close("1")
    rooms.close("1")
    assert (fanout.clients(), fanout.members(), rooms._used, rooms._held) == ([], {}, {}, {})


def test_whole_trade_of_the_metadata_has_exact_literals() -> None:
    whole = {
        "trade_id": "mm-1:f-17",
        "quantity": "1000",
        "price": "1.09450",
        "pnl": "-0.648",
        "fee": "0.02",
        "timestamp": "t",
        "order_id": "o-6",
    }
    event = {"event_type": "trade_executed", "timestamp": "published", "price": "1.09450", "metadata": {"trade": whole}}
    topic, text = notification_of(event) or ("", b"")
    assert topic == "trades"
    assert b'"quantity":1000,"price":1.09450,"timestamp":"t",' in text
    assert b'"pnl":-0.648,' in text
    assert json.loads(text)["order_id"] == "o-6"


@pytest.mark.parametrize("amount", ["NaN", "1e5", "01", "", "1,2", "Infinity", '1,"x":2', None])
def test_amount_that_is_no_decimal_is_null(amount: str | None) -> None:
    _, text = notification_of({"event_type": "trade_executed", "trade_id": 5, "price": amount}) or ("", b"")
    assert json.loads(text)["price"] is None


def test_other_events_are_no_notification() -> None:
    for event in ({}, {"event_type": "order_placed"}, {"event_type": "system_alert"}, {"event_type": "system_alert", "details": []}):
        assert notification_of(event) is None
