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
from functools import partial
from typing import Any

from config import VERSION
from db.bus import Bus
from db.timestamps import parse_time
from jobs.observer import __main__ as observer_process
from jobs.observer.collectors.base import ObserverContext
from jobs.observer.parts import COLLECTORS
from jobs.observer.process_report import ActingObserver, ObserverReport
from jobs.runtime.context import JobContext, Service
from jobs.runtime.elected import stop_on_signals
from jobs.runtime.own_report import OwnReport
from jobs.runtime.reports import Acting, JobsReport
from jobs.runtime.threads import run_loops
from jobs.scheduler import JOBS, TIMED
from ops import startup
from ops.startup import Started
from tests.web.screens.system import SteadySystem

_ROUND_SECONDS = 60.0


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
    context = JobContext(started.settings, started.bus, started.store, clock, stop, acting=acting)
    acting.begin(clock())
    triggers = {job.id: job.trigger for job in TIMED.values()}
    report = JobsReport(started.settings, started.bus, started.store, clock, triggers, acting)
    services = {job.id: job.run for job in JOBS if isinstance(job, Service)}
    loops = {name: partial(_serve, run, context) for name, run in services.items()}
    _run("jobs", loops, report, stop)


def _serve(run: Callable[[JobContext], object], context: JobContext, stop: threading.Event) -> None:
    run(replace(context, stop=stop, stop_writing=stop))


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


def _run(owner: str, loops: dict[str, Any], report: OwnReport, stop: threading.Event) -> None:
    threading.Thread(target=report.run, args=(stop,), daemon=True).start()
    stop_on_signals(stop)
    run_loops(owner, loops, stop, round_seconds=_ROUND_SECONDS, stopping=lambda: None)


if __name__ == "__main__":
    {"jobs": jobs, "observer": observer}[sys.argv[1]]()
