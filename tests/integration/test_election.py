"""Of any number of observers one acts: the lock is in PostgreSQL, the token on the bus."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import psycopg2
import pytest

from db.bus import Bus
from db.leadership import OBSERVER, Leadership
from db.postgres import StoreError
from jobs.runtime.election import Election
from jobs.runtime.threads import ThreadEnded
from tests.conftest import Servers, until


@dataclass
class Candidate:
    """One process' part in the election, in a thread; `acts` while it leads."""

    name: str
    log: list[str]
    stop: threading.Event = field(default_factory=threading.Event)
    acting: threading.Event = field(default_factory=threading.Event)

    def act(self, over: threading.Event) -> None:
        self.log.append(f"{self.name} begins")
        self.acting.set()
        over.wait()
        self.acting.clear()
        self.log.append(f"{self.name} ends")


@contextmanager
def running(url: str, bus: Bus, *candidates: Candidate) -> Iterator[None]:
    threads = [
        threading.Thread(target=Election(Leadership(url, lock=OBSERVER), bus, each.act, "observer").run, args=(each.stop,))
        for each in candidates
    ]
    try:
        for thread, candidate in zip(threads, candidates, strict=True):
            thread.start()
            if candidate is candidates[0]:
                until(candidate.acting.is_set, what="the first candidate acting")
        yield
    finally:
        for candidate in candidates:
            candidate.stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


def end_sessions(url: str, *, allow: bool) -> None:
    """Cut every candidate's connection; with `allow` false new ones are refused as well."""
    connection = psycopg2.connect(url.rsplit("/", 1)[0] + "/postgres")
    connection.autocommit = True
    cursor = connection.cursor()
    name = url.rsplit("/", 1)[1]
    cursor.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allow}")
    cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tickwire-leadership'")
    connection.close()


def test_standby_takes_over_when_the_leader_leaves(database_url: str, bus: Bus) -> None:
    log: list[str] = []
    first, second = Candidate("first", log), Candidate("second", log)
    with running(database_url, bus, first, second):
        until(lambda: bus.leader("observer") is not None)
        assert not second.acting.is_set()
        first.stop.set()
        until(second.acting.is_set, what="the standby acting")
    assert log == ["first begins", "first ends", "second begins", "second ends"]


@pytest.mark.slow
def test_broken_leader_connection_leaves_exactly_one_leader(database_url: str, bus: Bus) -> None:
    log: list[str] = []
    first, second = Candidate("first", log), Candidate("second", log)
    with running(database_url, bus, first, second):
        for _ in range(3):
            end_sessions(database_url, allow=True)
            until(lambda: first.acting.is_set() != second.acting.is_set() and _held(database_url) == 1, what="one leader again")
    begun = [entry for entry in log if entry.endswith("begins")]
    ended = [entry for entry in log if entry.endswith("ends")]
    assert len(begun) == len(ended)


def test_leader_continues_while_the_database_is_unavailable(database_url: str, bus: Bus) -> None:
    log: list[str] = []
    first = Candidate("first", log)
    with running(database_url, bus, first):
        until(lambda: bus.leader("observer") is not None)
        end_sessions(database_url, allow=False)
        until(lambda: _held(database_url) == 0)
        assert not threading.Event().wait(2.5)  # longer than it takes to look at the lock twice
        assert first.acting.is_set()
        end_sessions(database_url, allow=True)
        until(lambda: _held(database_url) == 1, what="the lock taken again")
        assert log == ["first begins"]


def test_isolated_leader_steps_down_for_its_successor(database_url: str, bus: Bus) -> None:
    log: list[str] = []
    first = Candidate("first", log)
    with running(database_url, bus, first):
        until(lambda: bus.leader("observer") is not None)
        end_sessions(database_url, allow=False)
        bus.claim_leadership("somebody else", "observer")
        until(lambda: not first.acting.is_set(), what="the leader stepping down")
        end_sessions(database_url, allow=True)
        until(first.acting.is_set, what="its return once the lock is free")
    assert log[:3] == ["first begins", "first ends", "first begins"]


def test_candidate_without_the_database_does_not_lead(servers: Servers, bus: Bus) -> None:
    nowhere = Leadership(servers.database_url.rsplit("/", 1)[0] + "/no_such_database", lock=OBSERVER)
    with pytest.raises(StoreError):
        nowhere.win()


def test_another_lock_of_the_session_is_no_leadership(database_url: str) -> None:
    with closing(psycopg2.connect(database_url)) as other:
        other.cursor().execute("SELECT pg_advisory_lock(hashtext(%s))", (OBSERVER,))
        leadership = Leadership(database_url, lock=OBSERVER)
        try:
            assert not leadership.win()
            assert leadership._connection is not None
            leadership._connection.cursor().execute("SELECT pg_advisory_lock(1), pg_advisory_lock(hashtext(%s), 0)", (OBSERVER,))
            assert not leadership.win()
            other.close()
            until(leadership.win, what="the lock that the other session has left")
            assert leadership.win()
        finally:
            leadership.resign()


@pytest.mark.parametrize("error", [None, RuntimeError("a bug")])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_leader_whose_active_part_ends_unexpectedly_raises_and_resigns(
    database_url: str, bus: Bus, error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    def act(over: threading.Event) -> None:
        if error is not None:
            raise error

    with pytest.raises(ThreadEnded):
        Election(Leadership(database_url, lock=OBSERVER), bus, act, "observer").run(threading.Event())
    assert _held(database_url) == 0
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [error is not None]


def _held(url: str) -> int:
    connection = psycopg2.connect(url.rsplit("/", 1)[0] + "/postgres")
    try:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND granted AND datname = %s",
            (url.rsplit("/", 1)[1],),
        )
        return int(cursor.fetchall()[0][0])
    finally:
        connection.close()
