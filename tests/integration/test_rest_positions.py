"""/positions, /positions/statement and /strategies: the worked example by hand arithmetic."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.bus import Bus, Snapshot
from db.postgres import Store
from db.reports.checkpoints import CheckpointRow, save_checkpoints
from db.reports.fills import insert_fills
from db.reports.positions import save_positions
from tests.conftest import Servers
from tests.support.observed import BOT, FILLS, STRATEGY, STRATEGY_ROW, moment, position, store_example

NOW = datetime(2025, 11, 18, 13, tzinfo=UTC)
OF_EXAMPLE = {"bot": BOT, "strategy": STRATEGY, "symbol": "EUR_USD"}
OF_CHECKPOINT = {"bot": BOT, "strategy": STRATEGY, "symbol": "GBP_USD"}


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        with store.transaction() as cursor:
            store_example(cursor)
            insert_fills(cursor, [replace(FILLS[0], bot="void", fill_id="f-9", voided=True)])
            positions = [
                position("-500", "1.09400", "-0.27", {"USD": "0.070"}, bot="mm-2"),
                position("100", "1.00000", "0", {"EUR": "0.10"}, bot="mm-3"),
                position("100", "1.00000", "0", {"BNB": "0.10", "USD": "0"}, bot="mm-4"),
                position("100", "1.00000", "0", {}, bot="mm-5", symbol="GBP_USD"),
                position("100", "150.000", "0", {}, bot="mm-6", symbol="USD_JPY", currency="JPY"),
            ]
            save_positions(cursor, positions)
            later = datetime(2025, 11, 19, 10, tzinfo=UTC)
            fills = [
                replace(FILLS[0], fill_id="g-1", symbol="GBP_USD", quantity=Decimal(100), price=Decimal("1.2"), fee=Decimal(1)),
                replace(FILLS[2], fill_id="g-2", symbol="GBP_USD", quantity=Decimal(40), price=Decimal("1.4"), time=later, seq=2),
            ]
            insert_fills(cursor, [replace(fill, realised=None) for fill in fills])
            # Another average than that of the fill before it, so that the rows show its use.
            save_checkpoints(
                cursor,
                [
                    CheckpointRow(
                        date(2025, 11, 19), BOT, STRATEGY, "GBP_USD", Decimal(100), Decimal("1.3"), Decimal(5), {"USD": Decimal(1)}, None, 1
                    )
                ],
            )
        yield store


@pytest.fixture(scope="module")
def bus(shared_settings: Settings, servers: Servers) -> Iterator[Bus]:
    with closing(Bus(str(shared_settings.redis_url), lambda: NOW)) as bus:
        bus.set_instruments(servers.calendars)
        bus.cache_price("EUR_USD", bid="1.09380", ask="1.09390", mid="1.09385", time=NOW)
        bus.cache_price("USD_JPY", bid="151.000", ask="151.010", mid="151.005", time=NOW - timedelta(seconds=61))
        yield bus


@pytest.fixture(scope="module")
def client(shared_settings: Settings, bus: Bus, store: Store) -> FlaskClient:
    return create_app(shared_settings, bus, store, lambda: NOW, "1").test_client()


def listed(client: FlaskClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """Return all rows: pages of 2, CSV and NDJSON have the same ones."""
    name = path.rsplit("/", 1)[-1]
    whole = client.get(path, query_string=query)
    assert whole.status_code == 200, whole.text
    rows: list[dict[str, Any]] = whole.get_json()[name]
    found, token = [], None
    while True:
        page = client.get(path, query_string=query | {"limit": 2} | ({"page_token": token} if token else {})).get_json()
        found += page[name]
        if (token := page["next_page_token"]) is None:
            break
    assert found == rows
    lines = client.get(path, query_string=query | {"format": "ndjson"}).text.splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = list(csv.DictReader(io.StringIO(client.get(path, query_string=query | {"format": "csv"}).text)))
    column = "symbol" if path == "/positions" else next(iter(rows[0]))
    assert [row[column] for row in table] == [row[column] for row in rows]
    return rows


def numbers(rows: list[dict[str, Any]], *names: str) -> list[tuple[Decimal | None, ...]]:
    """Return the values of these columns, which are decimal strings or null."""
    assert all(row[name] is None or isinstance(row[name], str) for row in rows for name in names)
    return [tuple(None if row[name] is None else Decimal(row[name]) for name in names) for row in rows]


def decimals(*texts: str | None) -> tuple[Decimal | None, ...]:
    return tuple(None if text is None else Decimal(text) for text in texts)


def test_positions_are_marked_at_the_touch_and_net_of_fees(client: FlaskClient) -> None:
    rows = {row["bot"]: row for row in listed(client, "/positions")}
    assert list(rows["mm-1"]) == [
        "bot", "strategy", "symbol", "quantity", "average_price", "mark", "mark_stale", "unrealized_pnl", "realized_pnl",
        "fees_by_currency", "currency",
    ]  # fmt: skip
    columns = ("quantity", "average_price", "mark", "unrealized_pnl", "realized_pnl")
    found = dict(zip(rows, numbers(list(rows.values()), *columns), strict=True))
    assert found == {
        "mm-1": decimals("0", None, None, "0", "-0.300"),
        "mm-2": decimals("-500", "1.09400", "1.09390", "0.05", "-0.340"),
        "mm-3": decimals("100", "1", "1.09380", "9.380", "-0.109385"),  # 0.10 EUR at 1.09385
        "mm-4": decimals("100", "1", "1.09380", "9.380", None),
        "mm-5": decimals("100", "1", None, None, "0"),
        "mm-6": decimals("100", "150", "151.000", "100", "0"),
    }
    assert [row["mark_stale"] for row in rows.values()] == [False] * 5 + [True]
    assert rows["mm-1"]["fees_by_currency"] == {"USD": "0.080"}
    assert [row["currency"] for row in rows.values()] == ["USD"] * 5 + ["JPY"]
    assert [row["bot"] for row in listed(client, "/positions", order="desc", symbol="EUR_USD")] == ["mm-4", "mm-3", "mm-2", "mm-1"]


def test_positions_are_marked_at_the_mid_if_the_setting_says_so(shared_settings: Settings, bus: Bus, store: Store) -> None:
    client = create_app(replace(shared_settings, obs_mark="mid"), bus, store, lambda: NOW, "1").test_client()
    (row,) = client.get("/positions?bot=mm-2").get_json()["positions"]
    assert numbers([row], "mark", "unrealized_pnl") == [decimals("1.09385", "0.075")]


@pytest.mark.parametrize(
    ("method", "averages", "gross"),
    [
        ("average", ("1.09450", "1.09470", "1.09470", "1.09400", None), ("0", "0", "0.36", "-0.27", "-0.22")),
        # Open after the third fill: 400 @ 1.09450 and 500 @ 1.09510, (437.80 + 547.55) / 900.
        ("fifo", ("1.09450", "1.09470", "1.0948333333333333", "1.09400", None), ("0", "0", "0.48", "-0.27", "-0.22")),
    ],
)
def test_statement_is_the_table_of_the_worked_example(
    client: FlaskClient, method: str, averages: tuple[str, ...], gross: tuple[str, ...]
) -> None:
    rows = listed(client, "/positions/statement", **OF_EXAMPLE, method=method)
    assert list(rows[0]) == [
        "time", "fill_id", "side", "quantity", "price", "fee", "fee_currency", "position", "average_price", "realized_gross",
        "realized_pnl",
    ]  # fmt: skip
    assert [row["fill_id"] for row in rows] == [f"f-{n}" for n in range(1, 6)]
    assert [row["price"] for row in rows] == ["1.09450", "1.09510", "1.09530", "1.09400", "1.09390"]
    positions, fees = ("1000", "1500", "900", "-500", "0"), ("0.020", "0.030", "0.042", "0.070", "0.080")
    net = [Decimal(profit) - Decimal(fee) for profit, fee in zip(gross, fees, strict=True)]
    expected = list(zip(decimals(*positions), decimals(*averages), decimals(*gross), net, strict=True))
    assert numbers(rows, "position", "average_price", "realized_gross", "realized_pnl") == expected
    assert listed(client, "/positions/statement", **OF_EXAMPLE, method=method, order="desc") == rows[::-1]
    part = {"start": "2025-11-18T12:00:02Z", "end": "2025-11-18T12:00:05Z"}
    assert listed(client, "/positions/statement", **OF_EXAMPLE, method=method, **part) == rows[1:4]


def test_statement_begins_at_the_last_checkpoint_before_it(client: FlaskClient) -> None:
    # From the checkpoint, 100 @ 1.3 with gross 5: (1.4 - 1.3)·40 + 5 = 9.
    # From the first fill: (1.4 - 1.2)·40 = 8.
    columns = ("position", "realized_gross", "realized_pnl")
    (row,) = listed(client, "/positions/statement", **OF_CHECKPOINT, start="2025-11-19")
    assert numbers([row], *columns) == [decimals("60", "9.0", "7.988")]
    # Lots are those of all fills.
    (row,) = listed(client, "/positions/statement", **OF_CHECKPOINT, start="2025-11-19", method="fifo")
    assert numbers([row], *columns) == [decimals("60", "8.0", "6.988")]
    assert len(listed(client, "/positions/statement", **OF_CHECKPOINT)) == 2


def test_statement_needs_one_position(client: FlaskClient) -> None:
    answer = client.get("/positions/statement")
    assert (answer.status_code, set(answer.get_json()["error"]["details"])) == (422, {"bot", "strategy", "symbol"})
    unknown = client.get("/positions/statement", query_string={**OF_EXAMPLE, "symbol": "NO_SUCH"})
    assert (unknown.status_code, unknown.get_json()["error"]["code"]) == (404, "unknown_instrument")
    assert client.get("/positions/statement", query_string={**OF_EXAMPLE, "bot": "void"}).get_json()["statement"] == []


def test_strategies_are_those_of_the_newest_snapshot(client: FlaskClient, bus: Bus) -> None:
    names = [(bot, strategy) for bot in ("mm-2", "mm-1") for strategy in ("b", "a")] + [("mm-1", STRATEGY)]
    published = [{**STRATEGY_ROW, "bot": bot, "strategy_name": name} for bot, name in names]
    bus.publish_snapshot(
        Snapshot("2025-11-18T13:00:00.000000Z", 1, "one", {}, {"strategies": orjson.dumps({"strategies": published}).decode()})
    )
    rows = listed(client, "/strategies")
    assert [(row["bot"], row["strategy_name"]) for row in rows] == sorted(names)
    assert rows[0] == {**dict.fromkeys(rows[0]), **STRATEGY_ROW, "bot": "mm-1", "strategy_name": "a"}
    assert [row["strategy_name"] for row in listed(client, "/strategies", bot="mm-2", order="desc")] == ["b", "a"]
    assert [row["bot"] for row in listed(client, "/strategies", strategy="b")] == ["mm-1", "mm-2"]
    assert [row["strategy_name"] for row in listed(client, "/strategies", symbol="EUR_USD")] == [STRATEGY]


def test_strategy_of_one_bot_is_taken_from_the_section(shared_settings: Settings, bus: Bus, store: Store) -> None:
    figures = {name: value for name, value in STRATEGY_ROW.items() if name not in ("bot", "strategy_name")}
    section = {"strategies": {STRATEGY: figures, "shared": {**figures, "bots": ["mm-1", "mm-2"]}}}
    bus.publish_snapshot(Snapshot("2025-11-18T13:00:00.000000Z", 2, "one", {}, {"strategy": orjson.dumps(section).decode()}))
    client = create_app(shared_settings, bus, store, lambda: moment(0), "1").test_client()
    (row,) = listed(client, "/strategies")
    assert (row["bot"], row["strategy_name"], row["pnl"], row["bots"]) == (BOT, STRATEGY, "-0.290", [BOT])
