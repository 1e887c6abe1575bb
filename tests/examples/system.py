"""The whole system as `make run` starts it, fed by the synthetic walk and by a local Binance."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.conftest import until
from tests.standins.binance import BinanceStandIn
from tests.support.processes import Running, free_port

_PER_SECOND = 20
_LIFE = 1800  # seconds that the exchange has trades for


class System(Running):
    """`manage.py up` on a data directory and ports of its own."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        rest, hub = free_port(), free_port()
        self.rest, self.hub = f"http://127.0.0.1:{rest}", f"http://127.0.0.1:{hub}"
        unset = dict.fromkeys(("DATABASE_URL", "DB_HOST", "REDIS_URL", "REDIS_HOST", "LOG_FILE"), "")
        kept = {f"RETENTION_{table}": "0" for table in ("PRICES", "TRADES", "CANDLES")}  # the documents play old recordings
        ours = {"HUB_DATA_DIR": str(folder / "var"), "API_PORT": str(rest), "WEBSOCKET_PORT": str(hub), "INGESTION_INTERVAL_SECONDS": "0.5"}
        super().__init__([sys.executable, "manage.py", "up"], {**unset, **kept, **ours, **variables}, folder / "up.log")

    def start(self) -> None:
        """Start it and wait for the `ready:` line."""
        super().start()
        until(self._is_ready, 90, "the ready line")

    def _is_ready(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, self.output()[-3000:]
        return "ready:" in self.output()

    @property
    def run(self) -> dict[str, Any]:
        """What run.json says."""
        return dict(json.loads((self.folder / "var" / "run.json").read_text()))

    def get(self, path: str) -> tuple[int, str, str]:
        """Status, type and text that REST answers."""
        request = urllib.request.Request(self.rest + path, headers={"Accept": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.headers.get_content_type(), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get_content_type(), error.read().decode()

    def ask(self, path: str) -> Any:
        """The JSON that REST answers, of a request that is well."""
        status, _, text = self.get(path)
        assert status == 200, (path, status, text)
        return json.loads(text)


@contextmanager
def living(folder: Path) -> Iterator[System]:
    """A system with something in every table: prices, trades with a gap that was filled, candles, analytics, alerts, finished jobs."""
    symbols = ("BTCUSDT", "ETHUSDT")
    now = datetime.now(UTC)
    exchange = BinanceStandIn(folder, symbols=symbols, trades=_LIFE * _PER_SECOND, per_second=_PER_SECOND, start=now, microseconds=True)
    with exchange, System(folder, SOURCES="synthetic,binance", SYNTHETIC_SEED="2025", **exchange.variables) as system:
        try:
            until(lambda: system.ask("/market/trades?symbol=BTCUSDT&limit=5")["next_page_token"], 60, "trades")
            exchange.control("skip", count=3, symbol="BTCUSDT")
            until(lambda: _is_alive(system), 90, "something in every table")
            yield system
        finally:
            system.ask_to_stop(60)


def _is_alive(system: System) -> bool:
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
    )
