"""Duties over several jobs processes: their locks in PostgreSQL, and the fence of the bus.

Keepers are polled by hand, so that each count of polls is exact. At the end, real processes share
a feed: one is killed, another one is suspended.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import orjson
import psycopg2
import pytest

from config.process.duties import may_take
from config.settings import Settings
from db import topics
from db.bus import Bus, BusFenced, BusSetup
from db.bus.fence import Fence
from db.duties import DutySession, key_of
from db.messages import Tick
from db.postgres import Store, StoreError
from db.timestamps import utc_now
from jobs.duties.holding import Holding
from jobs.duties.keeper import PATIENT_POLLS, Keeper
from tests.conftest import until
from tests.standins.binance import BinanceStandIn
from tests.support.duties import holders, is_shared
from tests.support.processes import ROOT, Running, environ_of, jobs, stopped
from tests.support.store import select, stored_trades

DUTIES = [*(f"source:s{number}" for number in range(6)), *(f"write:{number}" for number in range(8)), "timed"]


@dataclass
class Works:
    """Work that ends when its stop is set, unless the duty is in `busy`; `over` has the order."""

    holdings: dict[str, Holding] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    over: list[str] = field(default_factory=list)

    def begin(self, holdings: Sequence[Holding]) -> None:
        self.holdings |= {each.duty: each for each in holdings}

    def is_over(self, duty: str) -> bool:
        over = duty not in self.busy and self.holdings[duty].stop.is_set()
        if over and duty not in self.over:
            self.over.append(duty)
        return over

    def close(self) -> None:
        return


class Member:
    """A keeper that a test polls."""

    def __init__(self, url: str, name: str, *, globs: Sequence[str] = (), known: Callable[[], dict[int, Sequence[str]]] = dict) -> None:
        self.name, self.globs = name, globs
        self.works, self.session = Works(), DutySession(url)
        self.held: set[str] = set()
        self.backend: int | None = None
        self.now = 0.0
        self.keeper = Keeper(
            self.session, self.works, DUTIES, member=name, failed=threading.Event(), globs=globs, others=known, changed=self._note,
            monotonic=lambda: self.now,
        )  # fmt: skip

    def _note(self, duties: object, backend: int | None) -> None:
        self.held, self.backend = set(duties), backend  # type: ignore[call-overload]

    @property
    def fences(self) -> dict[str, int]:
        return {duty: self.works.holdings[duty].fence.number for duty in self.held}


@dataclass
class Team:
    """The members of one database, in the order in which they are polled."""

    url: str
    members: list[Member] = field(default_factory=list)

    def join(self, name: str, globs: Sequence[str] = ()) -> Member:
        member = Member(self.url, name, globs=globs, known=self.known)
        self.members.append(member)
        return member

    def known(self) -> dict[int, Sequence[str]]:
        """The JOBS_DUTIES of the members that have some, as the registry has them."""
        return {each.backend: each.globs for each in self.members if each.backend is not None and each.globs}

    def round(self) -> int:
        """Poll each member once; return the number of duties that nobody has."""
        for member in self.members:
            member.keeper.poll()
        held = [duty for member in self.members for duty in member.held]
        assert len(held) == len(set(held)), "no duty is held twice"
        return len(DUTIES) - len(held)

    def sizes(self) -> list[int]:
        return sorted((len(member.held) for member in self.members), reverse=True)

    def end(self, member: Member) -> None:
        """End the session of a member, as if its process was killed; it is polled no more."""
        self.members.remove(member)
        end_session(self.url, member)


def execute(url: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def end_session(url: str, member: Member) -> None:
    execute(url, "SELECT pg_terminate_backend(%s)", member.backend)
    until(lambda: execute(url, "SELECT count(*) FROM pg_locks WHERE pid = %s", member.backend) == [(0,)], what="the end of the session")


@pytest.fixture
def team(database_url: str) -> Iterator[Team]:
    found = Team(database_url)
    yield found
    for member in found.members:
        member.session.close()


# the table of the protocol


def test_first_process_has_all_duties_after_one_poll(team: Team) -> None:
    first = team.join("a")
    assert team.round() == 0
    assert first.held == set(DUTIES)
    locks = execute(
        team.url, "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = 28951 AND objsubid = 2 AND granted"
    )
    assert {objid for (objid,) in locks} == {0, *(key_of(duty) % 2**32 for duty in DUTIES)}


@pytest.mark.parametrize("joining", [1, 2, 3])
def test_joining_processes_get_an_even_share_and_no_duty_waits(team: Team, joining: int) -> None:
    team.join("a")
    team.round()
    for number in range(joining):
        team.join(f"b{number}")
    uncovered = [team.round() for _ in range(len(DUTIES))]
    assert max(uncovered) <= 1, "one duty at a time is free, until the next poll"
    assert uncovered[-1] == 0
    share = ceil(len(DUTIES) / (joining + 1))
    assert team.sizes()[0] == share
    assert team.sizes()[-1] >= len(DUTIES) - joining * share
    fences = [number for member in team.members for number in member.fences.values()]
    assert len(set(fences)) == len(DUTIES), "each win has a number of its own"


def test_processes_that_start_together_share_at_once(team: Team) -> None:
    members = [team.join(name) for name in ("a", "b", "c")]
    for member in members:
        member.session.look()
    assert team.round() == 0 or team.round() == 0
    assert team.sizes() == [5, 5, 5]


def test_duties_of_a_killed_process_are_held_again_within_two_polls(team: Team) -> None:
    first, second, third = (team.join(name) for name in ("a", "b", "c"))
    while team.sizes() != [5, 5, 5]:
        team.round()
    lost = second.fences
    team.end(second)
    team.round()
    assert team.round() == 0
    assert team.sizes() == [8, 7]
    numbers = {**first.fences, **third.fences}
    assert all(numbers[duty] > number for duty, number in lost.items()), "a successor has a higher number"


def test_stopping_process_ends_its_writers_last_and_leaves_no_duty(team: Team) -> None:
    first, second = team.join("a"), team.join("b")
    while team.sizes() != [8, 7]:
        team.round()
    team.members.remove(second)
    second.works.over.clear()
    second.keeper.end(threading.Event())
    writers = [duty.startswith("write:") for duty in second.works.over]
    assert len(writers) == 7
    assert writers == sorted(writers)
    assert team.round() == 0
    assert team.sizes() == [15]
    assert first.held == set(DUTIES)


def test_lock_is_released_after_the_end_of_the_work(team: Team) -> None:
    first = team.join("a")
    team.round()
    first.works.busy = set(DUTIES)
    second = team.join("b")
    for _ in range(3):
        team.round()
    [ending] = [duty for duty, holding in first.works.holdings.items() if holding.stop.is_set()]
    assert second.held == set()
    first.works.busy.clear()
    team.round()
    assert second.held == {ending}


# sessions


def test_holder_that_lost_its_session_wins_its_duties_again(team: Team) -> None:
    first = team.join("a")
    team.round()
    before = first.fences
    end_session(team.url, first)
    first.keeper.poll()
    assert (first.held, first.backend) == (set(DUTIES), None), "the works continue without the store"
    first.keeper.poll()
    assert first.held == set(DUTIES)
    assert all(number > before[duty] for duty, number in first.fences.items())


def test_holder_ends_the_works_that_others_have_taken_meanwhile(team: Team) -> None:
    first = team.join("a")
    team.round()
    second = team.join("b")
    end_session(team.url, first)
    second.keeper.poll()
    assert second.held == set(DUTIES)
    first.keeper.poll()
    assert first.held == set(DUTIES), "it does not know yet"
    first.keeper.poll()
    assert first.held == set()
    assert all(holding.stop.is_set() for holding in first.works.holdings.values())
    while team.sizes() != [8, 7]:
        team.round()


def test_session_of_a_process_that_hangs_ends(database_url: str) -> None:
    with closing(psycopg2.connect(database_url)) as watcher:
        session = DutySession(database_url, poll_seconds=10)
        session.look()
        assert session._scalar("SELECT extract(epoch FROM current_setting('idle_session_timeout')::interval)") == 30
        session._scalar("SELECT length(set_config('idle_session_timeout', '50', false))")
        assert session.take("timed")
        cursor = watcher.cursor()

        def free() -> bool:
            cursor.execute("SELECT pg_try_advisory_xact_lock(28951, %s)", (key_of("timed"),))
            [(taken,)] = cursor.fetchall()
            return bool(taken)

        until(free, what="the lock of a session without a statement")
        with pytest.raises(StoreError):
            session.look()
        session.close()


def test_process_waits_for_the_active_one_of_an_earlier_version(team: Team) -> None:
    with closing(psycopg2.connect(team.url)) as former:
        former.cursor().execute("SELECT pg_advisory_lock(hashtext('tickwire scheduler'))")
        member = team.join("a")
        assert team.round() == len(DUTIES)
        former.close()
        until(lambda: team.round() == 0, what="all duties")
    with closing(psycopg2.connect(team.url)) as former, former.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('tickwire scheduler'))")
        assert cursor.fetchall() == [(False,)]
    assert member.held == set(DUTIES)


# JOBS_DUTIES


def test_members_and_share_count_the_processes_that_may_take_a_duty(team: Team) -> None:
    sources, writers, everything = team.join("a", ["source:*"]), team.join("b", ["write:*", "timed"]), team.join("c")
    uncovered = [team.round() for _ in range(12)]
    assert uncovered[-1] == 0
    assert all(may_take(sources.globs, duty) for duty in sources.held)
    assert all(may_take(writers.globs, duty) for duty in writers.held)
    assert (len(sources.held), len(writers.held), len(everything.held)) == (3, 5, 7)


def test_duty_that_the_others_leave_free_is_taken_beyond_the_share(team: Team) -> None:
    """Such as those of a process that hangs and is still a member."""
    first = team.join("a")
    hanging = Member(team.url, "b")
    hanging.session.look()
    uncovered = [team.round() for _ in range(PATIENT_POLLS + 2)]
    assert uncovered == [7] * PATIENT_POLLS + [0] * 2
    assert first.held == set(DUTIES)
    first.keeper.poll()
    assert first.held == set(DUTIES), "it does not release them at once"
    hanging.session.close()


# the fence


def tick(number: int) -> Tick:
    return Tick("EUR_USD", "1.1", "1.3", f"1.2{number}", "2025-11-18T00:00:00.000000Z", "oanda")


def test_holder_of_a_restored_database_goes_on_above_the_number_of_the_bus(team: Team, bus: Bus) -> None:
    member = team.join("a")
    team.round()
    holding = member.works.holdings["source:s1"]
    bus.publish_prices([tick(1)], fence=Fence("source:s1", 5000))  # by a holder before the restore
    with pytest.raises(BusFenced) as refused:
        bus.publish_prices([tick(2)], fence=holding.fence)
    holding.refuse(holding.fence, refused.value.stored)
    team.round()
    assert holding.fence.number > 5000
    bus.publish_prices([tick(2)], fence=holding.fence)
    assert not holding.stop.is_set()
    assert team.round() == 0
    [(last,)] = execute(team.url, "SELECT last_value FROM duty_fences")
    assert last == holding.fence.number, "later wins have higher numbers"


def test_holder_that_is_cut_off_from_the_store_goes_on_until_it_is_fenced(team: Team, bus: Bus) -> None:
    first = team.join("a")
    team.round()
    holding = first.works.holdings["source:s1"]
    second = team.join("b")
    end_session(team.url, first)
    second.keeper.poll()
    bus.publish_prices([tick(1)], fence=holding.fence)
    bus.publish_prices([tick(2)], fence=second.works.holdings["source:s1"].fence)
    with pytest.raises(BusFenced) as refused:
        bus.publish_prices([tick(3)], fence=holding.fence)
    holding.refuse(holding.fence, refused.value.stored)
    first.keeper.poll()
    assert holding.stop.is_set()
    assert {duty for duty in DUTIES if duty not in first.held} == {"source:s1"}, "the others have no other holder that publishes"


def test_glob_without_a_duty_ends_the_process(settings: Settings, tmp_path: Path) -> None:
    with jobs(settings, tmp_path / "jobs.log", SOURCES="synthetic", JOBS_DUTIES="timed,sorce:*") as process:
        assert process.popen is not None
        assert process.popen.wait(60) == 2, process.output()
        assert "JOBS_DUTIES: 'sorce:*' matches no duty" in process.output()


# real processes that share a feed

TRADES = 20_000
SHARDS = 2  # of the bus; the two instruments are in different ones
FEED = {"SOURCES": "binance", "BINANCE_SPLIT": "2", "JOBS_POLL_SECONDS": "0.2", "BATCH_TIMEOUT": "50", "BUS_SHARDS": str(SHARDS)}
OF_FEED = ["source:binance:0/2", "source:binance:1/2", "write:0", "write:1", "gaps:binance", "roll_up", "publish_alerts", "timed"]


@dataclass
class Feed:
    """Two jobs processes on one feed."""

    exchange: BinanceStandIn
    settings: Settings
    bus: Bus
    store: Store
    processes: list[Running]

    def holder(self, duty: str) -> Running:
        [pid] = holders(self.bus, OF_FEED)[duty]
        [process] = [each for each in self.processes if each.pid == pid]
        return process

    def fence(self, duty: str) -> int:
        """The highest number of the duty that the bus has seen."""
        found = [self.bus._redis.hget(self.bus.key(topics.FENCE_KEY, shard), duty) for shard in range(SHARDS)]
        return max(int(number or 0) for number in found)

    def stored(self) -> int:
        [(count,)] = select(self.store, "SELECT count(*) FROM raw_trades")
        return int(count)

    def ticks(self) -> list[tuple[str, object]]:
        """Instrument and price of every tick on the bus."""
        return [(entry.topic, orjson.dumps(orjson.loads(entry.body)["price"])) for entry in self.bus.backwards(topics.PRICES)]


@pytest.fixture(scope="module")
def feed(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    folder = tmp_path_factory.mktemp("feed")
    with ExitStack() as stack:
        store = stack.enter_context(closing(Store(str(shared_settings.database_url))))
        bus = stack.enter_context(closing(Bus(str(shared_settings.redis_url), utc_now, setup=BusSetup(shards=SHARDS))))
        exchange = stack.enter_context(BinanceStandIn(folder, trades=TRADES, per_second=200, waits=True))
        variables = {**FEED, **exchange.variables}
        processes = [jobs(shared_settings, folder / f"{name}.log", **variables) for name in ("a", "b")]
        for process in processes:
            stack.enter_context(process)
        found = Feed(exchange, shared_settings, bus, store, processes)
        until(lambda: is_shared(found.bus, OF_FEED, 2), 60, "an even share of both processes")
        until(lambda: exchange.state()["connections"] == 2, 60, "both connections to the exchange")
        exchange.control("go")
        yield found


def manage_duties(feed: Feed) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/bin:/bin", **environ_of(feed.settings), **FEED, **feed.exchange.variables, "LOG_LEVEL": "ERROR"}
    argv = [sys.executable, "manage.py", "duties"]
    return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_duties_are_shown_with_their_processes(feed: Feed) -> None:
    done = manage_duties(feed)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()[1:]}
    assert sorted(rows) == sorted(OF_FEED)
    assert {name.partition("@")[0] for name in rows.values()} == {"jobs", "jobs.2"}


@pytest.mark.slow
def test_kill_of_a_process_under_a_feed_leaves_no_hole(feed: Feed) -> None:
    until(lambda: feed.stored() > 0, 60, "the first trades")
    killed = feed.holder("source:binance:0/2")
    with killed.down():
        until(lambda: is_shared(feed.bus, OF_FEED, 1), 60, "all duties held by the other process")
    until(lambda: is_shared(feed.bus, OF_FEED, 2), 60, "an even share again")


@pytest.mark.slow
def test_suspended_holder_is_fenced_and_no_tick_is_there_twice(feed: Feed) -> None:
    source = "source:binance:1/2"
    suspended = feed.holder(source)
    other = next(each for each in feed.processes if each is not suspended)
    before = feed.fence(source)
    with stopped(suspended.pid):
        until(lambda: other.pid in holders(feed.bus, OF_FEED)[source], 60, "its session has ended, and the other process has its duties")
        until(lambda: feed.fence(source) > before, 60, "a batch of the successor")
    until(lambda: "another process feeds this source: a batch is left out" in suspended.output(), 60, "a refused batch")
    until(lambda: is_shared(feed.bus, OF_FEED, 2), 60, "an even share again")
    feed.exchange.control("speed", speed=None)
    until(lambda: feed.exchange.state()["ended"], 60, "the end of the market")
    until(lambda: feed.stored() == TRADES, 90, "every trade stored")
    assert stored_trades(feed.store) == feed.exchange.expected()
    # The filler marks a gap in a transaction after that of its trades.
    until(lambda: select(feed.store, "SELECT count(*) FROM gaps WHERE state <> 'filled'") == [(0,)], 60, "no gap that is not filled")
    counts = Counter(feed.ticks())
    assert not [tick for tick, number in counts.items() if number > 1]
