"""The observer process, `python -m jobs.observer`: reports into the store, snapshots, metrics."""

from __future__ import annotations

if __name__ == "__main__":
    import gc

    gc.disable()  # modules are no garbage, and each search visits all of them

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from config.pacing import Outage, Stopped, StopSignal, retry
from db.bus import BusError
from db.leadership import OBSERVER, Leadership
from db.postgres import StoreError
from db.timestamps import utc_now
from health.measures import performance_lines
from health.measures.process import new_exposition, reported
from health.timing import DEFAULT, Timing
from jobs.observer.alerts.watcher import AlertWatcher
from jobs.observer.collectors.base import Collector, ObserverContext
from jobs.observer.loop import RollUpLoop, SecondLoop, SnapshotLoop, WatchLoop, log
from jobs.observer.metrics import ObserverMetrics
from jobs.observer.parts import COLLECTORS, WATCHERS, Watcher
from jobs.observer.process_report import ActingObserver, ObserverReport
from jobs.observer.reports import Listener, ReportFolder
from jobs.runtime.elected import end_in_order, run_elected, stop_on_signals
from jobs.runtime.election import Election
from jobs.runtime.garbage import collect_rarely
from jobs.runtime.threads import run_loops
from ops import metrics_endpoint, startup

_RETRY_SECONDS = 1.0
LONGEST_SECONDS = 60.0  # the longest round of a loop: a late report that computes its position again


def run(context: ObserverContext, acting: ActingObserver, over: threading.Event) -> None:
    """Observe until `over` is set: reports end last. Raises `ThreadEnded` if a loop fails."""
    collectors = {collector.name: collector for collector in (make(context) for make in COLLECTORS)}
    try:
        _start(collectors.values(), over)
    except Stopped:
        return
    listeners = [each for each in collectors.values() if isinstance(each, Listener)]
    folder = ReportFolder(context, listeners, lambda: context.prices.rates(context.clock(), context.settings.obs_currency_parity))
    snapshots = SnapshotLoop(context, collectors)
    watchers = [make(context, collectors) for make in WATCHERS]
    loops: dict[str, Callable[[StopSignal], None]] = {
        "observer-reports": folder.run,
        "observer-snapshots": snapshots.run,
        "observer-seconds": SecondLoop(context, collectors).run,
        "observer-watch": WatchLoop(context, watchers).run,
        "observer-roll-up": RollUpLoop(context).run,
    }
    for collector in collectors.values():
        loops.update(collector.loops())
    metrics = ObserverMetrics(collectors, folder, snapshots, partial(_firing, watchers))
    acting.begin(context.clock(), partial(figures, collectors, folder, snapshots), metrics)
    try:
        run_loops("observer", loops, over, round_seconds=LONGEST_SECONDS, stopping=lambda: log.info("the observer stops"))
    finally:
        acting.end()
        for collector in collectors.values():
            collector.stop()


def _start(collectors: Iterable[Collector], over: threading.Event) -> None:
    """Start every collector, as soon as store and bus answer. Raises `Stopped`."""
    outage = Outage(log, "the observer waits for the store or the bus", monotonic=time.monotonic)
    for collector in collectors:
        retry(collector.start, on=(StoreError, BusError), stop=over, outage=outage, pause=lambda attempt: _RETRY_SECONDS)


def _firing(watchers: Iterable[Watcher]) -> Mapping[tuple[str, str], int]:
    return next((watcher.firing() for watcher in watchers if isinstance(watcher, AlertWatcher)), {})


def figures(collectors: Mapping[str, Collector], folder: ReportFolder, snapshots: SnapshotLoop) -> dict[str, Any]:
    """The counters of the observer, for its report."""
    names = ("stored", "duplicates", "conflicts", "refused", "recomputed")
    return {
        "reports": {name: getattr(folder, name) for name in names},
        "snapshots": {"published": snapshots.published, "skipped": snapshots.skipped},
        "collectors": {name: dict(collector.get_statistics()) for name, collector in collectors.items()},
    }


def main(timing: Timing = DEFAULT) -> None:
    """Entry point of the process: settings, signals, report, election."""
    collect_rarely()
    stop = end_in_order()
    started = startup.start("observer")
    config = started.settings
    acting = ActingObserver()
    exposition = new_exposition("observer", acting=lambda: acting.since is not None, stores=[started.store])
    metrics_endpoint.start(config, exposition)
    performance_lines.start(config, started.store)

    def act(over: threading.Event) -> None:
        run(ObserverContext(config, started.bus, started.store, utc_now), acting, over)

    stop_on_signals(stop)
    families = reported(exposition, config.metrics_scope)
    report = ObserverReport(config, started.bus, started.store, utc_now, acting, timing, families=families)
    exposition.register(report.collect)
    exposition.register(acting.collect)
    leadership = Leadership(str(config.database_direct_url), timeout_ms=config.db_timeout_ms, lock=OBSERVER)
    run_elected(Election(leadership, started.bus, act, "observer"), report, stop)


if __name__ == "__main__":
    main()
