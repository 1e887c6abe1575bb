"""Reads of history: `/candles` and a long CSV export, against bare SQL, psql and FastAPI."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from signal import Signals
from types import MappingProxyType

import psutil
import psycopg2

from db.partitions import make_months
from ops.children import kill_group, spawn, tail
from ops.embedded.server import free_port
from tests.bench.fanout import Ground
from tests.bench.servers import BenchError
from tests.bench.trades import PSQL, database

CANDLE_LABELS = {
    "tickwire": "Tickwire REST, one process",
    "bare": "the same SQL, psycopg2 fetchall",
    "fastapi": "FastAPI + asyncpg + orjson, uvicorn",
}
EXPORT_LABELS = {
    "tickwire": "Tickwire `/ticks?format=csv`",
    "psql": "psql COPY of the same query",
    "psql_bare": "psql COPY of the bare columns",
}
SYMBOL = "EUR_USD"
ROWS = 1000
_READERS = 2
_EXPORT_COLUMNS = (
    """instrument, to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), """
    """to_char(received AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), bid, ask, mid, volume, source, seq, epoch"""
)


def prepare_candles(ground: Ground) -> None:
    """Store hourly candles of one instrument and 19 others."""
    with database(ground) as cursor:
        cursor.execute("TRUNCATE candles")
        make_months(cursor, "candles", [f"2024-{month:02}" for month in range(1, 13)])
        cursor.execute(
            "INSERT INTO candles (symbol, interval, start_time, end_time, open, high, low, close, volume, trades, complete, source)"
            " SELECT s, '1h', t, t + interval '1 hour', 1.08123, 1.08456, 1.08001, 1.08234,"
            " 12345 + extract(hour FROM t), 1234, true, 'oanda'"
            " FROM unnest(%s) AS s, generate_series(timestamptz '2024-01-01Z', '2024-12-30Z', '1 hour') AS t",
            (list(ground.instruments[:20]),),
        )
    _analyze(ground, "candles")


def measure_candles(ground: Ground, contender: str, seconds: float) -> dict[str, float]:
    """Return requests per second and latencies of two readers without pauses."""
    if contender == "bare":
        with ExitStack() as stack:
            requests = []
            for _ in range(_READERS):
                connection = psycopg2.connect(ground.database_url)
                stack.callback(connection.close)
                requests.append(partial(_query_rows, connection))
            return _load(requests, seconds)
    with web(ground, contender) as (port, _):
        path = f"/candles?symbol={SYMBOL}&interval=1h&start=2024-03-01T00:00:00Z&limit={ROWS}"
        connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(_READERS)]
        return _load([partial(_get, connection, path) for connection in connections], seconds)


def prepare_export(ground: Ground, rows: int) -> None:
    """Store `rows` prices of one instrument."""
    with database(ground) as cursor:
        cursor.execute("TRUNCATE prices")
        make_months(cursor, "prices", ["2024-03"])
        cursor.execute(
            "INSERT INTO prices (instrument, time, received, bid, ask, mid, volume, source, epoch, seq)"
            " SELECT %s, timestamptz '2024-03-01Z' + n * interval '1 second', timestamptz '2024-03-01Z' + n * interval '1 second',"
            " 1.08123, 1.08135, 1.08129, null, 'oanda', '0123456789ab', n FROM generate_series(1, %s) AS n",
            (SYMBOL, rows),
        )
    _analyze(ground, "prices")


def measure_export(ground: Ground, contender: str, rows: int) -> dict[str, float]:
    """Return rows per second from the request to the last byte, and Tickwire's memory growth."""
    if contender != "tickwire":
        columns = _EXPORT_COLUMNS if contender == "psql" else "*"
        query = f"COPY (SELECT {columns} FROM prices WHERE instrument = '{SYMBOL}' ORDER BY time, epoch, seq) TO STDOUT (FORMAT csv)"  # noqa: S608
        started = time.monotonic()
        with subprocess.Popen([str(PSQL), "-Xq", ground.database_url, "-c", query], stdout=subprocess.PIPE) as popen:
            assert popen.stdout is not None
            lines = _count_lines(popen.stdout.read)
        return {"rows_per_s": _all(lines, rows) / (time.monotonic() - started)}
    with web(ground, contender) as (port, pid):
        process = psutil.Process(pid)
        _get(http.client.HTTPConnection("127.0.0.1", port, timeout=30), f"/ticks?symbol={SYMBOL}&format=csv&limit=10000")
        before, memory = process.memory_info().rss, _PeakMemory(process)
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/ticks?symbol={SYMBOL}&format=csv")
        lines = _count_lines(connection.getresponse().read) - 1
        seconds = time.monotonic() - started
        return {"rows_per_s": _all(lines, rows) / seconds, "growth_mb": (memory.stop() - before) / 2**20}


