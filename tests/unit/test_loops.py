"""Long-lived loops: the table of all of them, their guard, heartbeats, watchdog and process end."""

from __future__ import annotations

import ast
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from config.gunicorn import acceptor as rest_loops
from config.loops import ENDED, EXIT_CODE, BeatingStop, Heartbeats, ProcessEnd, keep
from config.process.watchdog import OsThreads, Watchdog
from db.timestamps import utc_now
from jobs import scheduler
from jobs.duties.holding import Holding
from jobs.duties.works import JobWorks, Services
from jobs.feeds.base import State
from jobs.feeds.ingest import Ingest, Ingestion
from jobs.feeds.status import Reporter
from jobs.runtime.context import JobContext
from tests.conftest import until

ROOT = Path(__file__).parents[2]
FOLDERS = ("config", "ops", "db", "health", "jobs", "api", "cli")
STARTS = {
    *("Thread", "LongLivedThread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "BackgroundScheduler", "start_new_thread"),
    *("spawn_n", "spawn_after", "start_background_task", "keep", "keep_in_thread", "GreenPool", "tpool"),
}


class Start(NamedTuple):
    """A place that starts loops: the names and the process of its long-lived loops."""

    process: str
    loops: tuple[str, ...] = ()
    ends: str = ""  # the reason for which its other threads or greenlets are expected to end


TABLE: dict[str, Start] = {
    "api/hub/assembly/loops.py:start_loops": Start(
        "hub",
        (
            *("relay", "books", "book-status", "volatility-feed", "report", "cluster", "bot-reports", "acknowledgements", "instruments"),
            *("access", "leases", "loop-lag", "performance-log", "token-keys"),
        ),
    ),  # the relay runs the alerts
    "api/hub/transport/eventlet_loop.py:every": Start("hub", ("clock",)),
    "api/hub/transport/eventlet_loop.py:spawn": Start("hub", ends="a connection of the relay, or a read of missed messages"),
    "config/gunicorn/eventlet_worker.py:run": Start("hub", ("acceptor", "worker")),
    "config/gunicorn/eventlet_worker.py:init_process": Start("hub", ends="as soon as the application is loaded"),
    "config/gunicorn/eventlet_worker.py:_Pool": Start("hub", ends="a greenlet for each connection"),
    "config/gunicorn/acceptor.py:run": Start("rest", ("acceptor",)),
    "config/gunicorn/acceptor.py:_start": Start("rest", ("worker-1", "worker-2", "…")),
    "api/rest/monitor.py:start": Start("rest", ("watch", "access-log", "performance-log")),
    "api/rest/monitor.py:start_access": Start("rest", ("access", "token-keys")),
    "api/rest/monitor.py:start_replica": Start("rest", ("replica",)),
    "config/loops.py:keep_in_thread": Start("all", ends="the function itself, see its callers"),
    "health/probe.py:ask": Start("all", ends="one check of one part"),
    "ops/checks.py:_findings": Start("all", ends="one check of one server"),
    "ops/checks.py:check_process": Start("all", ends="as soon as both servers have answered"),
    "ops/doctor/parallel.py:read_all": Start("doctor", ends="one remote check of one command"),
    "ops/doctor/parts/rest.py:read_rest": Start("doctor", ends="the requests of one command"),
    "ops/backup/save.py:_counting": Start("backup", ends="the count of the rows of one backup"),
    "ops/status.py:hub_answers": Start("status", ends="the requests of one command"),
    "config/process/watchdog.py:OsThreads": Start("all", ends="the class itself, see `start`"),
    "config/process/watchdog.py:start": Start("all", ("watchdog",), ends="deadline and last line of a process that ends"),
    "jobs/runtime/threads.py:LongLivedThread": Start("jobs", ends="the class itself, see `run`"),
    "jobs/runtime/threads.py:run": Start("jobs", ends="the guard of every `LongLivedThread`"),
    "jobs/runtime/elected.py:run_elected": Start("jobs, books, observer", ("election", "report")),
    "jobs/runtime/election.py:_lead": Start("books, observer", ("books", "observer")),
    "jobs/runtime/threads.py:run_loops": Start(
        "books, observer",
        (
            *("books-worker", "books-heartbeat", "books-commands", "books-gaps", "books-source"),
            *("depth", "depth-snapshots-1", "depth-snapshots-2"),
            *("observer-reports", "observer-snapshots", "observer-seconds", "observer-watch"),
            *("observer-roll-up", "observer-prices", "observer-trades", "observer-trips", "observer-quality"),
        ),
    ),
    "jobs/scheduler.py:_thread": Start("jobs", ("scheduler", "clock-steps"), "catch-up, lead"),
    "jobs/duties/works.py:_thread": Start(
        "jobs",
        (*("write_prices", "write_trades", "write_books"), *("roll_up", "publish_alerts", "timed"), *("gaps-oanda", "gaps-binance")),
        "duties that go to another process",
    ),
    "jobs/feeding.py:_long_lived": Start("jobs", ("instruments",), "the start of sources"),
    "jobs/feeds/ingest.py:__init__": Start("jobs", ("ingest-reporter",)),
    "jobs/feeds/ingest.py:add": Start("jobs", ("ingest-SOURCE",), "a recording that is over, a source that is down"),
    "jobs/feeds/http_lines.py:__init__": Start("jobs", ends="with the connection that it closes"),
    "health/measures/performance_lines.py:start": Start("jobs, books, observer", ("performance-log",)),
    "ops/log_forwarder.py:start": Start("all", ("log-forwarder",)),
    "ops/metrics_endpoint.py:start": Start("jobs, books, observer", ("metrics",)),
    "cli/system.py:up": Start("up", ("watch",)),
}


def starts(source: str) -> Iterator[str]:
    """Yield the enclosing function or class of every start of a thread or greenlet."""

    def visit(node: ast.AST, owner: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in getattr(child, "bases", ())]
                if STARTS & set(bases):
                    yield child.name
                yield from visit(child, child.name)
            elif is_start(child):
                yield owner
                yield from visit(child, owner)
            else:
                yield from visit(child, owner)

    return visit(ast.parse(source), "module")


def is_start(node: ast.AST) -> bool:
    """Return True for a call that starts a thread or greenlet, and for a use of such a class."""
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute):
            owner = getattr(function.value, "id", "")
            return function.attr in STARTS or (owner, function.attr) in {("eventlet", "spawn"), ("self", "thread")}
        return isinstance(function, ast.Name) and function.id in STARTS
    return isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Attribute) and node.value.attr in STARTS


