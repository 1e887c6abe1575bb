"""The writer of books between the real bus and the real store: each row once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db import topics
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from jobs.runtime.reports import STORED
from jobs.scheduler import JOBS
from jobs.store.book_queue import BookQueue
from jobs.store.writer import BatchRule, Writer
from tests.conftest import until
from tests.support.book_rows import stored_book, top

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)


def append(bus: Bus, first: int, last: int) -> None:
    """Append a top of each second, and a whole book of every tenth."""
    times = {number: NOON + number * timedelta(seconds=1) for number in range(first, last)}
    tops = [top(time, update_id=number) for number, time in times.items()]
    bus.append_book_rows(tops, [stored_book(time, update_id=number) for number, time in times.items() if number % 10 == 0])


def stored(store: Store) -> tuple[list[int], list[int]]:
    """The update ids of both tables."""
    found = []
    with store.transaction() as cursor:
        for table in ("book_tops", "book_snapshots"):
            cursor.execute(f"SELECT update_id FROM {table} ORDER BY time")  # noqa: S608
            found.append([number for (number,) in cursor.fetchall()])
    return found[0], found[1]


def write_all(bus: Bus, store: Store, queue: BookQueue | None = None) -> None:
    """Run the writer in its thread until the bus holds nothing unstored, then stop it."""
    stop = threading.Event()
    writer = Writer(bus, store, BatchRule(100, 50), queue or BookQueue(bus, utc_now))
    thread = threading.Thread(target=writer.run, args=(stop,))
    thread.start()
    try:
        until(lambda: bus.unstored(topics.BOOK_TOPS) == 0, what="an empty backlog")
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_rows_are_stored_once_although_batches_are_repeated(bus: Bus, store: Store) -> None:
    """Three writers: one dies before the commit, one before it acknowledges, one ends the work."""
    append(bus, 0, 300)
    bus.open_group(topics.BOOK_TOPS)
    queue = BookQueue(bus, utc_now)
    assert len(queue.read(100, 0)) == 100
    acknowledge, bus.acknowledge = bus.acknowledge, lambda *_: 0  # type: ignore[method-assign]
    dying = Writer(bus, store, BatchRule(), queue)
    assert dying.write_batch(queue.read(80, 0)) == 80
    bus.acknowledge = acknowledge  # type: ignore[method-assign]
    assert (len(stored(store)[0]), bus.unstored(topics.BOOK_TOPS)) == (80, 330)
    append(bus, 290, 310)  # ten of them again
    write_all(bus, store)
    assert stored(store) == (list(range(310)), list(range(0, 310, 10)))


@pytest.mark.slow
def test_slow_store_receives_smaller_batches(bus: Bus, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row takes 5 ms and a statement at most 0.5 s, so 100 rows never fit into one statement."""
    monkeypatch.setattr(BookQueue, "most", 400)
    store = Store(database_url, timeout_ms=500)
    with store.transaction() as cursor:
        cursor.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN PERFORM pg_sleep(0.005 * count(*)) FROM added; RETURN NULL; END$$;"
            "CREATE TRIGGER dawdle AFTER INSERT ON book_tops REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION dawdle()"
        )
    append(bus, 1, 360)
    write_all(bus, store)
    assert stored(store) == (list(range(1, 360)), list(range(10, 360, 10)))
    store.close()


def test_rows_that_no_live_record_may_have_are_left_out_and_counted(bus: Bus, store: Store, raw_redis: Any) -> None:
    good = [top(NOON, update_id=1), top(NOON + timedelta(seconds=1), update_id=2)]
    unknown, old = top(NOON, symbol="NO_SUCH"), top(datetime(2001, 1, 1, tzinfo=UTC))
    ahead = stored_book(datetime.now(UTC) + timedelta(hours=1))
    bus.append_book_rows([good[0], unknown, old, good[1]], [ahead])
    queue = BookQueue(bus, utc_now)
    write_all(bus, store, queue)
    assert stored(store) == ([1, 2], [])
    assert queue.refused.counts == {"unknown_instrument": 1, "time_too_old": 1, "time_in_future": 1}
    assert raw_redis.exists(topics.dead_key(topics.BOOK_TOPS)) == 0  # well-formed entries are not parked
    assert raw_redis.xpending(topics.stream_key(topics.BOOK_TOPS), topics.WRITER_GROUP)["pending"] == 0


def test_jobs_write_books_and_report_their_backlog() -> None:
    assert "write_books" in {job.id for job in JOBS}
    assert topics.BOOK_TOPS in STORED
