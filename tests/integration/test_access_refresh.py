"""The table of keys follows PostgreSQL: by message, by counter, by a read; never by the bus."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_client

from api.access.audit import AuditCounts
from api.access.model import Access
from api.access.table import TableChange, Tables, access_of
from api.errors import Unauthorized
from api.refresh.audit import AuditWriter
from api.refresh.service import AccessControl
from api.refresh.table import TableRefresh
from cli.access.audit import _follow
from config.access.keys import digest_of, new_key
from config.settings import Settings
from db.access_changes import lock_access
from db.api_keys import ApiKey, insert_key, revoke_key
from db.bus import Bus
from db.postgres import Store
from db.revoked_tokens import RevokedToken, insert_revocation
from db.rights import READER
from tests.conftest import Servers, until
from tests.integration.conftest import SHARED_REDIS_DATABASE
from tests.support.servers import as_role, of_database

NOW = datetime.now(UTC)


class Process:
    """The table of one process, which `run` keeps up to date with the rights of the hub."""

    def __init__(self, settings: Settings, bus: Bus, *, faster: float = 1.0) -> None:
        self.store = Store(as_role(str(settings.database_url), READER), pool_max=2)
        self.tables = Tables()
        self.changes: list[TableChange] = []
        self.tables.listen(self.changes.append)
        self.counts = AuditCounts("hub", lambda: datetime.now(UTC))
        self.writer = AuditWriter(self.counts, self.store)
        self.refresh = TableRefresh(bus, self.store, self.tables, monotonic=lambda: faster * time.monotonic())

    def has(self, key_id: str) -> bool:
        table = self.tables.table
        return table is not None and key_id in table.by_id

    def revoked(self, key_id: str) -> bool:
        table = self.tables.table
        return table is not None and table.by_id[key_id].revoked is not None


@contextmanager
def running(process: Process) -> Iterator[Process]:
    stop = threading.Event()
    thread = threading.Thread(target=process.refresh.run, args=(stop,))
    thread.start()
    try:
        yield process
    finally:
        stop.set()
        thread.join(60)
        process.store.close()


@pytest.fixture(scope="module")
def owner(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url), pool_max=2)) as store:
        yield store


@pytest.fixture
def raw(servers: Servers, shared_redis: redis_client.Redis) -> Iterator[redis_client.Redis]:
    with closing(redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2)) as client:
        yield client


def add(store: Store, **changes: Any) -> tuple[str, int]:
    """Insert a key and announce nothing; return its id and the number of the change."""
    key_id, text = new_key()
    values: dict[str, Any] = {
        "name": "first", "digest": digest_of(text), "scopes": ("read",), "instruments": ("*",), "bots": (), "rate_requests": None,
        "rate_events": None, "max_connections": None, "created": NOW, "created_by": "ada",
    }  # fmt: skip
    with store.transaction() as cursor:
        lock_access(cursor)
        return key_id, insert_key(cursor, ApiKey(id=key_id, **values | changes))


def revoke(store: Store, key_id: str) -> int:
    with store.transaction() as cursor:
        lock_access(cursor)
        return revoke_key(cursor, key_id, NOW)


def test_announced_change_is_taken_and_a_dropped_message_too(
    shared_settings: Settings, shared_bus: Bus, owner: Store, raw: redis_client.Redis
) -> None:
    with running(Process(shared_settings, shared_bus)) as process:
        until(lambda: process.tables.table is not None)
        key_id, changed = add(owner)
        shared_bus.announce_access(changed)
        until(lambda: process.has(key_id))
        raw.set("tickwire:access:counter", revoke(owner, key_id))  # no message
        until(lambda: process.revoked(key_id), 20)
        with owner.transaction() as cursor:
            lock_access(cursor)
            insert_revocation(cursor, RevokedToken("7c1", None, None, NOW), NOW)
            last = insert_revocation(cursor, RevokedToken(None, "ada", NOW, NOW), NOW)
        shared_bus.announce_access(last)
        until(lambda: process.tables.table is not None and process.tables.table.changed == last)
        assert [set(change.key_ids) for change in process.changes[-3:]] == [{key_id}, {key_id}, set()]
        assert (set(process.changes[-1].jtis), set(process.changes[-1].subjects)) == ({"7c1"}, {"ada"})


def test_change_is_taken_without_redis(shared_settings: Settings, owner: Store, clock: Callable[[], datetime]) -> None:
    with closing(Bus("redis://127.0.0.1:1/0", clock)) as away, running(Process(shared_settings, away, faster=10)) as process:
        until(lambda: process.tables.table is not None)
        key_id, _ = add(owner)
        until(lambda: process.has(key_id), 20)


def test_table_stays_in_force_while_postgresql_is_away(
    shared_settings: Settings, shared_bus: Bus, owner: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, changed = add(owner)
    with running(Process(shared_settings, shared_bus)) as process:
        until(lambda: process.has(key_id))
        assert not process.tables.stale
        reached = process.refresh._store
        process.refresh._store = Store("postgresql://127.0.0.1:1/none")
        shared_bus.announce_access(changed + 1000)
        until(lambda: process.tables.stale)
        assert process.has(key_id)
        process.refresh._store = reached
        until(lambda: not process.tables.stale)


def test_no_connection_is_open_between_rounds(shared_settings: Settings, shared_bus: Bus, owner: Store) -> None:
    """The wait for a server that hangs ends while connecting alone."""
    control = AccessControl(shared_settings, shared_bus, owner, lambda: datetime.now(UTC), "rest")
    control.begin()
    assert (control.table_state, len(control._store._free)) == ("current", 1)
    control._round()
    assert control._store._free == []


def test_arbitrary_messages_and_counters_grant_nothing(
    shared_settings: Settings, shared_bus: Bus, owner: Store, raw: redis_client.Redis
) -> None:
    key_id, changed = add(owner)
    shared_bus.announce_access(changed)
    numbers = random.Random(3)
    with running(Process(shared_settings, shared_bus)) as process:
        until(lambda: process.has(key_id))
        before, changes = process.tables.table, len(process.changes)
        pipe = raw.pipeline(transaction=False)
        for number in range(10_000):
            pipe.publish("tickwire:access", numbers.randbytes(numbers.randrange(60)))
            if number % 1000 == 0:
                pipe.set("tickwire:access:counter", numbers.randbytes(20))
        pipe.execute()
        other, changed = add(owner)
        shared_bus.announce_access(changed)
        until(lambda: process.has(other))
        assert before is not None
        after = process.tables.table
        assert after is not None
        assert {**after.by_id} == {**before.by_id, other: after.by_id[other]}
        assert len(process.changes) == changes + 1


def test_change_that_a_listener_did_not_take_is_taken_again(shared_settings: Settings, shared_bus: Bus, owner: Store) -> None:
    process = Process(shared_settings, shared_bus)
    with closing(process.store):
        key_id, _ = add(owner)
        process.refresh.read()

        def fail_once(change: TableChange) -> None:
            failures.append(change)
            if len(failures) == 1:
                raise LookupError

        failures: list[TableChange] = []
        process.tables.listen(fail_once)
        revoke(owner, key_id)
        with pytest.raises(LookupError):
            process.refresh.read()
        process.refresh.read()
        assert [key_id in change.key_ids for change in failures] == [True, True]
        process.refresh.read()
        assert len(failures) == 2


def test_store_of_an_earlier_time_takes_keys_back(shared_settings: Settings, shared_bus: Bus, owner: Store) -> None:
    """PostgreSQL was restored from a backup: a key is missing, and the last number is lower."""
    process = Process(shared_settings, shared_bus)
    with closing(process.store):
        kept, _ = add(owner)
        gone, _ = add(owner)
        process.refresh.read()
        assert process.has(gone)
        with owner.transaction() as cursor:
            cursor.execute("DELETE FROM api_keys WHERE id = %s", (gone,))
        process.refresh.read()
        assert not process.has(gone)
        assert process.has(kept)
        assert gone in process.changes[-1].key_ids


def test_unmigrated_database_is_no_traceback(servers: Servers, shared_bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """The database of the server itself has no table of ours."""
    tables = Tables()
    with closing(Store(servers.database_url.rsplit("/", 1)[0] + "/postgres")) as store:
        stop = threading.Event()
        thread = threading.Thread(target=TableRefresh(shared_bus, store, tables).run, args=(stop,))
        thread.start()
        until(lambda: "run `python manage.py migrate`" in str([vars(record) for record in caplog.records]))
        stop.set()
        thread.join(60)
    assert tables.table is None
    assert not [record for record in caplog.records if record.exc_info]


def test_counts_are_written_with_the_rights_of_the_hub(shared_settings: Settings, shared_bus: Bus, owner: Store) -> None:
    key_id, _ = add(owner)
    process = Process(shared_settings, shared_bus)
    process.refresh.read()
    assert process.tables.table is not None
    access = process.tables.table.by_id[key_id].access
    with closing(process.store):
        for address in ("192.0.2.1", "192.0.2.1", "2001:db8::1", ""):
            process.counts.used(access, address)
            process.writer.flush()
        process.counts.refused(Unauthorized("revoked", sent=True, key_id=key_id), "192.0.2.1")
        process.writer.flush()
        found = "SELECT actor, action, host(ip), details->'count' FROM access_log WHERE key_id = %s ORDER BY at"
        new = [("hub", "new_address", ip, None) for ip in ("192.0.2.1", "2001:db8::1", None)]
        assert rows(owner, found, key_id) == new
        process.writer.flush(final=True)
        assert rows(owner, found, key_id) == [*new, ("hub", "refuse", None, 1)]
        [(used, changed)] = rows(owner, "SELECT last_used, changed FROM api_keys WHERE id = %s", key_id)
        assert abs(used - datetime.now(UTC)) < timedelta(minutes=1)
        again = Process(shared_settings, shared_bus)  # another process, within the minute
        with closing(again.store):
            again.counts.used(access, "192.0.2.1")
            again.writer.flush()
        assert rows(owner, found, key_id) == [*new, ("hub", "refuse", None, 1)]
        assert rows(owner, "SELECT last_used, changed FROM api_keys WHERE id = %s", key_id) == [(used, changed)]


def rows(store: Store, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
    with store.transaction() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchall()


def test_events_wait_while_the_store_is_away(owner: Store, shared_settings: Settings) -> None:
    counts = AuditCounts("rest", lambda: NOW)
    writer = AuditWriter(counts, Store("postgresql://127.0.0.1:1/none"))
    key_id, _ = add(owner)
    counts.used(Access(frozenset(), access_of_any().patterns, key_id=key_id), "192.0.2.9")
    writer.flush()
    writer._store = owner
    writer.flush()
    assert rows(owner, "SELECT host(ip) FROM access_log WHERE key_id = %s", key_id) == [("192.0.2.9",)]


def access_of_any() -> Access:
    return access_of(ApiKey("abcd1234", "x", b"", ("read",), ("*",), (), None, None, None, NOW, "ada"))


def test_followed_audit_prints_each_new_row_once(owner: Store, capsys: pytest.CaptureFixture[str]) -> None:
    stop, counts = threading.Event(), AuditCounts("rest", lambda: datetime.now(UTC))
    writer = AuditWriter(counts, owner)
    thread = threading.Thread(target=_follow, args=(owner, None, datetime.now(UTC), [], stop))
    thread.start()
    printed = ""
    try:
        for address in ("192.0.2.31", "192.0.2.32"):
            counts.refused(Unauthorized("malformed", sent=True), address)
            writer.flush(final=True)

            def seen(address: str = address) -> bool:
                nonlocal printed
                printed += capsys.readouterr().out
                return address in printed

            until(seen)
    finally:
        stop.set()
        thread.join(60)
    lines = (printed + capsys.readouterr().out).splitlines()
    assert [line.split()[1:5] for line in lines] == [["refuse", "rest", "-", "192.0.2.31"], ["refuse", "rest", "-", "192.0.2.32"]]
