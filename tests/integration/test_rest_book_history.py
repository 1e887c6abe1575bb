"""Stored books, gaps of books and runs of scenarios over REST, in each format."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.book_gaps import BookGap, save_book_gap
from db.book_rows import insert_book_rows
from db.bus import Bus
from db.postgres import Store
from db.scenario_runs import save_run
from db.timestamps import format_time, utc_now
from tests.support.book_rows import ASK, ASK_QTY, BID, SYMBOL, scenario_run, stored_book, top
from tests.support.listings import Listed, Row, check_walk, expected, get, read, refusal, request

FIRST = datetime(2025, 10, 31, 23, 59, 50, tzinfo=UTC)  # the rows pass into another month, thus into another partition
TIMES = [FIRST + number * timedelta(seconds=1) for number in range(20)]
TOPS = [top(time, number) for number, time in enumerate(TIMES, start=1)]
TOP_ROWS: list[Row] = [
    {
        "time": row.time,
        "bid": row.bid,
        "bid_qty": row.bid_qty,
        "ask": row.ask,
        "ask_qty": row.ask_qty,
        "spread": str(Decimal(row.ask) - Decimal(row.bid)),
        "weighted_mid": row.weighted_mid,
        "imbalance": row.imbalance,
        "update_id": row.update_id,
        "state": row.state,
    }
    for row in TOPS
]
BOOKS = [stored_book(time, number) for number, time in enumerate(TIMES, start=1)]
BOOK_ROWS: list[Row] = [
    {"time": row.time, "update_id": row.update_id, "bids": [[BID, f"{number}.50000000"]], "asks": [[ASK, ASK_QTY]]}
    for number, row in enumerate(BOOKS, start=1)
]
# Two runs begin at each time; their ids order them.
RUNS = sorted(
    (
        scenario_run(str(uuid.UUID(int=97 * number)), TIMES[number // 2], scenario=("burst-mode", "stable-mode")[number % 2])
        for number in range(20)
    ),
    key=lambda run: (run.started, run.run_id),
)
RUN_ROWS: list[Row] = [
    {
        "run_id": run.run_id,
        "scenario": run.scenario,
        "start": format_time(run.started),
        "end": format_time(run.started + timedelta(minutes=1)),
        "seed": 1,
        "peak_queue": 500,
        "peak_lag_ms": 5012.25,
        "gaps": 0,
        "resyncs": 2,
        "detect_seconds": 1.5,
        "recover_seconds": 5.625,
        "wrong_books": 0,
        "outcome": "finished",
    }
    for run in RUNS
]
LISTED = {
    "history": Listed("/book/history", {"symbol": SYMBOL}, "history", "time", "BTCUSDT_history", TOP_ROWS),
    "snapshots": Listed("/book/snapshots", {"symbol": SYMBOL}, "snapshots", "time", "BTCUSDT_snapshots", BOOK_ROWS),
    "runs": Listed("/scenarios/runs", {}, "runs", "start", "runs", RUN_ROWS),
    "runs of one scenario": Listed(
        "/scenarios/runs", {"scenario": "burst-mode"}, "runs", "start", "runs", [row for row in RUN_ROWS if row["scenario"] == "burst-mode"]
    ),
}
each_listing = pytest.mark.parametrize("listed", LISTED.values(), ids=LISTED)


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        with store.transaction() as cursor:
            insert_book_rows(
                cursor, [*TOPS[::-1], *BOOKS[::-1], top(FIRST, 99, symbol="ETHUSDT"), stored_book(FIRST, 99, symbol="ETHUSDT")]
            )
            for run in RUNS[::-1]:
                save_run(cursor, run)
        yield store


@pytest.fixture(scope="module")
def client(shared_settings: Settings, store: Store) -> Iterator[FlaskClient]:
    with closing(Bus(str(shared_settings.redis_url), utc_now)) as bus:
        yield create_app(shared_settings, bus, store, utc_now, "1").test_client()


@each_listing
def test_listing_returns_the_stored_rows_in_their_order(client: FlaskClient, listed: Listed) -> None:
    body = request(client, listed).json
    assert body.pop(listed.field) == listed.rows
    assert body.pop("next_page_token") is None
    assert body == ({"symbol": SYMBOL} if "symbol" in listed.query else {})
    assert [list(row) for row in request(client, listed).json[listed.field]] == [list(row) for row in listed.rows]


@each_listing
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_contain_each_row_once(client: FlaskClient, listed: Listed, order: str) -> None:
    for limit, times in ((3, (None, None)), (7, (listed.rows[4][listed.time], listed.rows[-3][listed.time]))):
        check_walk(client, listed, times, limit=limit, order=order)


@each_listing
def test_files_have_the_same_rows(client: FlaskClient, listed: Listed) -> None:
    lines = request(client, listed, format="ndjson")
    assert read("ndjson", lines) == listed.rows
    assert f'filename="{listed.file}.ndjson"' in lines.headers["Content-Disposition"]
    found = read("csv", request(client, listed, format="csv"))
    if listed.field == "snapshots":
        found = [{**row, "bids": orjson.loads(row["bids"]), "asks": orjson.loads(row["asks"])} for row in found]
        assert found == [{**row, "update_id": str(row["update_id"])} for row in listed.rows]
    else:
        assert found == expected("csv", listed.rows)


def test_books_need_a_known_symbol(client: FlaskClient) -> None:
    for path in ("/book/history", "/book/snapshots"):
        assert refusal(client, path, 422) == ("invalid_payload", {"symbol": ["Missing data for required field."]})
        assert refusal(client, path, 404, symbol="NO_SUCH")[0] == "unknown_instrument"
        assert get(client, path, symbol="EUR_USD")["next_page_token"] is None


def test_token_of_another_listing_or_with_a_foreign_key_is_refused_or_harmless(client: FlaskClient) -> None:
    token = get(client, "/scenarios/runs", limit=1)["next_page_token"]
    assert refusal(client, "/book/history", 422, symbol=SYMBOL, page_token=token)[0] == "invalid_payload"
    forged = _forged(["scenario_runs", "asc", [None, None], format_time(FIRST), "no uuid"])
    assert get(client, "/scenarios/runs", page_token=forged)["runs"] == RUN_ROWS[2:]


def _forged(content: list[object]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def test_one_run_has_its_parameters_and_time_line(client: FlaskClient) -> None:
    body = get(client, f"/scenarios/runs/{RUNS[3].run_id}")
    assert body == {**RUN_ROWS[3], "parameters": dict(RUNS[3].parameters), "timeline": [dict(each) for each in RUNS[3].timeline]}
    assert list(body)[: len(RUN_ROWS[3])] == list(RUN_ROWS[3])
    assert get(client, f"/scenarios/runs/{RUNS[3].run_id.upper()}") == body


def test_run_that_goes_on_has_no_end_and_no_recovery(client: FlaskClient, store: Store) -> None:
    number = str(uuid.uuid4())
    began = datetime(2026, 1, 1, tzinfo=UTC)
    run = scenario_run(number, began, ended=None, outcome="running", detect_seconds=None, recover_seconds=None, timeline=())
    with store.transaction() as cursor:
        save_run(cursor, run)
    try:
        body = get(client, f"/scenarios/runs/{number}")
        open_fields = ("end", "detect_seconds", "recover_seconds")
        assert [body[name] for name in (*open_fields, "timeline", "outcome")] == [None, None, None, [], "running"]
        assert [row["run_id"] for row in get(client, "/scenarios/runs", outcome="running")["runs"]] == [number]
        assert refusal(client, "/scenarios/runs", 422, outcome="ended")[0] == "invalid_payload"
    finally:
        with store.transaction() as cursor:
            cursor.execute("DELETE FROM scenario_runs WHERE run_id = %s", (number,))


@pytest.mark.parametrize("run_id", ["burst-mode", "00000000-0000-0000-0000-00000000dead", "%00"])
def test_unknown_run_is_404(client: FlaskClient, run_id: str) -> None:
    code, details = refusal(client, f"/scenarios/runs/{run_id}", 404)
    assert (code, list(details)) == ("not_found", ["run_id"])


def test_gaps_of_books_are_listed_by_their_kind(client: FlaskClient, store: Store) -> None:
    gaps = [
        BookGap(SYMBOL, FIRST, "missing_update", 11, 14, FIRST + timedelta(seconds=1)),
        BookGap("ETHUSDT", FIRST + timedelta(seconds=2), "disconnected"),
    ]
    now = FIRST + timedelta(seconds=5)
    with store.transaction() as cursor:
        for gap in gaps:
            save_book_gap(cursor, "binance", gap, now)
    try:
        filled, opened = get(client, "/gaps", kind="book")["gaps"]
        assert opened.pop("id") > filled.pop("id")
        common = {"source": "binance", "kind": "book", "interval": None, "detected": format_time(now), "updated": format_time(now)}
        assert filled == {
            **common, "symbol": SYMBOL, "first_id": 11, "last_id": 14, "start_time": format_time(FIRST),
            "end_time": format_time(FIRST + timedelta(seconds=1)), "missing": 4, "state": "filled", "reason": "missing_update",
        }  # fmt: skip
        assert opened == {
            **common, "symbol": "ETHUSDT", "first_id": None, "last_id": None, "start_time": format_time(FIRST + timedelta(seconds=2)),
            "end_time": format_time(now), "missing": 0, "state": "open", "reason": "disconnected",
        }  # fmt: skip
        assert get(client, "/gaps", kind="book", state="open")["gaps"][0]["symbol"] == "ETHUSDT"
        assert get(client, "/gaps", kind="trades")["gaps"] == []
    finally:
        with store.transaction() as cursor:
            cursor.execute("DELETE FROM gaps")
