"""/volatility, /correlation/history and /alerts: the stored rows in each format, and refusals."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.rest import listing as view
from config.settings import Settings
from db.alerts import Alert, mark_published, write_alerts
from db.bus import Bus
from db.correlations import METHODS, write_correlations
from db.postgres import Store
from db.timestamps import format_time
from db.volatility import ESTIMATORS, VolatilityRow, write_volatility
from jobs.analytics.volatility import ESTIMATORS as ESTIMATORS_OF_THE_JOB
from jobs.figures.hourly import ALERT
from tests.support.examples import with_shared_fixtures
from tests.support.listings import MIMETYPES, Listed, Row, check_walk, expected, get, read, refusal, request

FIRST = datetime(2024, 2, 29, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

few = with_shared_fixtures(max_examples=12)


def estimate(number: int, estimator: str, symbol: str = "EUR_USD") -> VolatilityRow:
    return VolatilityRow(symbol, estimator, FIRST + number * HOUR, (number + 1) / 7e4, (number + 1) / 700.5, 24 - number % 3)


# Not every estimator is available every hour.
VOLATILITY = [estimate(n, name) for n in range(8) for place, name in enumerate(sorted(ESTIMATORS)) if (n + place) % 3]
PAIR_HISTORY = [(FIRST + n * DAY, None if n % 5 == 3 else (-1) ** n * n / 41, n) for n in range(40)]
ALERTS = [
    Alert("volatility", "EUR_USD", None, ("warning", "critical")[n % 2], FIRST + n // 3 * HOUR, n / 37 + 0.02, None, 0.015, f"is {n} %")
    if n % 3
    else Alert("correlation", *(("EUR_USD", "GBP_USD"), ("BTCUSDT", "EUR_USD"), ("BTCUSDT", "GBP_USD"))[n // 3 % 3], "warning",
               FIRST + n // 3 * HOUR, -n / 37 - 0.01, n / 53 + 0.01, 0.25, 'went "down",\nfar')
    for n in range(36)
]  # fmt: skip


def state_of(number: int, alert: Alert) -> Row:
    """Return the columns of the state: an alert is resolved by the next one of its key, or open."""
    later = [each for each in ALERTS[number:] if (each.key, each.severity) == (alert.key, alert.severity)]
    ended = format_time(later[0].time) if later else None
    return {
        "state": "resolved" if later else "firing",
        "active": not later,
        "updated_at": ended or format_time(alert.time),
        "acknowledged_at": None,
        "acknowledged_by": None,
        "comment": None,
        "resolved_at": ended,
    }


def alert_row(number: int, alert: Alert) -> Row:
    """Return alert `number` in its listed form; every fourth is published."""
    return {
        "id": number,
        "type": alert.type,
        "symbol": alert.symbol,
        "symbol2": alert.symbol2,
        "severity": alert.severity,
        "time": format_time(alert.time),
        "value": alert.value,
        "previous": alert.previous,
        "threshold": alert.threshold,
        "message": alert.message,
        "published": None if number % 4 else format_time(alert.time + HOUR),
        "alert_id": alert.alert_id,
        "subject": f"{alert.symbol}|{alert.symbol2}" if alert.symbol2 else alert.symbol,
        **state_of(number, alert),
    }


VOLATILITY_ROWS: list[Row] = [
    {
        "time": format_time(row.time),
        "estimator": row.estimator,
        "volatility": row.volatility,
        "annualised": row.annualised,
        "observations": row.observations,
    }
    for row in VOLATILITY
]
HISTORY_ROWS: list[Row] = [{"time": format_time(time), "correlation": value, "observations": count} for time, value, count in PAIR_HISTORY]
ALERT_ROWS = [alert_row(number, alert) for number, alert in enumerate(ALERTS, start=1)]


def of_gbp(row: Row) -> bool:
    return "GBP_USD" in (row["symbol"], row["symbol2"])


LISTED = [
    Listed("/volatility", {"symbol": "EUR_USD"}, "volatility", "time", "EUR_USD_volatility", VOLATILITY_ROWS),
    Listed(
        "/volatility",
        {"symbol": "EUR_USD", "estimator": "yang_zhang"},
        "volatility",
        "time",
        "EUR_USD_volatility",
        [row for row in VOLATILITY_ROWS if row["estimator"] == "yang_zhang"],
    ),
    Listed(
        "/correlation/history", {"symbol1": "EUR_USD", "symbol2": "GBP_USD"}, "history", "time", "EUR_USD_GBP_USD_history", HISTORY_ROWS
    ),
    Listed(
        "/correlation/history",
        {"symbol1": "GBP_USD", "symbol2": "EUR_USD", "method": "pearson"},
        "history",
        "time",
        "GBP_USD_EUR_USD_history",
        HISTORY_ROWS,
    ),
    Listed("/alerts", {}, "alerts", "time", "alerts", ALERT_ROWS),
    Listed("/alerts", {"symbol": "GBP_USD"}, "alerts", "time", "alerts", [row for row in ALERT_ROWS if of_gbp(row)]),
    Listed(
        "/alerts",
        {"symbol": "EUR_USD", "type": "volatility", "severity": "critical"},
        "alerts",
        "time",
        "alerts",
        [row for row in ALERT_ROWS if row["type"] == "volatility" and row["severity"] == "critical"],
    ),
]
each_listing = pytest.mark.parametrize("listed", LISTED, ids=lambda listed: f"{listed.path} {'&'.join(listed.query)}")


@pytest.fixture
def empty(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]) -> FlaskClient:
    return create_app(settings, bus, store, clock, "1.2.3").test_client()


@pytest.fixture
def client(empty: FlaskClient, store: Store) -> FlaskClient:
    with store.transaction() as cursor:
        write_volatility(cursor, [*VOLATILITY[::-1], estimate(1, "ewma", "GBP_USD")])
        for time, value, count in PAIR_HISTORY:
            write_correlations(cursor, time, "pearson", [("EUR_USD", "GBP_USD"), ("EUR_USD", "USD_JPY")], [value, 0.5], [count, 99])
            write_correlations(cursor, time, "spearman", [("EUR_USD", "GBP_USD")], [0.25], [count])
        assert write_alerts(cursor, ALERTS) == len(ALERTS)
        for number, alert in enumerate(ALERTS, start=1):
            if number % 4 == 0:
                mark_published(cursor, number, alert.time + HOUR)
    return empty


@each_listing
def test_listing_returns_the_stored_rows(client: FlaskClient, listed: Listed) -> None:
    assert listed.rows
    body = request(client, listed).json
    assert list(body) == [
        *{"/volatility": ["symbol"], "/correlation/history": ["symbol1", "symbol2"], "/alerts": []}[listed.path],
        listed.field,
        "next_page_token",
    ]
    assert body.pop(listed.field) == listed.rows
    assert body.pop("next_page_token") is None
    assert body == {name: listed.query[name] for name in body}
    assert request(client, listed, order="desc").json[listed.field] == listed.rows[::-1]


@each_listing
@few
@given(
    limit=st.integers(1, 60),
    order=st.sampled_from(["asc", "desc"]),
    start=st.none() | st.integers(-1, 45),
    length=st.none() | st.integers(0, 45),
)
def test_pages_contain_each_row_once(
    client: FlaskClient, listed: Listed, limit: int, order: str, start: int | None, length: int | None
) -> None:
    begin = None if start is None else format_time(FIRST + start * HOUR)
    end = None if length is None else format_time(FIRST + ((start or 0) + length) * HOUR)
    check_walk(client, listed, (begin, end), limit=limit, order=order)


@each_listing
def test_export_contains_each_row_in_each_format(client: FlaskClient, listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, order, size in itertools.product(MIMETYPES, ["asc", "desc"], [7, 10_000]):
        monkeypatch.setattr(view, "EXPORT_ROWS", size)
        with request(client, listed, format=kind, order=order) as answer:
            assert answer.mimetype == MIMETYPES[kind]
            assert answer.headers["Content-Disposition"] == f'attachment; filename="{listed.file}.{kind}"'
            assert numbers_read(read(kind, answer)) == numbers_read(expected(kind, listed.rows if order == "asc" else listed.rows[::-1]))


@each_listing
def test_export_in_pages_contains_each_row_once(client: FlaskClient, listed: Listed) -> None:
    for kind in MIMETYPES:
        rows: list[Row] = []
        token: str | None = ""
        while token is not None:
            answer = request(client, listed, format=kind, limit=3, **({"page_token": token} if token else {}))
            rows += read(kind, answer)
            token = answer.headers.get("X-Next-Page-Token")
        assert numbers_read(rows) == numbers_read(expected(kind, listed.rows)), kind


def numbers_read(rows: list[Row]) -> list[Row]:
    """Return the rows with numbers in the fields of numbers.

    PostgreSQL writes `0` for the `0.0` of Python, so texts differ.
    """
    names = {"volatility", "annualised", "correlation", "value", "previous", "threshold"}
    return [{name: float(value) if name in names and value not in (None, "") else value for name, value in row.items()} for row in rows]


AWKWARD = [1.0, 1 / 3, 0.1 + 0.2, 1e-5, 1e22, 5e-324, 1.7976931348623157e308, 0.0]


def test_number_keeps_all_its_digits(empty: FlaskClient, store: Store) -> None:
    with store.transaction() as cursor:
        write_volatility(cursor, [VolatilityRow("EUR_USD", "ewma", FIRST + n * HOUR, value, value, 1) for n, value in enumerate(AWKWARD)])
    assert [row["volatility"] for row in get(empty, "/volatility", symbol="EUR_USD")["volatility"]] == AWKWARD
    file = get(empty, "/volatility", symbol="EUR_USD", format="csv").text
    assert [float(row["annualised"]) for row in csv.DictReader(io.StringIO(file))] == AWKWARD


def test_stored_nan_and_infinity_are_not_sent(empty: FlaskClient, store: Store) -> None:
    with store.transaction() as cursor:
        write_volatility(
            cursor,
            [VolatilityRow("EUR_USD", "ewma", FIRST + n * HOUR, value, 1.5, 1) for n, value in enumerate([math.nan, math.inf, -math.inf])],
        )
    rows = get(empty, "/volatility", symbol="EUR_USD")["volatility"]
    assert [(row["volatility"], row["annualised"]) for row in rows] == [(None, 1.5)] * 3
    file = get(empty, "/volatility", symbol="EUR_USD", format="csv").text
    assert [row["volatility"] for row in csv.DictReader(io.StringIO(file))] == [""] * 3


def test_estimators_equal_those_of_the_job() -> None:
    assert set(ESTIMATORS) == {*ESTIMATORS_OF_THE_JOB, ALERT}


def test_alerts_are_filtered_by_each_argument(client: FlaskClient) -> None:
    assert {row["state"] for row in ALERT_ROWS} == {"firing", "resolved"}
    for name in ("type", "severity", "state", "subject"):
        for value in {row[name] for row in ALERT_ROWS}:
            assert get(client, "/alerts", **{name: value})["alerts"] == [row for row in ALERT_ROWS if row[name] == value]
    for symbol in ("EUR_USD", "GBP_USD", "BTCUSDT", "USD_JPY"):
        assert get(client, "/alerts", symbol=symbol)["alerts"] == [row for row in ALERT_ROWS if symbol in (row["symbol"], row["symbol2"])]


def test_correlation_history_is_filtered_by_method(client: FlaskClient) -> None:
    pair: dict[str, Any] = {"symbol1": "GBP_USD", "symbol2": "EUR_USD"}
    assert {row["correlation"] for row in get(client, "/correlation/history", **pair, method="spearman")["history"]} == {0.25}
    assert get(client, "/correlation/history", **pair, method="ewma")["history"] == []


def test_latest_volatility_lists_each_instrument(client: FlaskClient) -> None:
    body = get(client, "/volatility/latest")
    assert list(body) == ["volatility", "thresholds", "count", "timestamp"]
    assert body["thresholds"] == {symbol: {"warning": 0.02, "critical": 0.04} for symbol in ("EUR_USD", "GBP_USD")}
    assert body["count"] == 2
    last = [row for row in VOLATILITY if row.time == VOLATILITY[-1].time]
    assert 1 < len(last) < len(ESTIMATORS), "an estimator that is not available, whose older figure must not appear"
    assert body["volatility"] == {"EUR_USD": latest_of(last), "GBP_USD": latest_of([estimate(1, "ewma", "GBP_USD")])}


def latest_of(rows: list[VolatilityRow]) -> Row:
    """Return an instrument as /volatility/latest has it."""
    return {
        "time": format_time(rows[0].time),
        "estimators": {
            row.estimator: {"volatility": row.volatility, "annualised": row.annualised, "observations": row.observations} for row in rows
        },
    }


def test_latest_volatility_of_some_symbols_lists_only_these(client: FlaskClient) -> None:
    assert list(get(client, "/volatility/latest", symbols="GBP_USD,USD_JPY")["volatility"]) == ["GBP_USD"]
    for name in ESTIMATORS:
        last = [row for row in VOLATILITY if row.estimator == name][-1:]
        assert get(client, "/volatility/latest", symbols="EUR_USD", estimator=name)["volatility"] == {"EUR_USD": latest_of(last)}
    assert get(client, "/volatility/latest", symbols="USD_JPY")["count"] == 0
    assert refusal(client, "/volatility/latest", 404, symbols="EUR_USD,FOO") == ("unknown_instrument", {"symbols": ["FOO"]})


@pytest.mark.parametrize("kind", MIMETYPES)
def test_latest_volatility_is_exported_in_each_format(client: FlaskClient, kind: str) -> None:
    answer = get(client, "/volatility/latest", format=kind)
    assert (answer.mimetype, answer.headers["Content-Disposition"]) == (
        MIMETYPES[kind],
        f'attachment; filename="volatility_latest.{kind}"',
    )
    rows = [
        {"symbol": symbol, "time": each["time"], "estimator": name, **figures}
        for symbol, each in get(client, "/volatility/latest")["volatility"].items()
        for name, figures in each["estimators"].items()
    ]
    assert len(rows) > 2
    assert read(kind, answer) == expected(kind, rows)


def test_listing_without_rows_is_empty(empty: FlaskClient) -> None:
    assert get(empty, "/volatility", symbol="EUR_USD") == {"symbol": "EUR_USD", "volatility": [], "next_page_token": None}
    latest = get(empty, "/volatility/latest")
    assert (latest["volatility"], latest["count"]) == ({}, 0)
    assert get(empty, "/volatility/latest", format="csv").text == "symbol,time,estimator,volatility,annualised,observations\n"
    assert get(empty, "/volatility/latest", format="ndjson").data == b""
    assert get(empty, "/correlation/history", symbol1="EUR_USD", symbol2="GBP_USD")["history"] == []
    assert get(empty, "/alerts") == {"alerts": [], "next_page_token": None}


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_unknown_instrument_is_404(empty: FlaskClient, kind: str) -> None:
    for path, query, argument in [
        ("/volatility", {"symbol": "FOO"}, "symbol"),
        ("/correlation/history", {"symbol1": "FOO", "symbol2": "EUR_USD"}, "symbol1"),
        ("/correlation/history", {"symbol1": "EUR_USD", "symbol2": "FOO"}, "symbol2"),
        ("/alerts", {"symbol": "FOO"}, "symbol"),
        ("/correlation", {"symbols": "FOO"}, "symbols"),
    ]:
        assert refusal(empty, path, 404, **query, format=kind) == ("unknown_instrument", {argument: ["FOO"]})


@pytest.mark.parametrize(
    ("path", "query", "argument"),
    [
        ("/volatility", {}, "symbol"),
        ("/volatility", {"symbol": "EUR_USD", "estimator": "garch"}, "estimator"),
        ("/volatility", {"symbol": "EUR_USD", "limit": "0"}, "limit"),
        ("/volatility/latest", {"estimator": "garch"}, "estimator"),
        ("/volatility/latest", {"symbols": ","}, "symbols"),
        ("/volatility/latest", {"format": "xml"}, "format"),
        ("/correlation", {"as_of": "yesterday"}, "as_of"),
        ("/correlation", {"method": "kendall"}, "method"),
        ("/correlation", {"symbols": ""}, "symbols"),
        ("/correlation", {"format": "xlsx"}, "format"),
        ("/correlation/history", {"symbol1": "EUR_USD"}, "symbol2"),
        ("/correlation/history", {"symbol2": "EUR_USD"}, "symbol1"),
        ("/correlation/history", {"symbol1": "EUR_USD", "symbol2": "GBP_USD", "method": "kendall"}, "method"),
        ("/alerts", {"type": "price"}, "type"),
        ("/alerts", {"severity": "mild"}, "severity"),
        ("/alerts", {"page_token": "e30"}, "page_token"),
    ],
)
def test_invalid_argument_is_named(empty: FlaskClient, path: str, query: dict[str, str], argument: str) -> None:
    code, details = refusal(empty, path, 422, **query)
    assert code == "invalid_payload"
    assert list(details) == [argument]


@pytest.mark.parametrize(
    ("path", "query", "argument"),
    [
        ("/volatility", {"symbol": "EUR_USD", "start": "2024-03-01", "end": "2024-02-01"}, "end"),
        ("/correlation/history", {"symbol1": "EUR_USD", "symbol2": "EUR_USD"}, "symbol2"),
    ],
)
def test_contradictory_argument_is_named(empty: FlaskClient, path: str, query: dict[str, str], argument: str) -> None:
    code, details = refusal(empty, path, 422, **query)
    assert code == "invalid_payload"
    assert list(details) == [argument]


def test_refused_estimator_or_method_lists_the_valid_ones(empty: FlaskClient) -> None:
    for path, query, names in [
        ("/volatility", {"symbol": "EUR_USD", "estimator": "garch"}, ESTIMATORS),
        ("/volatility/latest", {"estimator": "garch"}, ESTIMATORS),
        ("/correlation", {"method": "kendall"}, METHODS),
    ]:
        _, details = refusal(empty, path, 422, **query)
        (message,) = itertools.chain(*details.values())
        assert all(name in message for name in names)


def test_token_of_another_listing_or_filter_is_refused(client: FlaskClient) -> None:
    pair = {"symbol1": "EUR_USD", "symbol2": "GBP_USD"}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/volatility", {"symbol": "EUR_USD"}),
        ("/volatility", {"symbol": "EUR_USD", "estimator": "ewma"}),
        ("/correlation/history", pair),
        ("/correlation/history", {**pair, "method": "spearman"}),
        ("/alerts", {}),
        ("/alerts", {"symbol": "EUR_USD"}),
    ]
    tokens = [get(client, path, **query, limit=1)["next_page_token"] for path, query in asked]
    assert all(tokens)
    for (place, (path, query)), (other, token) in itertools.product(enumerate(asked), enumerate(tokens)):
        get(client, path, 200 if place == other else 422, **query, limit=1, page_token=token)
