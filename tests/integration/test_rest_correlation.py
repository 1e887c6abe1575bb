"""/correlation: the matrix in each format."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.rest.routes.correlation import MAX_REPAIRED, Matrix
from config.settings import Settings
from db.bus import Bus
from db.correlations import METHODS, write_constants, write_correlations
from db.postgres import Store
from db.timestamps import format_time
from jobs.analytics.correlation import METHODS as METHODS_OF_THE_JOB
from jobs.figures.daily import SHRUNK
from tests.support.listings import MIMETYPES, get, refusal

FIRST = datetime(2024, 2, 29, tzinfo=UTC)
DAY = timedelta(days=1)

SYMBOLS = ["BTCUSDT", "EUR_USD", "GBP_USD", "USD_JPY"]
PAIRS = list(itertools.combinations(SYMBOLS, 2))
VALUES = [0.1, -0.25, None, 0.87, 1.0, -1.0]
COUNTS = [720, 480, 12, 479, 48, 50]
MATRIX = [
    [1.0, 0.1, -0.25, None],
    [0.1, 1.0, 0.87, 1.0],
    [-0.25, 0.87, 1.0, -1.0],
    [None, 1.0, -1.0, 1.0],
]
OBSERVATIONS = [
    [None, 720, 480, 12],
    [720, None, 479, 48],
    [480, 479, None, 50],
    [12, 48, 50, None],
]


@pytest.fixture
def empty(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]) -> FlaskClient:
    return create_app(settings, bus, store, clock, "1.2.3").test_client()


@pytest.fixture
def matrices(empty: FlaskClient, store: Store) -> FlaskClient:
    """Matrices of two days by Pearson, the second with values of 0.5.

    Other methods have only the first day.
    """
    with store.transaction() as cursor:
        for method in METHODS:
            write_correlations(cursor, FIRST, method, PAIRS, VALUES if method == "pearson" else [0.0] * 6, COUNTS)
        write_correlations(cursor, FIRST + DAY, "pearson", PAIRS, [0.5] * 6, COUNTS)
    return empty


def test_newest_matrix_is_returned(matrices: FlaskClient) -> None:
    body = get(matrices, "/correlation", as_of=format_time(FIRST))
    assert list(body) == ["as_of", "method", "symbols", "matrix", "observations", "timestamp"]
    assert (body["as_of"], body["method"], body["symbols"]) == (format_time(FIRST), "pearson", SYMBOLS)
    assert body["matrix"] == MATRIX
    assert body["observations"] == OBSERVATIONS


def test_as_of_returns_the_last_matrix_up_to_that_time(matrices: FlaskClient) -> None:
    microsecond = timedelta(microseconds=1)
    for as_of, found in [
        (FIRST, FIRST),
        (FIRST + DAY - microsecond, FIRST),
        (FIRST + DAY, FIRST + DAY),
        (FIRST + 99 * DAY, FIRST + DAY),
    ]:
        assert get(matrices, "/correlation", as_of=format_time(as_of))["as_of"] == format_time(found)
    assert get(matrices, "/correlation")["as_of"] == format_time(FIRST + DAY)
    before = format_time(FIRST - microsecond)
    assert refusal(matrices, "/correlation", 404, as_of=before) == ("no_data", {"method": ["pearson"], "as_of": [before]})


def test_method_selects_its_matrix(matrices: FlaskClient) -> None:
    for method in METHODS:
        body = get(matrices, "/correlation", method=method)
        assert (body["method"], body["as_of"]) == (method, format_time(FIRST + DAY if method == "pearson" else FIRST))
        assert body["matrix"][0][1] == (0.5 if method == "pearson" else 0.0)


def test_symbols_select_a_part_of_the_matrix(matrices: FlaskClient) -> None:
    body = get(matrices, "/correlation", as_of=format_time(FIRST), symbols="USD_JPY,EUR_USD,NZD_USD,BTCUSDT")
    assert body["symbols"] == ["USD_JPY", "EUR_USD", "BTCUSDT"], "NZD_USD is in no matrix"
    assert body["matrix"] == [[1.0, 1.0, None], [1.0, 1.0, 0.1], [None, 0.1, 1.0]]
    assert body["observations"] == [[None, 48, 12], [48, None, 720], [12, 720, None]]
    assert get(matrices, "/correlation", symbols="EUR_USD")["matrix"] == [[1.0]]
    assert get(matrices, "/correlation", symbols="NZD_USD")["matrix"] == []
    assert refusal(matrices, "/correlation", 404, symbols="EUR_USD,FOO,BAR") == ("unknown_instrument", {"symbols": ["FOO", "BAR"]})


def test_matrix_as_csv_is_a_table(matrices: FlaskClient) -> None:
    answer = get(matrices, "/correlation", as_of=format_time(FIRST), format="csv")
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="correlation_pearson_2024-02-29.csv"'
    assert answer.text == (
        ",BTCUSDT,EUR_USD,GBP_USD,USD_JPY\n"
        "BTCUSDT,1.0,0.1,-0.25,\n"
        "EUR_USD,0.1,1.0,0.87,1.0\n"
        "GBP_USD,-0.25,0.87,1.0,-1.0\n"
        "USD_JPY,,1.0,-1.0,1.0\n"
    )
    assert (
        get(matrices, "/correlation", symbols="USD_JPY,EUR_USD", format="csv").text
        == ",USD_JPY,EUR_USD\nUSD_JPY,1.0,0.5\nEUR_USD,0.5,1.0\n"
    )


def test_matrix_as_ndjson_has_a_line_per_pair(matrices: FlaskClient) -> None:
    answer = get(matrices, "/correlation", as_of=format_time(FIRST), format="ndjson")
    assert answer.mimetype == "application/x-ndjson"
    assert [orjson.loads(line) for line in answer.data.splitlines()] == [
        {"as_of": format_time(FIRST), "method": "pearson", "symbol1": first, "symbol2": second, "correlation": value, "observations": count}
        for (first, second), value, count in zip(PAIRS, VALUES, COUNTS, strict=True)
    ]


@given(size=st.integers(2, 12), data=st.data())
def test_matrix_is_symmetric_in_the_order_of_its_symbols(size: int, data: st.DataObject) -> None:
    names = [f"S{number:02}" for number in range(size)]
    stored = {pair: (data.draw(st.none() | st.floats(-1, 1)), data.draw(st.integers(0, 720))) for pair in itertools.combinations(names, 2)}
    asked = data.draw(st.none() | st.lists(st.sampled_from([*names, "ABSENT"]), unique=True))
    matrix = Matrix.of([(*pair, *values) for pair, values in stored.items()], asked)
    assert matrix.symbols == (names if asked is None else [name for name in asked if name != "ABSENT"])
    for (i, first), (j, second) in itertools.product(enumerate(matrix.symbols), repeat=2):
        value, count = (1.0, None) if i == j else stored[min(first, second), max(first, second)]
        assert (matrix.correlations[i][j], matrix.observations[i][j]) == (value, count)


@pytest.mark.parametrize("kind", ["json", *MIMETYPES])
def test_correlation_without_a_matrix_is_no_data(empty: FlaskClient, kind: str) -> None:
    assert refusal(empty, "/correlation", 404, format=kind) == ("no_data", {"method": ["pearson"]})


def test_methods_equal_those_of_the_job() -> None:
    assert set(METHODS) == {*METHODS_OF_THE_JOB, SHRUNK}


CONTRADICTION = [0.9, 0.9, None, -0.9, 0.3, None]  # of PAIRS: the first three instruments cannot all be so


def eigenvalues(matrix: list[list[float]]) -> list[float]:
    return [float(value) for value in np.linalg.eigvalsh(np.array(matrix))]


def test_repaired_matrix_is_the_nearest_valid_one(empty: FlaskClient, store: Store) -> None:
    with store.transaction() as cursor:
        write_correlations(cursor, FIRST, "pearson", PAIRS, CONTRADICTION, COUNTS)
    plain = get(empty, "/correlation", symbols="BTCUSDT,EUR_USD,GBP_USD")
    assert min(eigenvalues(plain["matrix"])) < -0.5
    assert "repaired" not in plain
    body = get(empty, "/correlation", symbols="BTCUSDT,EUR_USD,GBP_USD", repair="psd")
    assert list(body) == ["as_of", "method", "repaired", "symbols", "matrix", "observations", "timestamp"]
    assert body["repaired"] is True
    assert (body["symbols"], body["observations"]) == (plain["symbols"], plain["observations"])
    repaired = np.array(body["matrix"])
    assert min(eigenvalues(body["matrix"])) > -1e-9
    assert np.diagonal(repaired).tolist() == [1.0, 1.0, 1.0]
    assert (repaired == repaired.T).all()
    # The three are alike except for signs, so the nearest matrix has 0.5 in place of 0.9.
    np.testing.assert_allclose(np.abs(repaired[np.triu_indices(3, 1)]), 0.5, atol=1e-6)


def test_repaired_matrix_is_null_for_instruments_without_all_correlations(empty: FlaskClient, store: Store) -> None:
    with store.transaction() as cursor:
        write_correlations(cursor, FIRST, "pearson", PAIRS, CONTRADICTION, COUNTS)
    body = get(empty, "/correlation", repair="psd")
    assert body["symbols"] == SYMBOLS
    assert body["matrix"][3] == [None] * 4
    assert [row[3] for row in body["matrix"]] == [None] * 4
    assert min(eigenvalues([row[:3] for row in body["matrix"][:3]])) > -1e-9


def test_repair_leaves_a_valid_matrix_unchanged(matrices: FlaskClient) -> None:
    plain = get(matrices, "/correlation")
    assert get(matrices, "/correlation", repair="psd")["matrix"] == plain["matrix"]
    assert get(matrices, "/correlation", repair="psd", symbols="NZD_USD")["matrix"] == []


def test_repair_of_more_than_100_instruments_is_refused(empty: FlaskClient, store: Store) -> None:
    names = [f"S{number:03}" for number in range(MAX_REPAIRED + 1)]
    pairs = list(itertools.combinations(names, 2))
    with store.transaction() as cursor:
        write_correlations(cursor, FIRST, "pearson", pairs, [0.5] * len(pairs), [720] * len(pairs))
    fault = "repair takes at most 100 instruments, and this matrix has 101: name some in symbols"
    assert refusal(empty, "/correlation", 422, repair="psd") == ("invalid_payload", {"symbols": [fault]})
    assert get(empty, "/correlation", repair="psd", symbols=",".join(names[1:]))["symbols"] == names[1:]
    assert get(empty, "/correlation")["symbols"] == names


def test_repaired_matrix_in_every_format(matrices: FlaskClient) -> None:
    sheet = get(matrices, "/correlation", repair="psd", format="csv", symbols="EUR_USD,GBP_USD")
    assert sheet.headers["Content-Disposition"] == 'attachment; filename="correlation_pearson_2024-03-01_psd.csv"'
    assert sheet.text == ",EUR_USD,GBP_USD\nEUR_USD,1.0,0.5\nGBP_USD,0.5,1.0\n"
    lines = get(matrices, "/correlation", repair="psd", format="ndjson").data.splitlines()
    assert [orjson.loads(line)["repaired"] for line in lines] == [True] * 6
    assert refusal(matrices, "/correlation", 422, repair="yes") == ("invalid_payload", {"repair": ["Must be one of: psd."]})


def test_diagonal_is_null_for_instruments_without_variance(matrices: FlaskClient, store: Store) -> None:
    with store.transaction() as cursor:
        write_constants(cursor, FIRST, ["USD_JPY", "GBP_USD"])
        write_constants(cursor, FIRST, ["USD_JPY"])
    body = get(matrices, "/correlation", as_of=format_time(FIRST))
    assert [body["matrix"][place][place] for place in range(4)] == [1.0, 1.0, 1.0, None]
    assert get(matrices, "/correlation", as_of=format_time(FIRST), symbols="USD_JPY", format="csv").text == ",USD_JPY\nUSD_JPY,\n"
    assert get(matrices, "/correlation")["matrix"][3][3] == 1.0, "of another day"