def found() -> set[str]:
    files = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    sources = {path.relative_to(ROOT).as_posix(): path.read_text() for path in files}
    # A start has one of these names in its text; other files need no parser.
    names = (*STARTS, "spawn", "self.thread")
    places = {(path, owner) for path, source in sources.items() if any(name in source for name in names) for owner in starts(source)}
    return {f"{path}:{owner}" for path, owner in places}


def test_table_has_every_start_of_a_thread_or_greenlet() -> None:
    assert found() == set(TABLE)


@pytest.mark.parametrize(
    ("source", "owners"),
    [
        ("def f():\n  threading.Thread(target=g).start()", ["f"]),
        ("class A:\n  def f(self):\n    eventlet.spawn(g)", ["f"]),
        ("class A(threading.Thread):\n  pass", ["A"]),
        ("pool = ThreadPoolExecutor(3)", ["module"]),
        ("def f(io):\n  io.start_background_task(keep, g)", ["f"]),
        ("def f():\n  start_new_thread(g, ())", ["f"]),
        ("def f():\n  spawn(argv)\n  event.set()", []),  # a child process
    ],
)
def test_start_is_found(source: str, owners: list[str]) -> None:
    assert list(starts(source)) == owners


@pytest.mark.parametrize("place", [place for place, start in TABLE.items() if start.loops])
def test_start_of_a_long_lived_loop_is_guarded(place: str) -> None:
    path, owner = place.split(":")
    names = {node.id for function in _functions(path, owner) for node in ast.walk(function) if isinstance(node, ast.Name)}
    assert names & {"keep", "keep_in_thread", "LongLivedThread", "Watchdog"} or "watchdog" in path


def test_table_names_every_loop_of_the_hub() -> None:
    [function] = _functions("api/hub/assembly/loops.py", "loops_of")
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Loop"]
    names = {ast.literal_eval(call.args[0]) for call in calls}
    assert names == set(TABLE["api/hub/assembly/loops.py:start_loops"].loops)


def test_start_of_the_watchdog_is_guarded() -> None:
    [function] = [each for each in _functions("config/process/watchdog.py", "start") if "keep" in ast.dump(each)]
    assert "_run" in ast.dump(function)


def _functions(path: str, name: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef) and node.name == name]


# the guard


class _Bug(BaseException):
    """An end that no `except Exception` stops."""


def finish(*arguments: Any, **named: Any) -> None:
    """Return at once."""


