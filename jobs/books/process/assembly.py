"""The parts of the active process, as the settings need them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from config.books.checks import SCENARIO_FOLDER
from config.loops import BeatingStop
from config.pacing import StopSignal
from config.settings import Settings
from db.bus import Bus
from db.instruments import all_instruments
from db.postgres import Store, StoreError
from db.scenarios.fields import ScenarioError
from db.scenarios.files import has_books, recording_folders
from jobs.books.heartbeat import HeartbeatLoop
from jobs.books.keeping.keeper import Keeper
from jobs.books.keeping.outlet import Outlet
from jobs.books.live.gap_rows import GapRows
from jobs.books.live.history import History
from jobs.books.live.live_line import LiveLine
from jobs.books.live.sources import DepthSource
from jobs.books.parts.transitions import MachineOptions
from jobs.books.play.director import Director
from jobs.books.play.plan import Plan, PlanMaker, Recordings
from jobs.books.play.run_rows import RunRows
from jobs.books.play.scenario import CurrentScenario
from jobs.books.play.slow_clients import SlowClients
from jobs.books.play.stage import Stage
from jobs.books.process.former import disconnect_former
from jobs.books.worker import Parts, Worker
from jobs.feeds.status import CHECK_SECONDS, Reporter

log = logging.getLogger("jobs.books")

PUBLISH_TIMEOUT_SECONDS = 2.0  # a hung Redis must not hold the books for longer
STATEMENT_SECONDS = 1.5  # of the rows of runs, which the worker writes

WORKER = "books-worker"

Loop = Callable[[StopSignal], None]
MakeFeed = Callable[[Settings, LiveLine], DepthSource]


@dataclass(frozen=True, slots=True)
class BooksContext:
    """Everything that the parts share.

    `started` is the monotonic time of the process's start. `changed` is set to report at once.
    """

    settings: Settings
    bus: Bus
    store: Store
    clock: Callable[[], datetime]
    started: float
    changed: threading.Event


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of the active process: the worker, and the loops by the names of their threads.

    `unplayable` maps sources to the reason why their recordings are not played.
    """

    worker: Worker
    heartbeat: HeartbeatLoop
    loops: Mapping[str, Loop]
    director: Director | None
    feed: DepthSource | None
    unplayable: Mapping[str, str]


def assemble(context: BooksContext, stop: threading.Event, depth_source: MakeFeed) -> Assembly:
    """Make all parts; no thread is started. `depth_source` makes the feed of live books."""
    settings, clock = context.settings, context.clock
    stop = BeatingStop(stop, WORKER)
    bus = context.bus.with_timeout(PUBLISH_TIMEOUT_SECONDS)
    outlet = Outlet(bus, monotonic=time.monotonic, wait=stop.wait)
    disconnect_former(bus, outlet, clock)
    keeper = Keeper(outlet, _options(settings), wall=clock, monotonic=time.monotonic, jitter=random.random)
    rows = RunRows(_quick(context.store), clock, time.monotonic, stop.wait)
    scenario = CurrentScenario(keeper, outlet, rows, lambda plan: _stage(context, keeper, plan), clock=clock, name=settings.scenario)
    maker = _maker(context)
    director = _director(context, maker, scenario) if _is_configured(settings, "scenario") else None
    live = LiveLine(settings.book_buffer_max, monotonic=time.monotonic, wake=lambda: worker.wake()) if settings.book_symbols else None
    history = History(bus, settings.book_history_seconds, settings.book_depth_seconds, time.monotonic) if live else None
    recordings, unplayable = _recordings(context, maker, keeper)
    parts = Parts(keeper, outlet, scenario, recordings, live, history)
    worker = Worker(
        parts,
        monotonic=time.monotonic,
        queue_max=settings.book_buffer_max,
        awaits_scenario=director is not None,
        switched=context.changed.set,
    )
    heartbeat = HeartbeatLoop(context.bus, worker.figures, interval=settings.heartbeat_interval, started=context.started, clock=clock)
    loops: dict[str, Loop] = {WORKER: worker.run, "books-heartbeat": heartbeat.run}
    if director is not None:
        loops["books-commands"] = director.run
    feed = None
    if live is not None:
        feed = depth_source(settings, live)
        loops.update(_live_loops(context, live, keeper, feed))
    return Assembly(worker, heartbeat, loops, director, feed, unplayable)


