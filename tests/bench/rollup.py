"""Ticks to candles of all six intervals, against one GROUP BY into minutes of the same table."""

from __future__ import annotations

import os
import sys
import time
from signal import Signals

import psycopg2

from db.partitions import make_months
from ops.children import kill_group, spawn, tail
from tests.bench.fanout import Ground
from tests.bench.servers import BenchError
from tests.bench.trades import database

LABELS = {"tickwire": "Tickwire, all six intervals", "group_by": "one GROUP BY of minutes"}
_INSTRUMENTS = 10
_GROUP_BY = """CREATE TABLE bench_minutes AS
SELECT instrument, date_trunc('minute', time) AS minute, (array_agg(mid ORDER BY time, epoch, seq))[1] AS open, max(mid) AS high,
       min(mid) AS low, (array_agg(mid ORDER BY time DESC, epoch DESC, seq DESC))[1] AS close, count(*) AS volume
FROM prices GROUP BY 1, 2"""


def prepare(ground: Ground, ticks: int) -> None:
    """Store `ticks` ticks of ten instruments, one per second each."""
    each = ticks // _INSTRUMENTS
    with database(ground) as cursor:
        cursor.execute("TRUNCATE prices, candle_marks")
        make_months(cursor, "prices", ["2024-03", "2024-04"])
        for instrument in ground.instruments[:_INSTRUMENTS]:
            cursor.execute(
                "INSERT INTO prices (instrument, time, received, bid, ask, mid, volume, source, epoch, seq)"
                " SELECT %s, t, t, mid - 0.00007, mid + 0.00007, mid, null, 'oanda', '0123456789ab', n FROM ("
                "  SELECT n, timestamptz '2024-03-01Z' + n * interval '1 second' AS t,"
                "  1.08 + (n::bigint * 7919 %% 1009)::numeric / 100000 AS mid"
                "  FROM generate_series(1, %s) AS n) AS made",
                (instrument, each),
            )
    connection = psycopg2.connect(ground.database_url)
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE prices")
    connection.close()


def measure(ground: Ground, contender: str, ticks: int) -> dict[str, float]:
    """Return ticks per second until every candle is stored."""
    with database(ground) as cursor:
        cursor.execute("TRUNCATE candles, candle_marks")
        cursor.execute("DROP TABLE IF EXISTS bench_minutes")
        if contender == "tickwire":
            cursor.execute("INSERT INTO candle_marks SELECT DISTINCT instrument, date_trunc('minute', time) FROM prices")
    started = time.monotonic()
    if contender == "tickwire":
        _roll_up(ground)
    else:
        with database(ground) as cursor:
            cursor.execute(_GROUP_BY)
    return {"rows_per_s": ticks / (time.monotonic() - started)}


def _roll_up(ground: Ground) -> None:
    """Run the jobs process until no marked minute is left."""
    log = ground.folder / "rollup.log"
    environ = {
        "DATABASE_URL": ground.database_url,
        "REDIS_URL": ground.redis_url,
        "HUB_DATA_DIR": str(ground.folder / "var"),
        "SOURCES": "",
    }
    popen = spawn(
        (sys.executable, "-m", "jobs.scheduler"), env={**os.environ, **environ}, log_file=log, inherit=(), death_signal=Signals.SIGKILL
    )
    try:
        deadline = time.monotonic() + 1800
        while _marked(ground):
            time.sleep(0.1)
            if popen.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the roll-up ended, or did not finish{tail(log)}")
    finally:
        kill_group(popen.pid)
        popen.wait()


def _marked(ground: Ground) -> bool:
    with database(ground) as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM candle_marks)")
        return bool(cursor.fetchall()[0][0])
