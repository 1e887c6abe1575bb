"""The first minutes with Tickwire: `watch`, its texts, errors of both clients, several symbols."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from tickwire_client import AsyncClient, Client, Refused
from tickwire_client.__main__ import DEFAULT_PAIRS
from tickwire_client.messages import Gap, Tick
from tickwire_client.table import PriceTable

from api.app import create_app
from api.errors import unknown_instrument
from api.nearest import nearest, suggestion
from config import settings as settings_module
from db.bus import Bus
from db.postgres import Store
from db.timestamps import format_time, utc_now
from tests.examples.example import DOCUMENTS
from tests.support.canned_http import canned
from tests.support.clients import node
from tests.support.ports import free_port
from tests.support.processes import ROOT

INSTRUMENTS = frozenset({"AAPL", "AUD_USD", "BTCUSDT", "ETHUSDT", "EUR_GBP", "EUR_USD", "GBP_USD", "MSFT", "USD_JPY"})
VENDOR = ROOT / "clients/web/vendor"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


# watch


def watch(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run `manage.py watch` without a running system; return exit code and standard error."""
    environ = {**os.environ, "HUB_DATA_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "manage.py", "watch", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_watch_without_a_running_system_names_the_remedy(tmp_path: Path) -> None:
    text = f"Error: nothing runs on HUB_DATA_DIR={tmp_path}; set HUB_DATA_DIR as for make run, or --url\n"
    assert watch(tmp_path) == (1, text)


def test_watch_without_a_hub_at_the_address_names_url(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert watch(tmp_path, "EUR_USD", "--url", url) == (1, f"no connection to {url} (refused): --url names another hub\n")


def test_default_symbols_of_watch_are_in_the_help_and_exist() -> None:
    shown = subprocess.run([sys.executable, "manage.py", "watch", "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert " ".join(DEFAULT_PAIRS) in " ".join(shown.split())
    migrations = "".join(file.read_text() for file in (ROOT / "db/migrations").iterdir() if file.is_file())
    assert all(f"'{symbol}'" in migrations for symbol in DEFAULT_PAIRS)


def tick(instrument: str, mid: str, second: int = 0) -> Tick:
    price = Decimal(mid)
    time = NOON + timedelta(seconds=second)
    return Tick(instrument, price - 1, price + 1, price, time, time, second, "epoch")


class OneByOne:
    """Items of a stream, each before the next drawing; then the stream is closed."""

    def __init__(self, *items: Tick | Gap) -> None:
        self._items = list(items)
        self._given = False

    @property
    def closed(self) -> bool:
        return not self._items

    def get(self, timeout: float | None = None) -> Tick | Gap | None:
        self._given = not self._given
        return self._items.pop(0) if self._given else None


def drawings(table: PriceTable, output: io.StringIO, *items: Tick | Gap) -> list[list[str]]:
    """Show the items; return the lines of each drawing, without codes of the terminal."""
    table.show(OneByOne(*items))  # type: ignore[arg-type]
    parts = output.getvalue().split("\x1b[J")[:-1]
    return [[re.sub(r"\x1b\[\d*[A-Za-z]", "", line).rstrip() for line in part.splitlines()] for part in parts]


def test_price_table_draws_every_instrument_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("NO_COLOR", "1")
    output = io.StringIO()
    table = PriceTable(["EUR_USD", "AAPL"], output)
    items = (tick("EUR_USD", "5"), tick("EUR_USD", "6", 1), tick("EUR_USD", "4", 2), Gap("EUR_USD", 3, "slow_reader"))
    first, *middle, last = drawings(table, output, *items)
    assert [line.split() for line in first[1:3]] == [["EUR_USD", "no", "price", "yet"], ["AAPL", "no", "price", "yet"]]
    assert [draw[1].split() for draw in middle[:2]] == [
        ["EUR_USD", "4", "6", "12:00:00.000000"],
        ["EUR_USD", "5", "7", "▲", "12:00:01.000000"],
    ]
    assert last[1].split() == ["EUR_USD", "3", "5", "▼", "12:00:02.000000"]
    assert last[-1] == "EUR_USD: 3 messages are missing (slow_reader)"
    assert "\x1b[4F" in output.getvalue()  # back to the heading
    assert "\x1b[32m" not in output.getvalue()


def test_price_table_of_many_instruments_fits_into_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "10")
    output = io.StringIO()
    table = PriceTable([f"X{number}" for number in range(50)], output)
    [drawing] = drawings(table, output)
    assert len(drawing) < 10
    assert drawing[-2] == "… and 44 more"


# the nearest name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EURUSD", "EUR_USD"),
        ("eur/usd", "EUR_USD"),
        ("EUR-USD", "EUR_USD"),
        ("EUR_UDS", "EUR_USD"),
        ("EUR_US", "EUR_USD"),
        ("EUR_USDX", "EUR_USD"),
        ("BTC_USD", "BTCUSDT"),
        ("APPL", "AAPL"),
        ("NOPE", None),
        ("XAU_USD", None),  # AUD_USD differs twice
        ("GBP_UDS", "GBP_USD"),
        ("AAPLL", "AAPL"),
        ("", None),
        ("x" * 1000, None),
        ("🙂", None),
    ],
)
def test_nearest_name_differs_in_notation_or_one_character(name: str, meant: str | None) -> None:
    assert nearest(name, INSTRUMENTS) == meant


@settings(max_examples=50)
@given(st.sampled_from(sorted(INSTRUMENTS)), st.data())
def test_one_missing_character_still_finds_an_instrument(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name) - 1))
    shortened = name[:place] + name[place + 1 :]
    if len(shortened.replace("_", "")) >= 4:
        assert nearest(shortened, INSTRUMENTS) is not None