class _PeakMemory:
    """The peak memory of a process from now on, sampled every 10 ms."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._most, self._over = process, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self._most = max(self._most, self._process.memory_info().rss)

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._most


def _load(requests: Sequence[Callable[[], None]], seconds: float) -> dict[str, float]:
    """Repeat every request in its own thread; the first half second does not count."""
    taken: list[float] = []

    def read(request: Callable[[], None]) -> None:
        begin, end = time.monotonic() + 0.5, time.monotonic() + 0.5 + seconds
        while (started := time.monotonic()) < end:
            request()
            if started >= begin:
                taken.append(time.monotonic() - started)

    threads = [threading.Thread(target=read, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken.sort()
    return {"requests_per_s": len(taken) / seconds, "p50_ms": taken[len(taken) // 2] * 1e3, "p99_ms": taken[len(taken) * 99 // 100] * 1e3}


def _query_rows(connection: psycopg2.extensions.connection) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT start_time, end_time, open, high, low, close, volume, complete, trades, source FROM candles"
            " WHERE symbol = %s AND interval = %s AND start_time >= %s ORDER BY start_time LIMIT %s",
            (SYMBOL, "1h", "2024-03-01T00:00:00Z", ROWS),
        )
        _all(len(cursor.fetchall()), ROWS)


def _get(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise BenchError(f"{response.status}: {body[:300]!r}")


def _count_lines(read: Callable[[int], bytes]) -> int:
    lines = 0
    while piece := read(1 << 20):
        lines += piece.count(b"\n")
    return lines


def _all(found: int, expected: int) -> int:
    if found != expected:
        raise BenchError(f"{found} rows instead of {expected}")
    return found


@contextmanager
def web(ground: Ground, contender: str, extra: Mapping[str, str] = MappingProxyType({})) -> Iterator[tuple[int, int]]:
    """Yield the port and the pid of the worker process, of Tickwire's REST or of the peer.

    `without` is Tickwire's without metrics. `extra` are further variables.
    """
    port = free_port()
    argv = {
        "tickwire": ("-m", "gunicorn", "-c", "config/gunicorn/rest.py", "wsgi:rest()"),
        "without": ("-m", "gunicorn", "-c", "config/gunicorn/rest.py", "tests.bench.operations.without:rest()"),
        "fastapi": ("-m", "tests.bench.peers.fastapi_candles", str(port), ground.database_url),
    }[contender]
    environ = {
        "DATABASE_URL": ground.database_url,
        "REDIS_URL": ground.redis_url,
        "API_PORT": str(port),
        "HUB_DATA_DIR": str(ground.folder / "var"),
        **extra,
    }
    log = ground.folder / f"{contender}.log"
    popen = spawn((sys.executable, *argv), env={**os.environ, **environ}, log_file=log, inherit=(), death_signal=Signals.SIGKILL)
    try:
        deadline = time.monotonic() + 60
        while not _serves(port):
            if popen.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{contender} does not start{tail(log)}")
            time.sleep(0.05)
        children = psutil.Process(popen.pid).children()
        yield port, children[0].pid if children else popen.pid
    finally:
        kill_group(popen.pid)
        popen.wait()


def _serves(port: int) -> bool:
    try:
        _get(http.client.HTTPConnection("127.0.0.1", port, timeout=5), f"/candles?symbol={SYMBOL}&limit=1")
    except (OSError, BenchError):
        return False
    return True


def _analyze(ground: Ground, table: str) -> None:
    connection = psycopg2.connect(ground.database_url)
    connection.autocommit = True
    connection.cursor().execute(f"VACUUM ANALYZE {table}")
    connection.close()
