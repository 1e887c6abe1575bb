"""The programs in clients/examples against a running system."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import matplotlib.image
import numpy as np
import pytest

from config.settings import Settings
from db.bus import Bus
from tests.conftest import until
from tests.support.clients import PythonClient
from tests.support.ports import free_port
from tests.support.processes import ROOT, Running, Web, jobs

EXAMPLES = ROOT / "clients/examples"
ENVIRON = {"PYTHONPATH": str(ROOT / "clients/python"), "MPLBACKEND": "svg"}  # the report selects its own back end


def finished(*arguments: object, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run an example to its end."""
    environ = {**os.environ, **ENVIRON}
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=seconds, check=False, env=environ)


def get(rest: Web, path: str, **query: Any) -> dict[str, Any]:
    with urllib.request.urlopen(f"{rest.url}{path}?{urlencode(query)}", timeout=60) as answer:  # noqa: S310
        return dict(json.load(answer))


# the daily report


def report(rest: Web, folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return finished(EXAMPLES / "daily_report.py", "--rest", rest.url, "--out", folder, *options)


def rows(path: Path) -> dict[str, list[dict[str, str]]]:
    """Return symbol -> its rows of the CSV file."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(path.read_text(), newline="")):
        found.setdefault(row["symbol"], []).append(row)
    return found


def looks_drawn(path: Path) -> bool:
    """Return True if each half of the picture has more than ten colours."""
    pixels = matplotlib.image.imread(path)[:, :, :3]
    middle = pixels.shape[1] // 2
    return pixels.shape[1] > 1000 and all(
        len(np.unique(half.reshape(-1, 3), axis=0)) > 10 for half in (pixels[:, :middle], pixels[:, middle:])
    )


@pytest.mark.slow
def test_daily_report_of_the_synthetic_past_has_the_figures_of_the_store(settings: Settings, tmp_path: Path) -> None:
    """Candles equal the store digit by digit; figures equal those of numpy."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with (
        jobs(settings, tmp_path / "jobs.log", SOURCES="synthetic", SYNTHETIC_SEED="7"),
        Web("rest", settings, tmp_path / "rest.log") as rest,
    ):
        done = {"daily_correlation_job": "succeeded"}
        until(lambda: done.items() <= outcomes(rest).items(), 90, "the past and its correlations")
        day = {"interval": "1h", "start": f"{yesterday}T00:00:00Z", "end": f"{yesterday + timedelta(days=1)}T00:00:00Z"}
        stored = {symbol: get(rest, "/candles", symbol=symbol, **day)["candles"] for symbol in ("EUR_USD", "BTCUSDT")}

        told = report(rest, tmp_path / "out", "--day", yesterday, "--symbols", "EUR_USD,BTCUSDT")
        assert (told.returncode, told.stderr) == (0, "")
        assert "Correlation of hourly returns, 30 days to" in told.stdout
        table = rows(tmp_path / f"out/{yesterday}.csv")
        for symbol, candles in stored.items():
            names = ("start_time", "end_time", "open", "high", "low", "close", "volume")
            assert [[row[name] for name in names] for row in table[symbol]] == [[candle[name] for name in names] for candle in candles]
            assert len(candles) == 24
            closes = np.array([float(candles[0]["open"]), *(float(candle["close"]) for candle in candles)])
            returns = np.diff(np.log(closes))
            assert np.allclose([float(row["log_return"]) for row in table[symbol]], returns, rtol=0, atol=1e-8)
            volatility = float(np.sqrt(np.sum(returns**2)))
            assert float(table[symbol][-1]["realised_volatility"]) == pytest.approx(volatility, abs=1e-8)
            assert f"{volatility:.2%}" in told.stdout
        assert looks_drawn(tmp_path / f"out/{yesterday}.png")

        earlier = yesterday - timedelta(days=10)  # a day without a stored matrix
        told = report(rest, tmp_path, "--day", earlier, "--interval", "4h")
        assert told.returncode == 0, told.stderr
        assert "Correlation of the day's returns" in told.stdout
        assert len(rows(tmp_path / f"{earlier}.csv")) == 4
        assert looks_drawn(tmp_path / f"{earlier}.png")

        told = report(rest, tmp_path / "none", "--day", "2001-01-01")
        assert (told.returncode, "no 1h candles on 2001-01-01" in told.stderr) == (1, True)
        assert not (tmp_path / "none").exists()
        start, reader = datetime(2026, 1, 1, tzinfo=UTC), imported("daily_report").Rest(rest.url)
        with pytest.raises(SystemExit, match="NOPE"):
            reader.candles("NOPE", "1h", start, start + timedelta(days=1))
    with pytest.raises(SystemExit, match="does not answer"):
        reader.candles("EUR_USD", "1h", start, start + timedelta(days=1))