def fail(*arguments: Any, **named: Any) -> None:
    """Fail like a programming error."""
    raise _Bug


ENDS = pytest.mark.parametrize("broken", [finish, fail], ids=["returns", "raises"])


@ENDS
def test_loop_that_ends_ends_its_process(broken: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
    codes: list[int] = []
    keep("relay", broken, lambda: False, codes.append)
    assert codes == [EXIT_CODE] == [70]
    [record] = caplog.records
    assert (record.levelname, record.msg, vars(record)["loop"]) == ("ERROR", ENDED, "relay")
    assert (record.exc_info is not None) is (broken is fail)


def test_loop_may_end_when_the_process_stops(caplog: pytest.LogCaptureFixture) -> None:
    codes: list[int] = []
    keep("relay", finish, lambda: True, codes.append)
    with pytest.raises(_Bug):
        keep("relay", fail, lambda: True, codes.append)
    assert (codes, caplog.records) == ([], [])


# every loop of jobs, each in its real thread


def context() -> JobContext:
    return JobContext(cast(Any, None), cast(Any, None), cast(Any, None), utc_now)


def ended(context: JobContext, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Wait until the context has failed; return the names of the loops that ended."""
    until(context.failed.is_set, 20, "the failure")
    return [vars(record)["loop"] for record in caplog.records if record.levelname == "ERROR"]


@ENDS
@pytest.mark.parametrize(
    ("duty", "loops"),
    [
        ("write:0", ["write_books", "write_prices", "write_trades"]),
        ("gaps:nowhere", ["gaps-nowhere"]),
        *((name, [name]) for name in ("roll_up", "publish_alerts", "timed")),
    ],
)
def test_loop_of_a_duty_that_ends_ends_jobs(
    duty: str, loops: list[str], broken: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    shared = context()
    known = scheduler.services(cast(Any, None))
    loop_of_each = Services(dict.fromkeys(known.writers, broken), broken, dict.fromkeys(known.others, broken))
    works = JobWorks(shared, cast(Any, None), loop_of_each)
    works.begin([Holding(duty, 1)])
    until(lambda: len(ended(shared, caplog)) == len(loops), 20, "the end of its threads")
    assert sorted(ended(shared, caplog)) == loops
    until(lambda: works.is_over(duty), 20, "the end of its work")
    assert shared.stop.is_set()


@ENDS
@pytest.mark.parametrize("name", ["ingest-nowhere", "ingest-reporter"])
def test_loop_of_ingestion_that_ends_ends_jobs(
    name: str, broken: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = context()
    monkeypatch.setattr(Ingest, "run", broken if name == "ingest-nowhere" else lambda self, stop: stop.wait())
    monkeypatch.setattr(Reporter, "run", broken if name == "ingest-reporter" else lambda self, stop: stop.wait())
    ingestion = Ingestion([cast(Any, _Source())], cast(Any, None), calendars={}, max_attempts=1, clock=utc_now, thread_failed=shared.fail)
    ingestion.start()
    assert ended(shared, caplog) == [name]
    ingestion.stop()


class _Source:
    """A source with a name only."""

    name, stale_after, mode = "nowhere", None, "live"
    note_bad = count_refused = staticmethod(finish)


def test_source_that_is_over_does_not_end_jobs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    shared = context()
    ingestion = Ingestion([cast(Any, _Source())], cast(Any, None), calendars={}, max_attempts=1, clock=utc_now, thread_failed=shared.fail)
    monkeypatch.setattr(Reporter, "run", lambda self, stop: stop.wait())
    monkeypatch.setattr(Ingest, "_drain", finish)  # the recording is over
    ingestion.start()
    until(lambda: ingestion.statuses[0].state is State.ENDED, 20, "the end of the recording")
    assert not shared.failed.is_set()
    assert ingestion.stop()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@ENDS
def test_thread_of_the_worker_that_ends_ends_rest(
    broken: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(rest_loops, "PROCESS_END", codes.append)
    monkeypatch.setattr(rest_loops.KeptThreads, "_serve", broken)
    rest_loops.KeptThreads(2, lambda: False)
    until(lambda: len(codes) == 2, 5, "the end of both threads")
    assert {vars(record)["loop"] for record in caplog.records} == {"worker-1", "worker-2"}


@ENDS
def test_acceptor_of_rest_that_ends_ends_its_worker(
    broken: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Base:
        alive, ppid = True, os.getppid()
        run = staticmethod(broken)

    class Worker(rest_loops.GuardedWorker, Base):
        pass

    end = ProcessEnd()
    worker = Worker()
    end.in_order(worker.stop_in_order, lambda leave: None)
    monkeypatch.setattr(rest_loops, "PROCESS_END", end)
    with pytest.raises(SystemExit) as left:
        worker.run()
    assert (left.value.code, worker.alive) == (EXIT_CODE, False)
    assert [vars(record)["loop"] for record in caplog.records] == ["acceptor"]


def test_thread_of_the_worker_survives_a_failing_call(caplog: pytest.LogCaptureFixture) -> None:
    threads = rest_loops.KeptThreads(1, lambda: False)
    with pytest.raises(SystemExit):
        threads.submit(_leave).result(60)
    assert threads.submit(sum, (1, 2)).result(60) == 3
    threads.shutdown()


def _leave() -> None:
    raise SystemExit(1)


# heartbeats


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_loop_is_silent_after_three_missed_rounds() -> None:
    clock = _Clock()
    beats = Heartbeats(clock)
    beats.expect("relay", 2.0)
    beats.beat("unknown")
    clock.now = 5.9
    assert beats.silent() == {}
    clock.now = 6.0
    assert beats.silent() == {"relay": 6.0}
    beats.beat("relay")
    assert beats.silent() == {}
    clock.now = 20.0
    beats.forget("relay")
    assert beats.silent() == {}


def test_each_use_of_the_stop_event_is_a_heartbeat() -> None:
    clock = _Clock()
    beats = Heartbeats(clock)
    beats.expect("relay", 1.0)
    real = threading.Event()
    stop = BeatingStop(real, "relay", beats)
    for use in (stop.is_set, lambda: stop.wait(0), lambda: stop.wait(0.01)):
        clock.now += 3.0
        assert beats.silent() == {"relay": 3.0}
        assert not use()
        assert beats.silent() == {}
    stop.set()
    assert real.is_set()
    assert stop.is_set()
    assert stop.wait()
    assert stop.wait(60)


# the watchdog


class _Left(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


def _raise_code(code: int) -> None:
    raise _Left(code)


def watched(rounds: Sequence[tuple[float, bool]], capfd: pytest.CaptureFixture[str]) -> int | None:
    """Run a watchdog for rounds of (seconds of the clock, loop beats); return the exit code."""
    clock = _Clock()
    beats = Heartbeats(clock)
    beats.expect("relay", 1.0)
    left = iter(rounds)

    def sleep(seconds: float) -> None:
        try:
            step, beat = next(left)
        except StopIteration:
            raise _Left(0) from None
        clock.now += step
        if beat:
            beats.beat("relay")

    class Inline:
        """Runs the last line at once."""

        def __init__(self, target: Callable[[], None], **named: Any) -> None:
            self.start = target

    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = [logging.StreamHandler()]
    try:
        Watchdog(OsThreads(Inline, sleep), beats, _raise_code)._run()
    except _Left as end:
        return end.code
    finally:
        root.handlers[:] = before
    return None


def test_watchdog_ends_a_process_whose_loop_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    assert watched([(1.0, False)] * 70, capfd) == EXIT_CODE
    assert "a loop is silent: the process ends" in capfd.readouterr().err


def test_watchdog_leaves_a_beating_loop_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert watched([(1.0, number % 4 == 0) for number in range(300)], capfd) == 0
    assert capfd.readouterr().err == ""


def test_pause_of_the_whole_process_is_no_silence(capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-Z, or a frozen container, for an hour."""
    assert watched([(1.0, True), (3600.0, False), (1.0, False), (1.0, True)] * 30, capfd) == 0


# the end of the process


def test_end_without_an_orderly_stop_is_immediate() -> None:
    codes: list[int] = []
    end = ProcessEnd(codes.append)
    assert not end.begun
    end(70)
    end(70)
    assert (codes, end.code, end.begun) == ([70], 70, True)


def test_orderly_end_has_a_deadline() -> None:
    codes, stops, deadlines = list[int](), list[str](), list[Callable[[], None]]()
    end = ProcessEnd(codes.append)
    end.in_order(lambda: stops.append("stop"), deadlines.append)
    end(70)
    end(70)
    assert (codes, stops, len(deadlines), end.code) == ([], ["stop"], 1, 70)
    deadlines[0]()
    assert codes == [70]


def test_requested_end_has_no_code() -> None:
    end = ProcessEnd(_raise_code)
    end.expect()
    assert (end.begun, end.code) == (True, None)
