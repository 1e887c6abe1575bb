"""The loops of the active observer: snapshots at 10 Hz, rows of each second, roll-up."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from config.metrics import SNAPSHOT_BUCKETS
from config.pacing import Outage, StopSignal
from db.bus import BusError, Snapshot
from db.measures import Buckets
from db.metrics.rollup import is_mine, roll_up_metrics
from db.postgres import RowError, StoreError
from db.timestamps import format_time
from jobs.observer.collectors.base import Collector, ObserverContext
from jobs.observer.figures.sections import Body, Rendered, render
from jobs.observer.parts import Watcher

log = logging.getLogger("jobs.observer")

ROLL_UP_SECONDS = 10.0
LATE_SECONDS = 2.0  # after the end of a minute until its rows are built
SECTIONS = ("market_data", "strategy", "execution", "system")
SECOND = timedelta(seconds=1)


class SnapshotLoop:
    """Publishes a snapshot at each deadline. A missed deadline is skipped, never queued."""

    def __init__(self, context: ObserverContext, collectors: Mapping[str, Collector]) -> None:
        self._context = context
        self._collectors = collectors
        self._interval = context.settings.metric_collection_interval
        self._epoch = uuid.uuid4().hex
        self._seq = 0
        self._rendered: dict[str, tuple[Body, Rendered]] = {}  # section -> body, its texts
        self._outage = Outage(log, "snapshots are not published", monotonic=time.monotonic)
        self.published = self.skipped = 0
        self.builds = Buckets(SNAPSHOT_BUCKETS)  # seconds to collect and render

    def run(self, stop: StopSignal) -> None:
        """Publish until `stop` is set."""
        deadline = time.monotonic()
        while not stop.wait(max(0.0, deadline - time.monotonic())):
            self.tick()
            deadline += self._interval
            late = time.monotonic() - deadline
            if late > 0:
                missed = int(late / self._interval) + 1
                self.skipped += missed
                deadline += missed * self._interval

    def tick(self) -> None:
        """Collect, render and publish once."""
        began = time.perf_counter()
        numbers, strings = {}, {}
        for section in SECTIONS:
            collector = self._collectors.get(section)
            numbers[section], strings[section] = self._texts(section, collector.get_current_metrics() if collector else {})
            strings |= collector.further_texts() if collector else {}
        self._seq += 1
        snapshot = Snapshot(format_time(self._context.clock()), self._seq, self._epoch, numbers, strings)
        self.builds.observe(time.perf_counter() - began)
        try:
            self._context.bus.publish_snapshot(snapshot)
        except BusError as error:
            self._outage.failed(error)
            return
        self._outage.recovered()
        self.published += 1

    def _texts(self, section: str, body: Body) -> Rendered:
        """The texts of a section; rendered anew if its collector made another body."""
        known = self._rendered.get(section)
        if known is None or known[0] is not body:
            known = self._rendered[section] = body, render(body)
        return known[1]


class SecondLoop:
    """Stores the rows of each second; a missed second is skipped."""

    def __init__(self, context: ObserverContext, collectors: Mapping[str, Collector]) -> None:
        self._context = context
        self._collectors = collectors
        self._outage = Outage(log, "metrics are not stored", monotonic=time.monotonic)

    def run(self, stop: StopSignal) -> None:
        """Store until `stop` is set."""
        while not stop.wait(_until_second(self._context.clock())):
            self.store(self._context.clock().replace(microsecond=0) - SECOND)

    def store(self, second: datetime) -> None:
        """Store the rows of the second that began at `second`."""
        try:
            with self._context.store.transaction() as cursor:
                cursor.execute("SET LOCAL synchronous_commit = off")  # a crash may lose the last second of metrics
                for collector in self._collectors.values():
                    collector.store_second(cursor, second)
        except (StoreError, RowError) as error:
            self._outage.failed(error)
        else:
            self._outage.recovered()


class WatchLoop:
    """Runs the watchers once per second, also while the store does not answer."""

    def __init__(self, context: ObserverContext, watchers: Sequence[Watcher]) -> None:
        self._context = context
        self._watchers = [
            (each, Outage(log, "a watcher fails", monotonic=time.monotonic, watcher=type(each).__name__)) for each in watchers
        ]

    def run(self, stop: StopSignal) -> None:
        """Watch until `stop` is set."""
        while not stop.wait(_until_second(self._context.clock())):
            self.watch(self._context.clock())

    def watch(self, now: datetime) -> None:
        """Call each watcher once; a failing one does not stop the others."""
        for watcher, outage in self._watchers:
            try:
                watcher.each_second(now)
            except Exception as error:  # noqa: BLE001 - the outage logs it, and the other watchers continue
                outage.failed(error, traceback=True)
            else:
                outage.recovered()


def _until_second(now: datetime) -> float:
    """Seconds until the next second begins."""
    return 1.0 - now.microsecond / 1_000_000


class RollUpLoop:
    """Builds minutes and hours of the metrics from the stored seconds."""

    def __init__(self, context: ObserverContext) -> None:
        self._context = context
        self._outage = Outage(log, "the roll-up of metrics waits for the store", monotonic=time.monotonic)

    def run(self, stop: StopSignal) -> None:
        """Roll up until `stop` is set."""
        while not stop.wait(ROLL_UP_SECONDS):
            try:
                while self.roll_up() and not stop.is_set():
                    pass
            except StoreError as error:
                self._outage.failed(error)
            else:
                self._outage.recovered()

    def roll_up(self) -> int:
        """Build some minutes and hours; returns their number, 0 if nothing is left."""
        ended = self._context.clock() - timedelta(seconds=LATE_SECONDS)
        with self._context.store.transaction() as cursor:
            return roll_up_metrics(cursor, ended) if is_mine(cursor) else 0
