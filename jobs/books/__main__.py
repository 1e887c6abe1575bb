"""The process `python -m jobs.books`: scenarios, recordings, live books, heartbeats."""

from __future__ import annotations

if __name__ == "__main__":
    import gc

    gc.disable()  # modules are no garbage, and each search visits all of them

import logging
import threading
import time

from db.leadership import BOOKS, Leadership
from db.timestamps import utc_now
from health.measures import performance_lines
from health.measures.process import new_exposition, reported
from health.timing import DEFAULT, Timing
from jobs.books.process.assembly import BooksContext, assemble
from jobs.books.process.metrics import BooksMetrics
from jobs.books.process.parts import ReportParts
from jobs.books.process.report import ActingBooks, BooksReport
from jobs.feeds.binance.depth import depth_source
from jobs.runtime.elected import end_in_order, run_elected, stop_on_signals
from jobs.runtime.election import Election
from jobs.runtime.garbage import collect_rarely
from jobs.runtime.threads import run_loops
from ops import metrics_endpoint, startup

log = logging.getLogger("jobs.books")

ROUND_SECONDS = 60.0  # the longest round of a loop: a recording of 512 MiB is read


def run(context: BooksContext, acting: ActingBooks, over: threading.Event) -> None:
    """Keep the books until `over` is set. Raises `ThreadEnded` if a loop fails."""
    assembly = assemble(context, over, depth_source)
    parts = assembly.worker.parts
    metrics = BooksMetrics(parts.keeper, parts.scenario, queue_max=context.settings.scenario_queue_max)
    acting.begin(ReportParts(assembly, context.clock), metrics)
    try:
        run_loops("books", assembly.loops, over, round_seconds=ROUND_SECONDS, stopping=lambda: log.info("the books stop"))
    finally:
        acting.end()


def main(timing: Timing = DEFAULT) -> None:
    """Entry point of the process: settings, signals, report, election."""
    started_at = time.monotonic()
    collect_rarely()
    stop = end_in_order()
    started = startup.start("books")
    config = started.settings
    acting = ActingBooks()
    exposition = new_exposition("books", acting=lambda: acting.is_acting, stores=[started.store])
    exposition.register(acting.collect)
    metrics_endpoint.start(config, exposition)
    performance_lines.start(config, started.store)
    context = BooksContext(config, started.bus, started.store, utc_now, started_at, acting.changed)

    def act(over: threading.Event) -> None:
        run(context, acting, over)

    stop_on_signals(stop)
    families = reported(exposition, config.metrics_scope)
    report = BooksReport(started.bus, started.store, utc_now, acting, timing, families=families)
    leadership = Leadership(str(config.database_direct_url), timeout_ms=config.db_timeout_ms, lock=BOOKS)
    run_elected(Election(leadership, started.bus, act, "books"), report, stop)


if __name__ == "__main__":
    main()
