"""/ticks: each row once with all digits, in each format."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.rest import listing as view
from api.rest.limits.slots import MAX_EXPORTS
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store, StoreError
from db.prices import PriceRow, insert_prices
from db.timestamps import format_time
from tests.support.examples import with_shared_fixtures

FIRST = datetime(2014, 4, 30, 23, 59, 58, tzinfo=UTC)
MOMENTS = [FIRST + timedelta(seconds=half / 2) for half in range(10)]  # over the border of a month, thus of a partition
BIDS = ["1.38710", "1.3871", "100", "0.00000100", "123456789012345678.10"]
SOURCES = ["replay:file.csv", 'odd, "name"', 'two\nlines\r\nof "it"', "back\\slash", "é€"]

few = with_shared_fixtures(max_examples=20)


def dense_rows() -> list[PriceRow]:
    """Return many prices at each moment, of three epochs; digits and sources vary."""
    rows = []
    for number in range(120):
        moment = MOMENTS[number * 7 % len(MOMENTS)]
        bid, source = BIDS[number % len(BIDS)], SOURCES[number % 7 % len(SOURCES)]
        volume = None if number % 3 else "1500.50"
        rows.append(
            PriceRow(
                "EUR_USD",
                format_time(moment),
                format_time(moment + timedelta(days=1)),
                bid,
                bid,
                bid,
                volume,
                source,
                f"e{number % 3}",
                number,
                number,
            )
        )
    return rows


def in_order(rows: list[PriceRow]) -> list[PriceRow]:
    return sorted(rows, key=lambda row: (row.time, row.epoch, row.seq))


def as_tick(row: PriceRow) -> dict[str, Any]:
    return {
        "symbol": row.instrument,
        "time": row.time,
        "received": row.received,
        "bid": row.bid,
        "ask": row.ask,
        "mid": row.mid,
        "volume": row.volume,
        "source": row.source,
        "seq": row.seq,
        "epoch": row.epoch,
    }


TICKS = [as_tick(row) for row in in_order(dense_rows())]


@pytest.fixture
def client(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]) -> FlaskClient:
    with store.transaction() as cursor:
        insert_prices(cursor, dense_rows())
        insert_prices(cursor, [PriceRow("GBP_USD", TICKS[0]["time"], TICKS[0]["time"], "1", "1", "1", None, "other", "e0", 1)])
    return create_app(settings, bus, store, clock, "1.2.3").test_client()


def ask(client: FlaskClient, **query: object) -> Any:
    return client.get("/ticks?" + urlencode({"symbol": "EUR_USD", **query}))


def walk(client: FlaskClient, **query: object) -> list[dict[str, Any]]:
    """Return every row of every page."""
    rows, token = [], None
    while True:
        page = ask(client, **query, **({"page_token": token} if token else {})).json
        rows += page["ticks"]
        token = page["next_page_token"]
        if token is None:
            return rows


def read_csv(text: str) -> list[dict[str, Any]]:
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    return [{**row, "seq": int(row["seq"]), "volume": row["volume"] or None} for row in rows]


def read_ndjson(raw: bytes) -> list[dict[str, Any]]:
    assert raw.endswith(b"\n")
    return [orjson.loads(line) for line in raw.split(b"\n")[:-1]]


def test_ticks_have_the_stored_digits(client: FlaskClient) -> None:
    body = ask(client).json
    assert body["symbol"] == "EUR_USD"
    assert body["next_page_token"] is None
    assert body["ticks"] == TICKS
    assert {row["bid"] for row in body["ticks"]} == set(BIDS)


def test_order_desc_returns_the_newest_first(client: FlaskClient) -> None:
    assert ask(client, order="desc").json["ticks"] == TICKS[::-1]


@few
@given(
    limit=st.integers(1, 130),
    order=st.sampled_from(["asc", "desc"]),
    start=st.none() | st.sampled_from(MOMENTS),
    end=st.none() | st.sampled_from(MOMENTS),
)
def test_pages_contain_each_row_once(client: FlaskClient, limit: int, order: str, start: datetime | None, end: datetime | None) -> None:
    if start and end and start > end:
        start, end = end, start
    bounds = {name: format_time(moment) for name, moment in (("start", start), ("end", end)) if moment}
    expected = [row for row in TICKS if bounds.get("start", "") <= row["time"] and ("end" not in bounds or row["time"] < bounds["end"])]
    assert walk(client, limit=limit, order=order, **bounds) == (expected if order == "asc" else expected[::-1])


@few
@given(rows=st.integers(1, 130), order=st.sampled_from(["asc", "desc"]), kind=st.sampled_from(["csv", "ndjson"]))
def test_export_contains_each_row_once(client: FlaskClient, rows: int, order: str, kind: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "EXPORT_ROWS", rows)
        with ask(client, format=kind, order=order) as answer:
            found = read_csv(answer.text) if kind == "csv" else read_ndjson(answer.data)
    assert found == (TICKS if order == "asc" else TICKS[::-1])


@pytest.mark.parametrize(("kind", "mimetype"), [("csv", "text/csv"), ("ndjson", "application/x-ndjson")])
def test_export_in_pages_contains_each_row_once(client: FlaskClient, kind: str, mimetype: str) -> None:
    rows: list[dict[str, Any]] = []
    token: str | None = ""
    while token is not None:
        answer = ask(client, format=kind, limit=7, **({"page_token": token} if token else {}))
        assert answer.mimetype == mimetype
        assert answer.headers["Content-Disposition"] == f'attachment; filename="EUR_USD_ticks.{kind}"'
        rows += read_csv(answer.text) if kind == "csv" else read_ndjson(answer.data)
        token = answer.headers.get("X-Next-Page-Token")
    assert rows == TICKS


def test_ticks_without_rows_are_empty(client: FlaskClient) -> None:
    assert ask(client, symbol="USD_JPY").json == {"symbol": "USD_JPY", "ticks": [], "next_page_token": None}
    assert ask(client, symbol="USD_JPY", format="csv").text == "symbol,time,received,bid,ask,mid,volume,source,seq,epoch\n"
    assert ask(client, symbol="USD_JPY", format="ndjson").data == b""
    assert ask(client, start="0001-01-01", end="0001-01-01").json["ticks"] == []


def test_limit_has_a_default(client: FlaskClient, store: Store) -> None:
    more = [
        PriceRow("USD_JPY", format_time(FIRST), format_time(FIRST), "1", "1", "1", None, "s", "e", number, number) for number in range(1001)
    ]
    with store.transaction() as cursor:
        insert_prices(cursor, more)
    page = ask(client, symbol="USD_JPY").json
    assert len(page["ticks"]) == 1000
    assert page["next_page_token"]
    assert len(ask(client, symbol="USD_JPY", limit=10000).json["ticks"]) == 1001
    assert len(read_ndjson(ask(client, symbol="USD_JPY", format="ndjson").data)) == 1001


@pytest.mark.parametrize(
    "bounds", [{"start": "0001-01-01T00:00:00Z"}, {"end": "9999-12-31T23:59:59.999999Z"}, {"start": "1900", "end": "2300"}]
)
def test_extreme_bounds_return_all_rows_or_are_refused(client: FlaskClient, bounds: dict[str, str]) -> None:
    answer = ask(client, **bounds)
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert answer.json["ticks"] == TICKS


def test_plus_sign_decoded_as_a_space_is_accepted(client: FlaskClient) -> None:
    shifted = f"{MOMENTS[4] + timedelta(hours=2):%Y-%m-%dT%H:%M:%S}"
    plain = client.get(f"/ticks?symbol=EUR_USD&start={shifted}+02:00").json
    assert plain is not None
    assert plain["ticks"] == [row for row in TICKS if row["time"] >= format_time(MOMENTS[4])]


def test_prices_are_strings_with_all_digits(client: FlaskClient) -> None:
    stored = ask(client).json["ticks"]
    assert all(isinstance(row[name], str) for row in stored for name in ("bid", "ask", "mid"))
    assert sum(Decimal(row["bid"]) for row in stored) == sum(Decimal(row.bid) for row in dense_rows())


class Breaking:
    """The real store, until `good` transactions are used up."""

    def __init__(self, store: Store, good: int) -> None:
        self.store, self.good = store, good
        self.measures = store.measures

    def with_limits(self, **limits: int) -> Store:
        return self.store.with_limits(**limits)

    def transaction(self) -> Any:
        self.good -= 1
        if self.good < 0:
            raise StoreError("gone")
        return self.store.transaction()


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_export_that_fails_midway_is_incomplete(
    client: FlaskClient,
    settings: Settings,
    bus: Bus,
    store: Store,
    clock: Callable[[], datetime],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr(view, "EXPORT_ROWS", 50)
    breaking: Any = Breaking(store, 2)
    answer = create_app(settings, bus, breaking, clock, "1.2.3").test_client().get(f"/ticks?symbol=EUR_USD&format={kind}")
    assert answer.status_code == 200
    pieces = answer.iter_encoded()
    assert next(pieces)
    assert next(pieces)
    with pytest.raises(StoreError):
        next(pieces)


def test_exports_leave_slots_for_other_requests(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [ask(client, symbol="GBP_USD", format="csv") for _ in range(2 * MAX_EXPORTS)]  # one page, so not streamed
    assert {answer.status_code for answer in small} == {200}
    monkeypatch.setattr(view, "EXPORT_ROWS", 50)
    running = [ask(client, format="csv") for _ in range(MAX_EXPORTS)]
    refused = ask(client, format="ndjson")
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "too_many_requests")
    assert ask(client).status_code == 200
    running.pop().close()  # closed before a byte was read
    with ask(client, format="csv") as answer:
        assert read_csv(answer.text) == TICKS
    for each in running:
        each.close()
