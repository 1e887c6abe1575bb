"""Texts of a snapshot: exact digits, one text per combination of sections."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import combinations

import orjson
import pytest

from api.hub.metrics.snapshots import SnapshotTexts, unix_text
from db.bus.observability.snapshots import SECTIONS, Snapshot

RECEIVED = datetime(2025, 11, 18, 12, 34, 56, 789200, UTC)
NUMBERS = {
    "market_data": '{"symbols":{"EUR_USD":{"last_price":1.09450,"volume":null}},"total_volume":0.10000000000000000000000001}',
    "strategy": '{"total_pnl":12345678901234567890.10}',
    "execution": "{}",
    "system": '{"cpu_percent":3.5}',
}
STRINGS = {**NUMBERS, "market_data": '{"symbols":{"EUR_USD":{"last_price":"1.09450","volume":null}}}'}


def body(**changes: object) -> bytes:
    whole = {"timestamp": "2025-11-18T12:34:56.789123Z", "seq": 812, "epoch": "e1", "numbers": NUMBERS, "strings": STRINGS}
    return orjson.dumps({**whole, **changes})


def test_plain_text_has_unix_times_and_the_digits_of_the_bus() -> None:
    text = SnapshotTexts.of(body(), RECEIVED).plain()
    assert text.startswith(
        b'{"type":"metrics_update","timestamp":1763469296.789123,"server_time":1763469296.789200,"seq":812,"epoch":"e1","market_data":{'
    )
    parsed = json.loads(text, parse_float=Decimal)
    assert str(parsed["market_data"]["symbols"]["EUR_USD"]["last_price"]) == "1.09450"
    assert str(parsed["market_data"]["total_volume"]) == "0.10000000000000000000000001"
    assert str(parsed["strategy"]["total_pnl"]) == "12345678901234567890.10"
    assert list(parsed)[-4:] == list(SECTIONS)


def test_socketio_text_has_iso_time_and_strings() -> None:
    parsed = json.loads(SnapshotTexts.of(body(), RECEIVED).socketio(["system", "market_data"]))
    assert parsed == {
        "timestamp": "2025-11-18T12:34:56.789123Z",
        "seq": 812,
        "epoch": "e1",
        "market_data": {"symbols": {"EUR_USD": {"last_price": "1.09450", "volume": None}}},
        "system": {"cpu_percent": 3.5},
    }


def test_each_combination_is_built_once_in_the_order_of_the_sections() -> None:
    texts = SnapshotTexts.of(body(), RECEIVED)
    for size in range(len(SECTIONS) + 1):
        for chosen in combinations(reversed(SECTIONS), size):
            first = texts.plain(chosen)
            assert texts.plain(set(chosen)) is first
            assert [name for name in json.loads(first) if name in SECTIONS] == [name for name in SECTIONS if name in chosen]
            assert texts.socketio(chosen) is texts.socketio(list(chosen))


def test_section_without_values_is_empty() -> None:
    texts = SnapshotTexts.of(body(numbers={}, strings={}), RECEIVED)
    assert json.loads(texts.plain(["strategy"]))["strategy"] == {}
    assert json.loads(texts.socketio(["strategy"]))["strategy"] == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"numbers": {"system": "[]"}},
        {"strings": {"system": '{"a":NaN}'}},
        {"numbers": {"system": "{}}"}},
        {"timestamp": "noon"},
        {"seq": "x"},
    ],
)
def test_body_that_is_not_a_snapshot_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        SnapshotTexts.of(body(**changes), RECEIVED)


def test_empty_epoch_and_quotes_stay_json() -> None:
    texts = SnapshotTexts(Snapshot("2025-11-18T00:00:00Z", 1, 'a"b', {}, {}), RECEIVED)
    assert json.loads(texts.plain())["epoch"] == json.loads(texts.socketio())["epoch"] == 'a"b'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00.000001+00:00", "0.000001"),
        ("2025-11-18T12:34:56.789123+00:00", "1763469296.789123"),
        ("2025-11-18T13:34:56+01:00", "1763469296.000000"),
    ],
)
def test_unix_text_has_six_decimals(text: str, seconds: str) -> None:
    assert unix_text(datetime.fromisoformat(text)) == seconds
