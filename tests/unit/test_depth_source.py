"""The source of order books without a network: limits of requests, recordings, messages."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import load, parse_source
from config.venues import with_prices
from db.scenarios.files import has_books
from jobs.feeds.binance.depth import depth_source
from jobs.feeds.binance.request_limits import MAX_REFRESHES_PER_MINUTE, MAX_SNAPSHOTS_PER_MINUTE, RequestLimits, retry_after
from tests.support.depth import COINM_BTC, SPOT_ETH, USDM_BTC

ROOT = Path(__file__).parents[2]
NOW = 1_000.0


def used(weight: object) -> Mapping[str, str]:
    return {"X-MBX-USED-WEIGHT-1M": str(weight)}


def seconds(limits: RequestLimits, now: float, *, is_refresh: bool = False) -> float | None:
    """The wait before the next request; None if it is sent."""
    refusal = limits.take(now, is_refresh=is_refresh)
    return None if refusal is None else refusal.seconds


def test_ten_requests_a_minute_are_sent_and_two_of_them_are_for_wrong_books() -> None:
    limits = RequestLimits()
    assert [seconds(limits, NOW + each, is_refresh=True) for each in range(9)] == [None] * 8 + [52.0]
    assert [seconds(limits, NOW + 10), seconds(limits, NOW + 11)] == [None, None]
    assert seconds(limits, NOW + 12) == 48.0  # ten: the first one is a minute old at 60
    assert seconds(limits, NOW + 60) is None
    assert seconds(limits, NOW + 60, is_refresh=True) == 3.0  # ten again: eight of the last minute must become seven
    assert seconds(limits, NOW + 63, is_refresh=True) is None


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=60))
def test_no_minute_has_more_requests_than_allowed(steps: list[tuple[float, bool]]) -> None:
    limits, now, sent = RequestLimits(), NOW, []
    for step, is_refresh in steps:
        now += step
        wait = seconds(limits, now, is_refresh=is_refresh)
        if wait is None:
            sent.append((now, is_refresh))
        else:
            assert 0 < wait <= 60
    for end, _ in sent:
        minute = [is_refresh for time, is_refresh in sent if end - 60 < time <= end]
        assert len(minute) <= MAX_SNAPSHOTS_PER_MINUTE
        assert sum(minute) <= MAX_REFRESHES_PER_MINUTE


def test_used_weight_above_3000_stops_refreshes_for_a_minute() -> None:
    limits = RequestLimits()
    limits.note_answer(200, used(3_000), NOW)
    assert seconds(limits, NOW, is_refresh=True) is None
    limits.note_answer(200, used(3_001), NOW)
    assert seconds(limits, NOW + 1, is_refresh=True) == 59.0
    assert seconds(limits, NOW + 1) is None
    assert seconds(limits, NOW + 60, is_refresh=True) is None


def test_lower_weight_ends_the_pause_of_refreshes() -> None:
    limits = RequestLimits()
    limits.note_answer(200, used(5_000), NOW)
    limits.note_answer(200, used(300), NOW + 1)
    assert seconds(limits, NOW + 1, is_refresh=True) is None


@pytest.mark.parametrize("weight", ["", "many", "-1", "9" * 5_000, "\u0663\u0663\u0663\u0663"])
def test_unreadable_weight_is_ignored(weight: str) -> None:
    limits = RequestLimits()
    limits.note_answer(200, used(weight), NOW)
    assert seconds(limits, NOW, is_refresh=True) is None


@pytest.mark.parametrize(("status", "headers", "wait"), [(429, {"Retry-After": "7"}, 7.0), (418, {"Retry-After": "120000"}, 120_000.0)])
def test_refusal_stops_all_requests_until_retry_after(status: int, headers: Mapping[str, str], wait: float) -> None:
    limits = RequestLimits()
    assert limits.note_answer(status, headers, NOW) == wait
    assert seconds(limits, NOW + 1) == wait - 1
    assert seconds(limits, NOW + 1, is_refresh=True) == wait - 1
    assert seconds(limits, NOW + wait) is None


def test_refusal_without_retry_after_stops_requests_for_a_minute() -> None:
    limits = RequestLimits()
    assert limits.note_answer(429, {}, NOW) == 60.0
    assert seconds(limits, NOW + 59) == 1.0


def test_shorter_refusal_does_not_end_a_longer_one() -> None:
    limits = RequestLimits()
    limits.note_answer(418, {"Retry-After": "600"}, NOW)
    limits.note_answer(429, {"Retry-After": "1"}, NOW)
    assert seconds(limits, NOW + 2) == 598.0


def test_other_failures_stop_nothing() -> None:
    limits = RequestLimits()
    assert limits.note_answer(503, {"Retry-After": "5"}, NOW) == 5.0  # of the one book that requested
    assert seconds(limits, NOW) is None


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_unusable_retry_after_is_none(text: str) -> None:
    assert retry_after({"Retry-After": text}) is None


def test_retry_after_has_a_bound() -> None:
    assert retry_after({"Retry-After": "inf"}) == 3 * 86_400


@pytest.mark.parametrize("file", [SPOT_ETH.file, USDM_BTC.file, COINM_BTC.file], ids=lambda file: file.name)
def test_recording_of_depth_is_recognised(file: Path) -> None:
    assert has_books(file)


@pytest.mark.parametrize(
    "content", [b"", b"time,bid,ask\n", b"\x1f\x8bdamaged", b'1723161253937085768 {"stream":"btcusdt@trade","data":{}}\n']
)
def test_other_file_is_no_recording_of_depth(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert not has_books(tmp_path / "file")


def test_missing_file_is_no_recording_of_depth(tmp_path: Path) -> None:
    assert not has_books(tmp_path / "missing")
    assert not has_books(tmp_path)


def test_snapshot_alone_makes_a_recording_of_depth(tmp_path: Path) -> None:
    file = tmp_path / "snapshot.gz"
    file.write_bytes(gzip.compress(b'1723161253937085768 {"lastUpdateId":1,"bids":[],"asks":[]}\n'))
    assert has_books(file)


def test_jobs_run_the_sources_that_have_prices() -> None:
    names = ("synthetic", "scenario", f"replay:{SPOT_ETH.file}", f"replay:{ROOT / 'data' / 'recordings' / 'EUR_USD_H1.csv.gz'}")
    found = with_prices(map(parse_source, names), has_books)
    assert [spec.name for spec in found] == ["synthetic", "replay:EUR_USD_H1.csv.gz"]


class Sink:
    """Keeps the calls of a source."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> object:
        return lambda instrument, *rest: self.calls.append((name, instrument))


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "wss://stream.binance.com:9443/stream"),
        ({"BOOK_MARKET": "usdm"}, "wss://fstream.binance.com/public/stream"),
        ({"BOOK_MARKET": "usdm", "BOOK_WS_URL": "wss://host/public/"}, "wss://host/public/stream"),
        ({"BOOK_MARKET": "usdm", "BOOK_WS_URL": "wss://host/"}, "wss://host/public/stream"),
    ],
)
def test_address_of_the_streams(variables: dict[str, str], url: str) -> None:
    source = depth_source(load({"BOOK_SYMBOLS": "BTCUSDT", **variables}, dotenv=None), Sink())  # type: ignore[arg-type]
    assert source._connection._url == url


def test_messages_go_to_their_instrument() -> None:
    sink = Sink()
    source = depth_source(load({"BOOK_SYMBOLS": "BTCUSDT,ETHUSDT"}, dotenv=None), sink)  # type: ignore[arg-type]
    known = [
        b'{"stream":"btcusdt@depth@100ms","data":{}}',
        b'{ "data": {}, "stream": "ethusdt@bookTicker" }',
        b'{"stream":"ethusdt@depth@100ms","da',  # the books find that it is cut
    ]
    others = [
        b"",
        b"[]",
        b"not json",
        b'{"stream":"solusdt@depth@100ms"}',
        b'{"stream":"btcusdt@depth20"}',
        b'{"stream":"b',
        b'{"stream":1}',
    ]
    assert source._pass_on([*known, *others], NOW) == others
    assert sink.calls == [("diff", "BTCUSDT"), ("ticker", "ETHUSDT"), ("diff", "ETHUSDT")]
    assert source.garbage == len(others)
