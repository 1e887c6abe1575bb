"""Our processes with short periods of health, and with faults that files cause.

`tests.support.quick:rest()` and `tests.support.quick:hub()` are for gunicorn, `python -m
tests.support.quick` is the jobs process. While the file `FAULTS/NAME` exists, the fault NAME lasts.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from apscheduler.triggers.cron import CronTrigger

from api.app import create_app, start_watch
from api.hub.application import Hub
from api.hub.relay.relay import Relay
from api.websocket_server import create_hub
from config import VERSION
from config.loops import HEARTBEATS
from db.messages import Entry, Tick
from db.postgres import Cursor
from db.timestamps import utc_now
from jobs import scheduler
from jobs.feeds import ingest, status
from jobs.feeds.base import SourceError
from jobs.feeds.synthetic import MarketStep, SyntheticSource
from jobs.runtime.context import JobContext, Timed
from jobs.store.queues import PriceQueue
from ops import startup
from tests.support.quick_timing import QUICK

LOOP = "test-loop"
_POLL_SECONDS = 0.02


def lasts(fault: str) -> bool:
    """Return True while the fault lasts."""
    return (Path(os.environ["FAULTS"]) / fault).exists()


def hold(fault: str) -> None:
    """Wait until the fault is over."""
    while lasts(fault):
        time.sleep(_POLL_SECONDS)


def beat_in_a_loop(fault: str) -> None:
    """Keep a long-lived loop that is silent during the fault."""

    def loop() -> None:
        while True:
            if not lasts(fault):
                HEARTBEATS.beat(LOOP)
            time.sleep(_POLL_SECONDS)

    HEARTBEATS.expect(LOOP, 0.4)
    threading.Thread(target=loop, daemon=True).start()


def rest() -> Any:
    """REST, with the fault `rest loop`."""
    started = startup.start("rest")
    app = create_app(started.settings, started.bus, started.store, utc_now, VERSION, timing=QUICK)
    beat_in_a_loop("rest loop")
    start_watch(app)
    return app


class DeafHub:
    """A hub that accepts connections and answers none during the fault `hub requests`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.protocol = hub.protocol
        self.shutdown = hub.shutdown

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        hold("hub requests")
        return self._hub(environ, start_response)


def hub() -> Any:
    """The hub, with the faults `hub requests` and `hub relay`."""
    started = startup.start("hub")
    receive = Relay.receive

    def held(self: Relay, channel: str, body: bytes, *, may_read: bool = False) -> None:
        if not lasts("hub relay"):  # the callback of the loop may not wait: messages are lost
            receive(self, channel, body, may_read=may_read)

    Relay.receive = held  # type: ignore[method-assign]
    return DeafHub(create_hub(started.settings, started.bus, started.store, utc_now, timing=QUICK))


def jobs() -> None:
    """The jobs process, with the faults `source refused`, `source breaks`, `writer`, `jobs loop`,
    `job hangs` and `job fails`.
    """
    parse, fetch, store = SyntheticSource.parse, SyntheticSource.fetch, PriceQueue.store

    def bad(self: SyntheticSource, raw: MarketStep) -> list[Tick]:
        ticks = parse(self, raw)
        return [replace(tick, ask="0") for tick in ticks] if lasts("source refused") else ticks

    def broken(self: SyntheticSource, stop: threading.Event) -> Any:
        for raw in fetch(self, stop):
            if lasts("source breaks"):
                raise SourceError("a fault of the test", fatal=False)
            yield raw

    def held(self: PriceQueue, cursor: Cursor, entries: Sequence[Entry]) -> Mapping[str, int]:
        hold("writer")
        return store(self, cursor, entries)

    SyntheticSource.parse, SyntheticSource.fetch, PriceQueue.store = bad, broken, held  # type: ignore[method-assign]
    status.REFUSED_SECONDS = 0.5
    vars(ingest)["retry_delay"] = lambda attempt, jitter: 0.2
    every_second = Timed("probe_job", "every second", CronTrigger(second="*"), probe_job, retries=0)
    scheduler.JOBS = (*scheduler.JOBS, every_second)
    scheduler.TIMED["probe_job"] = every_second
    beat_in_a_loop("jobs loop")
    scheduler.main(QUICK)


def probe_job(context: JobContext, as_of: datetime) -> int:
    """A timed job that hangs or fails during the faults of these names."""
    hold("job hangs")
    if lasts("job fails"):
        raise RuntimeError("a fault of the test")
    return 0


if __name__ == "__main__":
    jobs()
