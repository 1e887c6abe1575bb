"""Snapshots of the metrics, published as the observer does, and the processes beside the hub."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from signal import SIGKILL
from types import MappingProxyType

import psycopg2

from db.bus import Bus
from db.bus.observability.snapshots import SECTIONS, Snapshot
from db.timestamps import format_time
from ops.children import kill_group, spawn, tail
from tests.bench.fanout import Ground
from tests.bench.peers.snapshots import TICK_SECONDS
from tests.bench.servers import BenchError, Peer, Server
from tests.support.background import in_background

SIZE = 8200  # bytes of a snapshot
UNLIMITED_SOCKETS = {"WS_MAX_CONNECTIONS": "2000", "WS_HEARTBEAT_INTERVAL": "300"}
_START_SECONDS = 30.0
# with reports of bots, and figures of them
_TABLES = (
    "report_ids", "orders", "order_events", "fills", "corrections", "signals", "bot_heartbeats", "positions", "position_checkpoints",
    "round_trips", "strategy_drawdowns",
)  # fmt: skip
_OBSERVER = Peer("observer", "the observer", lambda port: (sys.executable, "-m", "jobs.observer"))


@contextmanager
def publishing(place: Ground) -> Iterator[None]:
    """Publish a snapshot of `SIZE` bytes 10 times per second."""
    text = '{"x":"' + "x" * (SIZE // len(SECTIONS) - 60) + '"}'
    texts = dict.fromkeys(SECTIONS, text)

    def publish(stop: threading.Event) -> None:
        seq, due = 0, time.monotonic()
        with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
            while not stop.wait(max(0.0, due - time.monotonic())):
                seq, due = seq + 1, due + TICK_SECONDS
                bus.publish_snapshot(Snapshot(format_time(datetime.now(UTC)), seq, "bench", texts, texts))

    with in_background(publish):
        yield


@contextmanager
def observer(place: Ground, extra: Mapping[str, str] = MappingProxyType({})) -> Iterator[Server]:
    """Run the observer, and wait until it publishes snapshots."""
    environ = {
        **os.environ,
        "DATABASE_URL": place.database_url,
        "REDIS_URL": place.redis_url,
        "HUB_DATA_DIR": str(place.folder / "var"),
        "SOURCES": "",
        **extra,
    }
    log = place.folder / "observer.log"
    popen = spawn(_OBSERVER.argv(0), env=environ, log_file=log, inherit=(), death_signal=SIGKILL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
            while bus.latest_snapshot() is None:
                if popen.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"the observer does not start{tail(log)}")
                time.sleep(0.05)
        yield Server(_OBSERVER, 0, popen.pid)
    finally:
        kill_group(popen.pid)
        popen.wait()


def prepare(place: Ground) -> None:
    """Write the instruments to the emptied bus, and remove the reports of other parts."""
    place.empty_bus()
    with closing(psycopg2.connect(place.database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(_TABLES)}")
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
