"""The parts of the observer without their pauses: CPU of a snapshot, and memory after a day.

    python -m tests.bench.observability.replay DATABASE_URL REDIS_URL build SECONDS
    python -m tests.bench.observability.replay DATABASE_URL REDIS_URL day SECONDS

`day` runs on a clock of its own, which advances by five seconds per snapshot: each has prices, each
minute has reports and a stored row. It writes one line of JSON.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import fmean
from typing import Any

import orjson
import psutil

from config.settings import load
from db.bus import Bus, ReportLimits
from db.messages import Tick
from db.postgres import Store
from db.reports.model import Fill, Heartbeat, Order, Report, Signal
from db.timestamps import format_time
from jobs.observer.collectors.base import Collector, ObserverContext
from jobs.observer.loop import SecondLoop, SnapshotLoop
from jobs.observer.parts import COLLECTORS
from jobs.observer.reports import Listener, ReportFolder
from jobs.runtime.garbage import collect_rarely
from tests.bench.peers.snapshots import TICK_SECONDS

_LIMITS = ReportLimits(rate=1_000_000)
_STRATEGIES, _SYMBOLS, _PRICES = 10, 30, 3
_MINUTE = 60
_WARM_SECONDS = 2
_STEP_SECONDS = 5


class Clock:
    """The real time, or that of the replay."""

    def __init__(self) -> None:
        self.replayed: float | None = None  # Unix time

    def now(self) -> datetime:
        """Return aware UTC."""
        return datetime.fromtimestamp(self.seconds(), UTC)

    def seconds(self) -> float:
        """Return Unix seconds; they never go back here."""
        return time.time() if self.replayed is None else self.replayed


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one observer, whose loops this process calls itself."""

    context: ObserverContext
    clock: Clock
    symbols: list[str]
    snapshots: SnapshotLoop
    seconds: SecondLoop
    folder: ReportFolder

    def report(self, reports: list[Report]) -> None:
        """Put reports on the bus and fold them."""
        self.context.bus.append_reports([reports], _LIMITS)
        ended = threading.Event()
        ended.set()
        self.folder.run(ended)  # until no report waits

    def publish(self, number: int, count: int) -> None:
        """Publish prices of the next symbols."""
        now = format_time(self.clock.now())
        ticks = []
        for place in range(number * count, (number + 1) * count):
            pips = place % 10_000
            symbol = self.symbols[place % len(self.symbols)]
            ticks.append(Tick(symbol, bid=f"1.0{pips:04}", ask=f"1.1{pips:04}", mid=f"1.05{pips:04}", time=now, source="bench"))
        self.context.bus.publish_prices(ticks)


@contextmanager
def parts(database_url: str, redis_url: str, clock: Clock) -> Iterator[Parts]:
    """Start the collectors, and the loop that follows prices."""
    settings = load({"DATABASE_URL": database_url, "REDIS_URL": redis_url}, dotenv=None, service="observer")
    with closing(Bus(redis_url, clock.now)) as bus, closing(Store(database_url, pool_max=4)) as store:
        context = ObserverContext(settings, bus, store, clock.now, clock.seconds)
        collectors: dict[str, Collector] = {each.name: each for each in (make(context) for make in COLLECTORS)}
        for collector in collectors.values():
            collector.start()
        stop = threading.Event()
        follow: Callable[[threading.Event], None] = collectors["market_data"].loops()["observer-prices"]
        thread = threading.Thread(target=follow, args=(stop,))
        thread.start()
        listeners = [each for each in collectors.values() if isinstance(each, Listener)]
        folder = ReportFolder(context, listeners, lambda: context.prices.rates(clock.now(), settings.obs_currency_parity))
        symbols = sorted(bus.windows())[:_SYMBOLS]
        try:
            yield Parts(context, clock, symbols, SnapshotLoop(context, collectors), SecondLoop(context, collectors), folder)
        finally:
            stop.set()
            thread.join()
            for collector in collectors.values():
                collector.stop()


def reports_of(minute: int, now: datetime, symbols: list[str]) -> list[Report]:
    """An order, its fill, a signal and a heartbeat of each strategy."""
    found: list[Report] = []
    for number in range(_STRATEGIES):
        symbol, side = symbols[number % len(symbols)], "buy" if (minute + number) % 2 else "sell"
        common: dict[str, Any] = {"bot": f"day-{number}", "strategy": f"strategy-{number}", "time": now - timedelta(milliseconds=500)}
        order = f"o-{minute}-{now.timestamp():.0f}"
        traded: dict[str, Any] = {"order_id": order, "symbol": symbol, "side": side, "quantity": Decimal(1000 + minute % 7)}
        found += [
            Order(**common, **traded, id=f"{order}-new", order_type="market", status="new"),
            Fill(**common, **traded, id=f"f-{order}", price=Decimal(109_000 + minute % 900).scaleb(-5), fee=Decimal("0.02")),
            Signal(**common, id=f"s-{order}", symbol=symbol, signal=side, outcome="approved"),
            Heartbeat(**common, id=f"h-{order}", equity=Decimal(100_000 + minute)),
        ]
    return found


def build(observer: Parts, seconds: float) -> dict[str, float]:
    """The CPU time of a snapshot in microseconds, at 10 Hz."""
    for minute in range(20):
        observer.report(reports_of(minute, observer.clock.now(), observer.symbols))
    used, due = [], time.monotonic()
    for number in range(round((_WARM_SECONDS + seconds) / TICK_SECONDS)):
        observer.publish(number, _PRICES)
        due += TICK_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.thread_time()
        observer.snapshots.tick()
        used.append(time.thread_time() - began)
    return {"us": fmean(used[round(_WARM_SECONDS / TICK_SECONDS) :]) * 1e6}


def day(observer: Parts, seconds: int) -> dict[str, float]:
    """Memory in MB at the end, and its ratio to that after a quarter."""
    quarter = 0
    for second in range(0, seconds, _STEP_SECONDS):
        assert observer.clock.replayed is not None
        observer.clock.replayed += _STEP_SECONDS
        observer.publish(second, _PRICES)
        observer.snapshots.tick()
        if second % _MINUTE == 0:
            now = observer.clock.now()
            observer.report(reports_of(second // _MINUTE, now, observer.symbols))
            observer.seconds.store(now.replace(microsecond=0))
        if second == seconds // 4:
            quarter = _memory()
    return {"mb": _memory() / 2**20, "ratio": _memory() / quarter}


def _memory() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def main(database_url: str, redis_url: str, kind: str, seconds: int) -> None:
    """Run one measurement."""
    collect_rarely()  # as the observer does
    clock = Clock()
    if kind == "day":
        clock.replayed = time.time() - seconds
    with parts(database_url, redis_url, clock) as observer:
        found = day(observer, seconds) if kind == "day" else build(observer, seconds)
    print(orjson.dumps(found).decode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