def _live_loops(context: BooksContext, live: LiveLine, keeper: Keeper, feed: DepthSource) -> dict[str, Loop]:
    """Connect the live line with its feed and its rows, and begin its books."""
    settings = context.settings
    gaps = GapRows(context.store, context.clock, is_spot=settings.book_market == "spot")
    live.request, live.note_change, live.books = feed.request_snapshot, gaps.note, keeper.books
    for symbol in settings.book_symbols:
        keeper.begin(symbol, settings.book_market, live)
    reporter = Reporter(context.bus, [feed.status], threading.Event())
    return {"books-gaps": gaps.run, "books-source": _reporting(reporter), **feed.loops()}


def _reporting(reporter: Reporter) -> Loop:
    def run(stop: StopSignal) -> None:
        while not stop.wait(CHECK_SECONDS):
            reporter.report()

    return run


def _options(settings: Settings) -> MachineOptions:
    return MachineOptions(
        refresh_levels=settings.book_refresh_levels,
        stale_after=settings.book_stale_after,
        buffer_max=settings.book_buffer_max,
        audit_is_on=settings.book_audit == "on",
    )


def _quick(store: Store) -> Store:
    return store.with_limits(pool_max=1, timeout_ms=int(STATEMENT_SECONDS * 1_000))


def _stage(context: BooksContext, keeper: Keeper, plan: Plan) -> Stage:
    stage = Stage(
        plan,
        keeper,
        origin=time.monotonic(),
        started=context.clock(),
        snapshot_levels=context.settings.book_snapshot_limit,
        clock=time.monotonic,
    )
    stage.origin = time.monotonic()  # a long recording takes some time to prepare
    return stage


def _maker(context: BooksContext) -> PlanMaker:
    settings = context.settings
    recordings = Recordings(recording_folders(settings.hub_data_dir), lambda: _instruments(context.store))
    return PlanMaker(SCENARIO_FOLDER, recordings, settings.scenario_queue_max, settings.scenario_processing_delay_ms)


def _instruments(store: Store) -> Collection[str] | None:
    """The known instruments; None if the store does not answer: then any is accepted."""
    try:
        with store.transaction() as cursor:
            return {each.symbol for each in all_instruments(cursor)}
    except StoreError as error:
        log.warning("the instruments of a recording are not checked", extra={"reason": str(error)})
        return None


def _director(context: BooksContext, maker: PlanMaker, scenario: CurrentScenario) -> Director:
    settings = context.settings

    def note_previous(name: str) -> None:
        scenario.previous = name

    def slow_clients() -> int:
        stage = scenario.stage
        return 0 if stage is None else stage.flow.faults.slow_clients(stage.flow.now)

    return Director(
        context.bus,
        context.store,
        maker,
        settings.scenario,
        offer=scenario.offer,
        previous=note_previous,
        clients=SlowClients(_reachable(settings.websocket_host), settings.websocket_port),
        slow_clients=slow_clients,
    )


def _reachable(host: str) -> str:
    """The host of the hub on this machine, which may listen on every address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def _recordings(context: BooksContext, maker: PlanMaker, keeper: Keeper) -> tuple[tuple[Stage, ...], dict[str, str]]:
    """A stage for each `replay:FILE` that has books, and source -> problem of the others.

    A book that another source gives is played once.
    """
    stages: list[Stage] = []
    problems: dict[str, str] = {}
    taken = set(context.settings.book_symbols)
    for spec in context.settings.sources:
        if spec.kind != "replay" or spec.file is None or not has_books(spec.file):
            continue
        try:
            stage = _stage(context, keeper, maker.of_source(spec))
        except (ScenarioError, ValueError) as error:
            problems[spec.name] = str(error)
            continue
        if double := sorted(taken.intersection(stage.instruments)):
            problems[spec.name] = (
                f"the books of {', '.join(double)} come from another source: remove one of them from SOURCES or BOOK_SYMBOLS"
            )
            continue
        taken.update(stage.instruments)
        for instrument in stage.instruments:
            keeper.begin(instrument, stage.market(instrument), stage)
        stages.append(stage)
    for name, problem in problems.items():
        log.error("the books of a recording are not played", extra={"source": name, "reason": problem})
    return tuple(stages), problems


def _is_configured(settings: Settings, kind: str) -> bool:
    return any(spec.kind == kind for spec in settings.sources)
