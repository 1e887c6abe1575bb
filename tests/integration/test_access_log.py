"""Hubs and REST write the log of access at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from db.access_log import NEW_ADDRESS, AccessEvent, write_counts
from db.api_keys import note_uses
from db.postgres import Cursor, Store
from tests.conftest import until
from tests.support.store import select

NOW = datetime(2025, 11, 18, 12, tzinfo=UTC)
MANY_KEYS = 2000  # PostgreSQL finds the rows of a few keys among them by the index, in the order of the statement
FIRST, LAST = "00000001", "00000002"
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
)


class Writing:
    """Transactions in threads; each has a session of its own."""

    def __init__(self, url: str, store: Store) -> None:
        self.url, self.store = url, store
        self.errors: list[Exception] = []
        self.threads: list[threading.Thread] = []

    def begin(self, write: Callable[[Cursor], object]) -> None:
        """Run `write` in a transaction until it has ended, or waits for a lock."""

        def run() -> None:
            try:
                with closing(Store(self.url)) as store, store.transaction() as cursor:
                    write(cursor)
            except Exception as error:  # noqa: BLE001 - the assertion of the test shows it
                self.errors.append(error)

        waiting = len(self.threads) + 1
        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()
        until(lambda: not thread.is_alive() or select(self.store, _WAITING) == [(waiting,)], what="a lock")

    def end(self) -> None:
        for thread in self.threads:
            thread.join(60)
        assert (self.errors, [thread.is_alive() for thread in self.threads]) == ([], [False] * len(self.threads))


@pytest.fixture
def writing(database_url: str, store: Store) -> Writing:
    return Writing(database_url, store)


def test_first_use_that_two_processes_write_at_once_has_one_row(writing: Writing, store: Store) -> None:
    event = AccessEvent(NOW, "hub", NEW_ADDRESS, FIRST, "192.0.2.1")
    first: list[AccessEvent] = []
    with store.transaction() as cursor:
        first += write_counts(cursor, [event], {})
        writing.begin(lambda cursor: first.extend(write_counts(cursor, [event], {})))
    writing.end()
    assert first == [event]
    assert select(store, "SELECT action, key_id, host(ip) FROM access_log") == [(NEW_ADDRESS, FIRST, "192.0.2.1")]


def test_uses_of_the_same_keys_in_another_order_are_no_deadlock(writing: Writing, store: Store) -> None:
    with store.transaction() as cursor:
        cursor.execute(
            "INSERT INTO api_keys (id, name, digest, scopes, instruments, bots, created, created_by, changed)"
            " SELECT lpad(n::text, 8, '0'), 'a bot', sha256(n::text::bytea), '{read}', '{*}', '{}', now(), 'ada', n"
            " FROM generate_series(1, %s) AS n",
            (MANY_KEYS,),
        )
    with store.transaction() as cursor:
        cursor.execute("ANALYZE api_keys")
    with store.transaction() as cursor:
        cursor.execute("SELECT FROM api_keys WHERE id = %s FOR UPDATE", (LAST,))
        writing.begin(lambda cursor: note_uses(cursor, {LAST: NOW, FIRST: NOW}))
        writing.begin(lambda cursor: note_uses(cursor, {FIRST: NOW + timedelta(hours=1), LAST: NOW + timedelta(hours=1)}))
    writing.end()
    found = dict(select(store, "SELECT id, last_used FROM api_keys WHERE last_used IS NOT NULL"))
    assert found == dict.fromkeys((FIRST, LAST), NOW + timedelta(hours=1))
