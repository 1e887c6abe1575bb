"""The whole system as with `make run`, with the synthetic walk and a local Binance as sources."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2

from db.book_rows import insert_book_rows
from db.calendars import trading_hours
from db.postgres import Store
from tests.conftest import until
from tests.examples.example import places
from tests.examples.reported import ALERT_ID, DISK_LIMITS, RUN_ID, worked_example
from tests.standins.binance import BinanceStandIn
from tests.support.book_rows import stored_book, top
from tests.support.ports import free_port
from tests.support.processes import ROOT, Running

_PER_SECOND = 20
_LIFE = 1800  # seconds of trades at the exchange
_FILL_SECONDS = 5.0  # after which skipped trades without a gap were stored by another fill


class System(Running):
    """`manage.py up` with its own data directory and ports."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.key = ""  # `$KEY` of the documents, after the examples were captured
        self.alert_id = ""  # of the alert about the disk, after `living` has begun
        self.run_id = ""  # of the first run of a scenario, likewise
        rest, hub = free_port(), free_port()
        self.ports = {rest: 5000, hub: 5001}  # port -> that of the documents
        self.rest, self.hub = f"http://127.0.0.1:{rest}", f"http://127.0.0.1:{hub}"
        unset = dict.fromkeys(("DATABASE_URL", "DB_HOST", "REDIS_URL", "REDIS_HOST", "LOG_FILE"), "")
        # the documents replay old recordings
        kept = {f"RETENTION_{table}": "0" for table in ("PRICES", "TRADES", "CANDLES")}
        ours = {"HUB_DATA_DIR": str(folder / "var"), "API_PORT": str(rest), "WEBSOCKET_PORT": str(hub), "INGESTION_INTERVAL_SECONDS": "0.5"}
        super().__init__([sys.executable, "manage.py", "up"], {**unset, **kept, **ours, **variables}, folder / "up.log")

    def start(self) -> None:
        """Start the system and wait for the `ready:` line."""
        super().start()
        until(self._is_ready, 90, "the ready line")

    def _is_ready(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, self.output()[-3000:]
        return "ready:" in self.output()

    @property
    def run(self) -> dict[str, Any]:
        """The content of run.json."""
        return dict(json.loads((self.folder / "var" / "run.json").read_text()))

    def command(self, *words: str) -> str:
        """Run a command of `manage.py` on this system and return its stdout."""
        line = [sys.executable, "manage.py", *words]
        done = subprocess.run(line, cwd=ROOT, env={**os.environ, **self.environ}, check=True, capture_output=True, text=True, timeout=120)
        return done.stdout

    def shown(self, text: str) -> str:
        """The text with the ports, the machine and the ids of the documents."""
        for own, shown in ((self.alert_id, ALERT_ID), (self.run_id, RUN_ID)):
            text = text.replace(own, shown) if own else text
        return places(text, self.ports)

    def get(self, path: str, body: Any = None, key: str = "") -> tuple[int, str, str]:
        """Return status, media type and text of a REST response; with a JSON body, of a POST."""
        headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if body is not None else {})}
        headers |= {"X-API-Key": key} if key else {}
        data = None if body is None else json.dumps(body).replace("$NOW", f"{datetime.now(UTC):%FT%TZ}").encode()
        return self._send(path, data, headers)

    def upload(self, path: str, file: str, name: str) -> tuple[int, str, str]:
        """Post a file of the checkout as a form; return status, media type and text."""
        head = f'--limit\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + (ROOT / file).read_bytes() + b"\r\n--limit--\r\n"
        return self._send(path, body, {"Content-Type": "multipart/form-data; boundary=limit"})

    def _send(self, path: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, str, str]:
        request = urllib.request.Request(self.rest + path, data, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return response.status, response.headers.get_content_type(), response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get_content_type(), error.read().decode()

    def ask(self, path: str) -> Any:
        """Return the JSON of a REST response; fail if its status is not 200."""
        status, _, text = self.get(path)
        assert status == 200, (path, status, text)
        return json.loads(text)


@contextmanager
def living(folder: Path) -> Iterator[System]:
    """Start a system and wait until every table has rows.

    It has prices, trades with a filled gap, candles, analytics, alerts and finished jobs.
    """
    symbols = ("BTCUSDT", "ETHUSDT")
    now = datetime.now(UTC)
    exchange = BinanceStandIn(folder, symbols=symbols, trades=_LIFE * _PER_SECOND, per_second=_PER_SECOND, start=now, microseconds=True)
    ours = {"SOURCES": "synthetic,binance,scenario", "SYNTHETIC_SEED": "2025", "ALERT_DISK": DISK_LIMITS}
    with exchange, System(folder, **ours, **exchange.variables) as system:
        try:
            until(lambda: system.ask("/market/trades?symbol=BTCUSDT&limit=5")["next_page_token"], 60, "trades")
            _lose_trades(system, exchange)
            _judge_again(system)
            _report(system)
            _store_books(system)
            until(lambda: _has_rows(system), 120, "rows in every table")
            yield system
        finally:
            system.ask_to_stop(60)


def _lose_trades(system: System, exchange: BinanceStandIn) -> None:
    """Make a gap that is filled.

    The fill after a connection may have stored the first trades that are skipped: then there is no
    gap of them.
    """
    skipped = float("-inf")

    def is_filled() -> bool:
        nonlocal skipped
        if time.monotonic() - skipped > _FILL_SECONDS and not system.ask("/gaps")["gaps"]:
            skipped = time.monotonic()
            exchange.control("skip", count=3, symbol="BTCUSDT")
        return bool(system.ask("/gaps?state=filled")["gaps"])

    until(is_filled, 60, "a filled gap")


def _store_books(system: System) -> None:
    """Store rows of a book, because books of a scenario have none, and find the first run."""
    with closing(Store(system.run["database_url"])) as store, store.transaction() as cursor:
        moments = [datetime(2025, 11, 18, 12, 0, second, tzinfo=UTC) for second in (1, 2)]
        insert_book_rows(cursor, [top(moments[0], 1), top(moments[1], 2), stored_book(moments[0])])
    until(lambda: system.ask("/scenarios/runs")["runs"], 60, "a run of a scenario")
    system.run_id = system.ask("/scenarios/runs")["runs"][0]["run_id"]


def _report(system: System) -> None:
    """Send the reports of the worked example, and wait for the figures of the observer."""
    answer = system.get("/reports", {"reports": list(worked_example(datetime.now(UTC) - timedelta(minutes=10)))})
    assert (answer[0], json.loads(answer[2])["rejected"]) == (200, []), answer
    until(lambda: _is_observed(system), 120, "the figures of the observer")


def _is_observed(system: System) -> bool:
    """Whether both round trips are counted, and the alert about the disk fires."""
    strategies = system.ask("/api/metrics/current")["strategy"].get("strategies", {})
    alerts = system.ask("/alerts?subject=disk&state=firing")["alerts"]
    if not strategies or strategies["mean_reversion"]["win_rate"] != 0.5 or not alerts:
        return False
    system.alert_id = alerts[0]["alert_id"]
    return True


def _judge_again(system: System) -> None:
    """Make an alert: the rules have read the past of the first start without one."""
    until(lambda: _outcome(system, "hourly_job") == "succeeded", 90, "the first run")
    with closing(psycopg2.connect(system.run["database_url"])) as connection, connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM alert_episodes WHERE symbol = 'USD_JPY'")
    now = datetime.now(UTC)
    last = trading_hours("fx", now - timedelta(days=4), now)[-1] + timedelta(hours=1)
    command = [sys.executable, "manage.py", "job", "run", "hourly_job", "--as-of", f"{last:%Y-%m-%dT%H:%M:%SZ}"]
    environ = {**os.environ, **system.environ, "VOLATILITY_THRESHOLDS": "USD_JPY=0.001/0.5"}
    subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True, timeout=120)


def _outcome(system: System, job: str) -> str | None:
    """The outcome of the job's last run; None if it has not run."""
    [run] = [each["last_run"] for each in system.ask("/jobs")["jobs"] if each["id"] == job] or [None]
    return run and str(run["outcome"])


def _has_rows(system: System) -> bool:
    runs = [job["last_run"] for job in system.ask("/jobs")["jobs"] if job["next_run"]]
    alerts = system.ask("/alerts")["alerts"]
    return (
        all(run and run["outcome"] == "succeeded" for run in runs)
        and bool(system.ask("/gaps?state=filled")["gaps"])
        and bool(alerts and alerts[0]["published"])
        and bool(system.ask("/candles?symbol=BTCUSDT&interval=1m")["candles"])
        and bool(system.ask("/candles?symbol=EUR_USD&interval=1m&order=desc&limit=2")["candles"])
        and len(system.ask("/ticks?symbol=EUR_USD&limit=3")["ticks"]) == 3
        and system.ask("/health/binance")["status"] == "live"
        and system.get("/book?symbol=BTCUSDT&require=live")[0] == 200
        and bool(system.ask(f"/scenarios/runs/{system.run_id}")["timeline"])
    )
