"""Rows with times ahead of the clock, which older versions have stored, stay out of open lists."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.bus import Bus
from db.candles import CandleRow, insert_candles
from db.partitions import make_months
from db.postgres import Store
from db.prices import PriceRow, insert_prices
from db.timestamps import format_time
from tests.support.listings import get

NOW = datetime(2025, 11, 18, 12, 30, tzinfo=UTC)
AHEAD = [timedelta(seconds=seconds) for seconds in (-60, 0, 119, 121, 86_400)]
FAR = datetime(2099, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def price(moment: datetime, number: int) -> PriceRow:
    time = format_time(moment)
    return PriceRow("EUR_USD", time, time, "1.1", "1.2", "1.15", None, "oanda", "e", number)


def candle(start: datetime) -> CandleRow:
    prices = ("1.1", "1.1", "1.1", "1.1")
    return CandleRow(
        "EUR_USD", "1m", format_time(start), format_time(start + MINUTE), prices, None, None, "1", 1, complete=True, source="ticks"
    )


@pytest.fixture
def client(settings: Settings, bus: Bus, store: Store) -> FlaskClient:
    with store.transaction() as cursor:
        make_months(cursor, "prices", ["2099-01"])
        insert_prices(cursor, [price(moment, number) for number, moment in enumerate([*(NOW + ahead for ahead in AHEAD), FAR], 1)])
        insert_candles(cursor, [candle(NOW + number * MINUTE) for number in (-1, 0, 1, 2, 60)])
    return create_app(replace(settings, source_max_ahead_seconds=120), bus, store, lambda: NOW, "1.2.3").test_client()


def numbers(answer: dict[str, Any]) -> list[int]:
    return [tick["seq"] for tick in answer["ticks"]]


def test_ticks_without_end_stop_a_little_after_now(client: FlaskClient) -> None:
    assert numbers(get(client, "/ticks", symbol="EUR_USD")) == [1, 2, 3]
    assert numbers(get(client, "/ticks", symbol="EUR_USD", order="desc", limit="1")) == [3]
    assert numbers(get(client, "/ticks", symbol="EUR_USD", start="2026-01-01")) == []
    assert len(get(client, "/ticks", symbol="EUR_USD", format="ndjson").data.splitlines()) == 3


def test_ticks_with_an_end_reach_it(client: FlaskClient) -> None:
    assert numbers(get(client, "/ticks", symbol="EUR_USD", end="2100-01-01")) == [1, 2, 3, 4, 5, 6]


def test_candles_without_end_stop_with_the_last_that_has_begun(client: FlaskClient) -> None:
    def starts(query: dict[str, str]) -> list[str]:
        answer = client.get("/candles", query_string={"symbol": "EUR_USD", "interval": "1m", **query})
        return [each["start_time"] for each in answer.json["candles"]]  # type: ignore[index]

    assert starts({}) == [format_time(NOW + number * MINUTE) for number in (-1, 0)]
    assert starts({"order": "desc", "limit": "1"}) == [format_time(NOW)]
    assert len(starts({"end": "2026-01-01"})) == 5