def outcomes(rest: Web) -> dict[str, str]:
    """Return job -> outcome of its last run."""
    return {job["id"]: job["last_run"]["outcome"] for job in get(rest, "/jobs")["jobs"] if job["last_run"]}


def test_correlation_of_the_daily_report_is_that_of_pearson() -> None:
    module = imported("daily_report")
    drawn = np.random.default_rng(7).normal(size=(2, 24)) / 100
    closes = np.exp(np.cumsum([drawn[0], drawn[0] + drawn[1]], axis=1))
    series = []
    for symbol, prices in zip(("A", "B"), closes, strict=True):
        opens = [1.0, *prices[:-1]]
        candles = [
            {"start_time": f"{n:02}", "open": str(first), "close": str(last)}
            for n, (first, last) in enumerate(zip(opens, prices, strict=True))
        ]
        series.append(module.Series.of(symbol, candles))
    matrix = module.correlation_of_the_day(series)
    assert matrix.symbols == ["A", "B"]
    assert np.allclose(matrix.rows, np.corrcoef([each.returns for each in series]))
    few = [module.Series.of(each.symbol, each.candles[:2]) for each in series]
    assert module.correlation_of_the_day(few).rows == [[1.0, None], [None, 1.0]]


def imported(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look for their types there
    spec.loader.exec_module(module)
    return module


# the bot

WINDOW, HALF_SPREAD = 20, Decimal("0.00002")
DIP = "1.09000"


class Market:
    """Publishes prices of EUR_USD: quiet ones around 1.1, or a given one."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.published = 0

    def price(self, mid: str) -> None:
        bid, ask = (str(Decimal(mid) + side * HALF_SPREAD) for side in (-1, 1))
        self._bus.cache_price("EUR_USD", bid=bid, ask=ask, mid=mid, time=datetime.now(UTC))
        self.published += 1

    def quiet(self, count: int = WINDOW) -> None:
        for number in range(count):
            self.price(("1.09995", "1.10005")[number % 2])

    def warn(self, severity: str) -> None:
        self._bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity=severity)

    def await_stored(self) -> None:
        until(lambda: self._bus.unstored() == 0, 60, "everything in the store")


@pytest.fixture
def market(bus: Bus) -> Market:
    return Market(bus)


class Bot(Running):
    """The bot on EUR_USD, up to `count` prices."""

    def __init__(self, hub: Web, rest: Web, folder: Path, count: int, *options: str) -> None:
        argv = [sys.executable, str(EXAMPLES / "mean_reversion_bot.py"), "EUR_USD", "--hub", hub.url, "--rest", rest.url]
        argv += ["--window", str(WINDOW), "--stop", "1000000", "--pause", "5", "--max-age", "60", "--count", str(count), *options]
        super().__init__(argv, ENVIRON, folder / f"bot-{free_port()}.log")

    def await_told(self, words: str, count: int = 1) -> str:
        """Wait for the `count`th line with these words; return it."""

        def line() -> str | None:
            assert self.popen is not None
            ended = self.popen.poll() is not None
            found = [line for line in self.output().splitlines() if words in line]
            assert len(found) >= count or not ended, self.output()
            return found[count - 1] if len(found) >= count else None

        return str(until(line, 30, words))

    def ended(self) -> list[str]:
        """Wait until it exits with 0; return its lines."""
        assert self.popen is not None
        assert self.popen.wait(60) == 0, self.output()
        return self.output().splitlines()


def await_subscribed(hub: Web) -> None:
    """Wait until a client has subscribed to EUR_USD: the bot trades at later prices only."""
    with PythonClient(hub.url) as client:
        until(lambda: client.stats()["subscriptions_by_pair"].get("EUR_USD"), 60, "the bot's subscription")


@contextmanager
def system(settings: Settings, folder: Path) -> Iterator[tuple[Web, Web]]:
    """Run the jobs, the hub and REST."""
    with (
        jobs(settings, folder / "jobs.log"),
        Web("hub", settings, folder / "hub.log") as hub,
        Web("rest", settings, folder / "rest.log") as rest,
    ):
        yield hub, rest


@pytest.mark.slow
def test_bot_trades_on_after_a_kill_of_the_hub_and_its_own_restart(settings: Settings, market: Market, tmp_path: Path) -> None:
    state = tmp_path / "bot.json"
    with system(settings, tmp_path) as (hub, rest):
        market.quiet()
        market.await_stored()
        history, market.published = market.published, 0
        assert history == WINDOW
        with Bot(hub, rest, tmp_path, 61, "--state", str(state)) as bot:
            await_subscribed(hub)
            market.price(DIP)  # history has filled the window
            bot.await_told(" open +")
            market.price("1.10000")
            bot.await_told(" close ")

            market.warn("warning")
            market.price(DIP)  # the bot opens nothing for five prices
            market.quiet(24)
            market.price(DIP)
            bot.await_told(" open +", 2)
            market.warn("critical")
            market.price(DIP)  # closed although the price has not returned

            bot.await_told(" close ", 2)
            hub.kill()
            market.quiet(5)
            hub.start()
            market.quiet(25)
            market.price("1.11000")  # opens in the opposite direction
            market.price("1.12000")
            lines = bot.ended()
        assert [line for line in lines if "volatility" in line] == [
            "EUR_USD warning: volatility 3.00%, opens nothing for 5 prices",
            "EUR_USD critical: volatility 3.00%, opens nothing for 5 prices",
        ]
        assert [line.split(" ", 1)[1] for line in lines if " at " in line] == [
            "EUR_USD open +10000 at 1.09002, earned 0.00000",
            "EUR_USD close -10000 at 1.09998, earned 99.60000",
            "EUR_USD open +10000 at 1.09002, earned 99.60000",
            "EUR_USD close -10000 at 1.08998, earned 99.20000",
            "EUR_USD open -10000 at 1.10998, earned 99.20000",
        ]
        assert market.published == 61
        assert lines[-1] == "EUR_USD: 61 prices, position -10000, earned 99.20000, open -100.40000"
        assert json.loads(state.read_text()) == {"EUR_USD": {"units": -10000, "entry": "1.10998", "earned": "99.20000"}}

        market.quiet(3)
        market.await_stored()
        with Bot(hub, rest, tmp_path, 1, "--state", str(state)) as bot:  # the next run continues after the stored prices
            await_subscribed(hub)
            market.price("1.09000")
            lines = bot.ended()
        assert lines[-1] == "EUR_USD: 1 prices, position +0, earned 298.80000, open 0.00000"


@pytest.mark.slow
def test_bot_ignores_prices_that_are_too_old(settings: Settings, market: Market, tmp_path: Path) -> None:
    with system(settings, tmp_path) as (hub, rest):
        market.quiet()
        market.await_stored()
        with Bot(hub, rest, tmp_path, 2, "--max-age", "0") as bot:
            await_subscribed(hub)
            market.price(DIP)
            market.price("1.10000")
            assert bot.ended() == ["EUR_USD: 2 prices, position +0, earned 0, open 0.00000"]

        nobody = finished(EXAMPLES / "mean_reversion_bot.py", "NOPE", "--hub", hub.url, "--rest", rest.url)
        assert nobody.returncode == 1
        assert "NOPE" in nobody.stderr
        assert "Traceback" not in nobody.stderr
    nowhere = finished(EXAMPLES / "mean_reversion_bot.py", "EUR_USD", "--hub", hub.url, "--rest", rest.url)
    assert nowhere.returncode == 1
    assert "Traceback" not in nowhere.stderr


@pytest.mark.parametrize("name", ["mean_reversion_bot", "daily_report"])
def test_example_program_prints_its_usage(name: str) -> None:
    told = finished(EXAMPLES / f"{name}.py", "--help")
    assert told.returncode == 0
    assert "usage:" in told.stdout


def test_bot_has_fewer_than_130_lines() -> None:
    assert len((EXAMPLES / "mean_reversion_bot.py").read_text().splitlines()) < 130