def test_suggestion_never_names_an_instrument_that_is_not_permitted() -> None:
    assert suggestion(["EURUSD"], INSTRUMENTS) == ": did you mean EUR_USD?"
    assert suggestion(["EURUSD", "GBPUSD", "NOPE"], INSTRUMENTS) == ": did you mean EUR_USD, GBP_USD?"
    assert suggestion(["EURUSD"], INSTRUMENTS, lambda name: name != "EUR_USD") == ""
    assert str(unknown_instrument("EURUSD", INSTRUMENTS)) == "There is no instrument 'EURUSD': did you mean EUR_USD?"
    assert str(unknown_instrument("NOPE", INSTRUMENTS)) == "There is no instrument 'NOPE'."


# errors of the clients

ERRORS = [  # code, message, details -> text
    ("unknown_instrument", "There is no instrument.", {"pair": "EURUSD"}, "There is no instrument. (unknown_instrument; pair: EURUSD)"),
    (
        "invalid_payload",
        "Invalid pairs, n.",
        {"pairs": ["Not a list.", "Empty."], "n": ["Too small."]},
        "Invalid pairs, n. (invalid_payload; pairs: Not a list. Empty.; n: Too small.)",
    ),
    ("no_data", "no such matrix", {"method": ["a", "b"], "at": {"x": [1]}}, 'no such matrix (no_data; method: a, b; at: {"x": [1]})'),
    ("internal", "a fault", {}, "a fault (internal)"),
]


@pytest.mark.parametrize(("code", "message", "details", "text"), ERRORS)
def test_text_of_a_refusal_in_python_has_code_and_details(code: str, message: str, details: dict[str, Any], text: str) -> None:
    assert str(Refused(code, message, details)) == text


def test_text_of_errors_in_javascript_has_the_details_after_the_code() -> None:
    program = """
        import { TickwireError } from "./clients/js/src/errors.js";
        const rows = JSON.parse(process.argv[1]);
        const errors = rows.map(([code, message, details]) => TickwireError.from({ code, message, event: "x", details }));
        console.log(JSON.stringify(errors.map((error) => [error.message, error.toJSON()])));
    """
    argument = json.dumps([row[:3] for row in ERRORS])
    done = subprocess.run([node(), "--input-type=module", "-e", program, argument], cwd=ROOT, capture_output=True, text=True, check=True)
    for (code, message, details, text), (shown, body) in zip(ERRORS, json.loads(done.stdout), strict=True):
        wanted = text if details else message
        assert shown.replace(" ", "") == wanted.replace(" ", "")  # the blanks of nested JSON differ
        assert body == {"code": code, "message": message, "event": "x", "details": details}


