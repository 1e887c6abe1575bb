"""Processes of the product whose clock stands still: other composition roots, the same parts.

`tests.web.screens.frozen:hub()` and `:rest()` are for gunicorn. `python -m tests.web.screens.frozen
jobs` and `… observer` are processes. `FROZEN_AT` is their time; waits and limits use the monotonic
clock, as everywhere. Nothing of the product knows of a frozen clock: it is an argument.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from config import VERSION
from config.process.duties import TIMED_JOBS, duties_of_settings
from db.bus import Bus
from db.scenarios.files import has_books
from db.timestamps import parse_time
from jobs.duties.holding import Holding
from jobs.duties.works import JobWorks
from jobs.feeding import Feeding
from jobs.observer import __main__ as observer_process
from jobs.observer.collectors.base import ObserverContext
from jobs.observer.parts import COLLECTORS
from jobs.observer.process_report import ActingObserver, ObserverReport
from jobs.runtime.context import JobContext
from jobs.runtime.elected import stop_on_signals
from jobs.runtime.reports import Acting, JobsReport
from jobs.scheduler import TIMED, services
from ops import startup
from ops.startup import Started
from tests.web.screens.system import SteadySystem

_PAUSE_SECONDS = 0.5  # between two looks for a failure


def _clock() -> Callable[[], datetime]:
    moment = parse_time(os.environ["FROZEN_AT"])
    return lambda: moment


def _start(service: str, clock: Callable[[], datetime], **how: bool) -> Started:
    """Return settings, bus and store of a process, with a bus of this clock."""
    started = startup.start(service, **how)
    return replace(started, bus=Bus(str(started.settings.redis_url), clock, limit=started.settings.stream_max_length))


def hub() -> Any:
    """The hub."""
    clock = _clock()
    started = _start("hub", clock, waits_for_database=True)
    from api.websocket_server import create_hub  # loads eventlet

    return create_hub(started.settings, started.bus, started.store, clock)


def rest() -> Any:
    """REST."""
    clock = _clock()
    started = _start("rest", clock)
    from api.app import create_app, start_watch

    app = create_app(started.settings, started.bus, started.store, clock, VERSION)
    start_watch(app)
    return app


def jobs() -> None:
    """The jobs process without its timer: sources, writers, roll-up, alerts."""
    clock, stop, acting = _clock(), threading.Event(), Acting()
    started = _start("jobs", clock)
    context = JobContext(started.settings, started.bus, started.store, clock, acting=acting)
    duties = duties_of_settings(started.settings, has_books)
    acting.hold(duties, None, clock())
    triggers = {job.id: job.trigger for job in TIMED.values()}
    report = JobsReport(started.settings, started.bus, started.store, clock, triggers, acting)
    feeding = Feeding(context)
    works = JobWorks(context, feeding, services(feeding))
    holdings = [Holding(duty, 0) for duty in duties if duty != TIMED_JOBS]
    threading.Thread(target=report.run, args=(stop,), daemon=True).start()
    stop_on_signals(stop)
    works.begin(holdings)
    while not stop.wait(_PAUSE_SECONDS) and not context.failed.is_set():
        pass
    for holding in holdings:
        holding.stop.set()
    works.close()


def observer() -> None:
    """The observer process, with steady figures of the system."""
    clock, stop, acting = _clock(), threading.Event(), ActingObserver()
    started = _start("observer", clock)
    vars(observer_process)["COLLECTORS"] = (*COLLECTORS[:-1], SteadySystem)
    context = ObserverContext(started.settings, started.bus, started.store, clock)
    report = ObserverReport(started.settings, started.bus, started.store, clock, acting)
    threading.Thread(target=report.run, args=(stop,), daemon=True).start()
    stop_on_signals(stop)
    observer_process.run(context, acting, stop)


if __name__ == "__main__":
    {"jobs": jobs, "observer": observer}[sys.argv[1]]()
