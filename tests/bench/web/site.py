"""Hub and REST with a given number of instruments, and the prices on their bus."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from signal import SIGKILL
from subprocess import Popen
from types import MappingProxyType

import orjson
import psycopg2.extras

from db.bus import Bus
from db.partitions import make_months
from ops.children import kill_group, spawn, tail
from ops.embedded.server import free_port
from tests.bench.fanout import Ground
from tests.bench.reads import web
from tests.bench.servers import PEERS, BenchError
from tests.bench.trades import database
from tests.bench.web.waiting import until

_GENERATED = "BENCH_%"
_HOURS, _DAYS = 48, 5  # of candles of each instrument
_START_SECONDS = 60.0


class Hub:
    """A hub that can be killed and started again on its port."""

    def __init__(self, place: Ground, extra: Mapping[str, str]) -> None:
        self.port = free_port()
        self._environ = {
            **os.environ,
            "DATABASE_URL": place.database_url,
            "REDIS_URL": place.redis_url,
            "HUB_DATA_DIR": str(place.folder / "var"),
            "SOURCES": "",
            "WEBSOCKET_PORT": str(self.port),
            **extra,
        }
        self._log = place.folder / "hub.log"
        self._popen: Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it answers later."""
        self._popen = spawn(PEERS["tickwire"].argv(self.port), env=self._environ, log_file=self._log, inherit=(), death_signal=SIGKILL)

    def kill(self) -> None:
        """Kill all processes at once, as `kill -9` does."""
        if self._popen:
            kill_group(self._popen.pid)
            self._popen.wait()

    def await_ready(self) -> None:
        until(self._answers, _START_SECONDS, lambda: f"an answer of the hub{tail(self._log)}")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/hub/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Site:
    """A running product without jobs."""

    place: Ground
    port: int  # of REST
    hub: Hub
    bus: Bus
    symbols: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def newest(self) -> dict[str, tuple[str, str]]:
        """Return symbol -> bid and ask of its last price."""
        bodies = {symbol: orjson.loads(body) for symbol, body in self.bus.latest_prices(list(self.symbols)).items()}
        return {symbol: (body["price"]["bid"], body["price"]["ask"]) for symbol, body in bodies.items()}


@contextmanager
def site(place: Ground, count: int, extra: Mapping[str, str] = MappingProxyType({})) -> Iterator[Site]:
    """Start a hub and REST with so many instruments; `extra` are further variables of both."""
    symbols = _set_instruments(place, count)
    place.empty_bus()
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(symbols, "crypto"))
        hub = Hub(place, extra)
        hub.start()
        try:
            hub.await_ready()
            with web(place, "tickwire", {"SOURCES": "", "WEBSOCKET_PORT": str(hub.port), **extra}) as (port, _):
                yield Site(place, port, hub, bus, symbols)
        finally:
            hub.kill()


def _set_instruments(place: Ground, count: int) -> tuple[str, ...]:
    """Store so many instruments, which trade at every time, and their candles."""
    with database(place) as cursor:
        cursor.execute("TRUNCATE candles")
        cursor.execute("DELETE FROM instruments WHERE symbol LIKE %s", (_GENERATED,))
        cursor.execute("SELECT symbol FROM instruments ORDER BY symbol")
        symbols = [symbol for (symbol,) in cursor.fetchall()]
        if len(symbols) > count:
            raise BenchError(f"there are {len(symbols)} instruments instead of {count}")
        added = [f"BENCH_{number:04}" for number in range(count - len(symbols))]
        psycopg2.extras.execute_values(
            cursor,
            "INSERT INTO instruments (symbol, name, kind, precision, source, currency, calendar) VALUES %s",
            [(symbol, symbol, "fx", 5, "synthetic", "USD", "crypto") for symbol in added],
        )
        cursor.execute("UPDATE instruments SET calendar = 'crypto'")
        _store_candles(cursor)
    _analyze(place)
    return (*symbols, *added)


def _store_candles(cursor: psycopg2.extensions.cursor) -> None:
    now = datetime.now(UTC)
    months = {(now - timedelta(days=days)).strftime("%Y-%m") for days in range(_DAYS + 1)}
    make_months(cursor, "candles", sorted(months))
    for interval, unit, number in (("1h", "hour", _HOURS), ("1d", "day", _DAYS)):
        cursor.execute(
            "INSERT INTO candles (symbol, interval, start_time, end_time, open, high, low, close, volume, trades, complete, source)"
            " SELECT symbol, %(interval)s, t, t + %(step)s, 1.20000, 1.25000, 1.15000, round(1.2 + random()::numeric / 50, 5), 100, 100,"
            " t + %(step)s <= now(), 'ticks' FROM instruments,"
            " generate_series(date_trunc(%(unit)s, now(), 'UTC') - %(number)s * %(step)s, now(), %(step)s) AS t",
            {"interval": interval, "unit": unit, "number": number, "step": timedelta(**{f"{unit}s": 1})},
        )


def _analyze(place: Ground) -> None:
    with closing(psycopg2.connect(place.database_url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE candles, instruments")