# several symbols


@pytest.fixture(scope="module")
def rest() -> FlaskClient:
    """REST without servers."""
    chosen = settings_module.load({"SOURCES": ""}, dotenv=None)
    store = Store("postgresql://127.0.0.1:1/none")
    return create_app(chosen, Bus("redis://127.0.0.1:1/0", utc_now), store, utc_now, "1").test_client()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/candles?symbol=EUR_USD,GBP_USD", "one symbol; Python: client.candles([...])"),
        ("/candles?symbol=EUR_USD,", "one symbol; Python: client.candles([...])"),
        ("/ticks?symbol=EUR_USD,GBP_USD", "one symbol"),
        ("/price/latest?symbol=EUR_USD,GBP_USD", "one symbol; several: symbols=A,B"),
    ],
)
def test_list_of_names_for_one_symbol_is_refused_with_the_way_to_several(rest: FlaskClient, path: str, text: str) -> None:
    answer = rest.get(path)
    assert (answer.status_code, answer.json and answer.json["error"]["details"]) == (422, {"symbol": [text]})


class CandleServer:
    """Candles of hourly closes with holes; `most` requests were answered at the same time."""

    def __init__(self, together: int) -> None:
        names = ["EUR_USD", "GBP_USD", "USD_JPY", "AAPL", "MSFT", "BTCUSDT", "ETHUSDT", "EUR_GBP"]
        times = pd.date_range(NOON, periods=48, freq="1h", name="start_time")
        drawn = np.random.default_rng(7)
        self.closes = pd.DataFrame(drawn.integers(100_000, 200_000, (48, len(names))) / 1e5, index=times, columns=names)
        self.closes = self.closes.mask(drawn.random(self.closes.shape) < 0.2).dropna(how="all")
        self._barrier = threading.Barrier(together)
        self._lock = threading.Lock()
        self._now = self.most = 0
        self.queries: list[Mapping[str, str]] = []

    def answer(self, query: Mapping[str, str]) -> dict[str, Any]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.queries.append(query)
        self._barrier.wait(60)  # breaks if the client sends fewer at once
        with self._lock:
            self._now -= 1
        closes = self.closes[query["symbol"]].dropna()
        return {"candles": [self._candle(time, f"{close:.5f}") for time, close in closes.items()], "next_page_token": None}

    @staticmethod
    def _candle(time: Any, close: str) -> dict[str, Any]:
        times = {"start_time": format_time(time), "end_time": format_time(time + timedelta(hours=1))}
        prices = dict.fromkeys(("open", "high", "low", "close"), close)
        return {**times, **prices, "volume": "1", "complete": True, "trades": None, "source": "test"}


def test_closes_of_several_symbols_equal_those_of_pandas_four_at_once() -> None:
    server = CandleServer(together=4)
    with canned(server.answer) as url:
        closes = Client(rest_url=url).closes([str(name) for name in server.closes], start=timedelta(days=3))
    pd.testing.assert_frame_equal(closes, server.closes, check_names=False, check_freq=False, check_index_type=False, check_dtype=False)
    assert (closes.columns.name, closes.index.name) == ("symbol", "start_time")
    assert closes.isna().sum().sum() == server.closes.isna().sum().sum() > 10
    assert server.most == 4
    assert len({query["start"] for query in server.queries}) == 1  # one moment for all


def test_candles_of_several_symbols_are_a_frame_or_rows_by_symbol() -> None:
    server = CandleServer(together=1)
    with canned(server.answer) as url:
        client = Client(rest_url=url)
        frame = client.candles(["EUR_USD", "AAPL", "EUR_USD"], "1h", as_frame=True)
        assert frame.columns.names == ["symbol", "field"]
        assert list(frame.columns.get_level_values("symbol").unique()) == ["EUR_USD", "AAPL"]
        assert frame["EUR_USD"]["close"].dropna().tolist() == server.closes["EUR_USD"].dropna().tolist()
        newest = client.closes(("EUR_USD",), order="desc")
        assert newest.index.is_monotonic_decreasing
        rows = client.candles(["EUR_USD", "AAPL"])
        assert list(rows) == ["EUR_USD", "AAPL"]
        assert len(rows["AAPL"]) == server.closes["AAPL"].count()
        assert len(list(client.candles("AAPL"))) == len(rows["AAPL"])
        assert client.closes("AAPL").columns.tolist() == ["AAPL"]
        with pytest.raises(ValueError, match="no instruments"):
            client.closes([])
        asyncio.run(_asynchronous(url, server.closes))


async def _asynchronous(url: str, expected: pd.DataFrame) -> None:
    client = AsyncClient(rest_url=url)
    closes = await client.closes(["EUR_USD", "AAPL"])
    assert closes["AAPL"].dropna().tolist() == expected["AAPL"].dropna().tolist()
    assert list(await client.candles(["EUR_USD", "AAPL"])) == ["EUR_USD", "AAPL"]
    assert (await client.candles(["AAPL"], as_frame=True))["AAPL"]["close"].count() == expected["AAPL"].count()
    await client.close()


def test_correlation_takes_its_symbols_by_position() -> None:
    body = {"symbols": ["A", "B"], "matrix": [[1.0, 0.5], [0.5, 1.0]]}
    asked: list[Mapping[str, str]] = []
    with canned(lambda query: asked.append(query) or body) as url:  # type: ignore[func-returns-value]
        assert Client(rest_url=url).correlation(["A", "B"], as_frame=True).loc["A", "B"] == 0.5
    assert asked == [{"method": "pearson", "symbols": "A,B"}]


# the Socket.IO client for pages


def test_rest_serves_the_client_to_pages_of_other_ports(rest: FlaskClient) -> None:
    answer = rest.get("/ui/vendor/socket.io.esm.min.js", headers={"Origin": "http://127.0.0.1:8000"})
    assert (answer.status_code, answer.content_type) == (200, "text/javascript; charset=utf-8")
    assert answer.data == (VENDOR / "socket.io.esm.min.js").read_bytes()
    assert answer.headers["Access-Control-Allow-Origin"] == "http://127.0.0.1:8000"
    wanted = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    assert wanted.items() <= dict(answer.headers).items()
    assert rest.get("/ui/vendor/socket.io.esm.min.js", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert rest.get("/ui/vendor/nothing.js").status_code == rest.get("/ui/").status_code == 404


def test_no_document_loads_a_file_from_another_host() -> None:
    for file in DOCUMENTS:
        sources = re.findall(r"""(?:from|import|src=|href=)\s*["'](https?://[^"']+)""", file.read_text())
        assert [url for url in sources if not url.startswith("http://127.0.0.1:5000/ui/")] == [], file


# README


def test_readme_has_the_first_steps_in_their_order() -> None:
    text = (ROOT / "README.md").read_text()
    places = [
        text.index("ready: REST http://127.0.0.1:5000 hub http://127.0.0.1:5001\nwatch prices: .venv/bin/python manage.py watch\n"),
        text.index("\n.venv/bin/python manage.py watch\n"),
        text.index("## Your own files"),
        text.index(".venv/bin/python manage.py import "),
        text.index(".venv/bin/python manage.py instrument add XAU_USD"),
        text.index("`.venv/bin/python client.py`"),
        text.index("/ui/vendor/socket.io.esm.min.js"),
        text.index('client.publish("XAU_USD"'),
    ]
    assert places == sorted(places)
    assert "At a first start, 60 days of made-up hourly candles exist (`source` is `synthetic`)." in " ".join(text.split())


def test_troubleshooting_is_linked_from_the_three_documents() -> None:
    for name in ("README.md", "docs/REST.md", "docs/WEBSOCKET_DOCUMENTATION.md"):
        assert "troubleshooting.md)" in (ROOT / name).read_text(), name
