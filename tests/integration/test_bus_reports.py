"""Reports, snapshots and log records on a real Redis."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
import redis as redis_client

from db import topics
from db.bus import Bus, BusError, Outcome, ReportLimits, Snapshot
from db.reports.model import Correction, Fill, Heartbeat, Report
from ops import embedded
from ops.supervisor import Supervisor
from tests.conftest import Servers
from tests.support.reports import MOMENT, fill

NEW, DUPLICATE, CONFLICT = Outcome.NEW, Outcome.DUPLICATE, Outcome.CONFLICT
LIMITS = ReportLimits()


def append(bus: Bus, *reports: Report, limits: ReportLimits = LIMITS) -> tuple[Outcome, ...]:
    (outcome,) = bus.append_reports([reports], limits)
    assert not outcome.refused
    return outcome.outcomes


def test_report_is_accepted_once(bus: Bus, raw_redis: redis_client.Redis) -> None:
    bus.open_reports()
    assert append(bus, fill(1), fill(2), fill(1), fill(1, price=Decimal(2))) == (NEW, NEW, DUPLICATE, CONFLICT)
    assert append(bus, fill(2), fill(2, quantity=Decimal("1000.0")), fill(2, side="sell"), fill(2, bot="mm-2")) == (
        DUPLICATE, DUPLICATE, CONFLICT, NEW,
    )  # fmt: skip
    # The kind is part of the identity.
    assert append(bus, Heartbeat(bot="mm-1", strategy="s", id="f-1", time=MOMENT)) == (NEW,)
    read = bus.read_reports(100, 0)
    assert [each.report for each in read] == [
        fill(1), fill(2), fill(2, bot="mm-2"), Heartbeat(bot="mm-1", strategy="s", id="f-1", time=MOMENT),
    ]  # fmt: skip
    assert format(read[0].report.price, "f") == "1.09450"  # type: ignore[union-attr]
    ttl = raw_redis.ttl(topics.report_key("mm-1", "fill", "f-1"))
    assert isinstance(ttl, int)
    assert 86_000 < ttl <= 86_400


def test_report_stays_until_it_is_acknowledged(bus: Bus) -> None:
    bus.open_reports()
    bus.open_reports()
    append(bus, *(fill(number) for number in range(5)))
    first = bus.read_reports(3, 0)
    assert [each.report.id for each in first] == ["f-0", "f-1", "f-2"]
    assert [each.report.id for each in bus.read_reports(10, 0)] == ["f-3", "f-4"]
    assert bus.read_reports(10, 0) == []
    assert bus.acknowledge_reports([each.entry for each in first]) == 3
    assert bus.acknowledge_reports([each.entry for each in first]) == 0
    assert bus.unprocessed_reports() == 2
    again = bus.read_reports(10, 0, again=True)
    assert [each.report.id for each in again] == ["f-3", "f-4"]
    bus.acknowledge_reports([each.entry for each in again])
    assert (bus.unprocessed_reports(), bus.read_reports(10, 0, again=True)) == (0, [])
    assert append(bus, fill(0)) == (DUPLICATE,)


def test_full_stream_accepts_nothing_but_finds_duplicates(servers: Servers, raw_redis: redis_client.Redis) -> None:
    with closing(Bus(servers.redis_url, lambda: MOMENT, limit=3)) as bus:
        bus.open_reports()
        assert append(bus, fill(1), fill(2)) == (NEW, NEW)
        full, fits = bus.append_reports([[fill(3), fill(4)], [fill(1), fill(5)]], LIMITS)
        assert (full.full, full.refused, full.outcomes) == (True, True, ())
        assert fits.outcomes == (DUPLICATE, NEW)
        assert append(bus, fill(1), fill(5)) == (DUPLICATE, DUPLICATE)
        bus.acknowledge_reports([each.entry for each in bus.read_reports(10, 0)])
        assert append(bus, fill(3), fill(4)) == (NEW, NEW)  # nothing of them was kept


def test_rate_of_a_bot_refuses_the_whole_batch(bus: Bus) -> None:
    limits = ReportLimits(rate=2)
    assert append(bus, *(fill(number) for number in range(10)), limits=limits) == (NEW,) * 10
    refused, other = bus.append_reports([[fill(99), fill(99, bot="mm-2")], [fill(98, bot="mm-2")]], limits)
    assert (refused.outcomes, refused.full) == ((), False)
    assert refused.retry_after is not None
    assert 0 < refused.retry_after <= 4.5  # ten at two per second leave a debt of eight, and one is needed
    assert other.outcomes == (NEW,)
    assert bus.unprocessed_reports() == 11


def test_malformed_entry_is_removed_and_noted(bus: Bus, raw_redis: redis_client.Redis) -> None:
    bus.open_reports()
    stream, noted = topics.stream_key(topics.REPORTS), []
    raw_redis.xadd(stream, {"digest": b"12345678", "report": b'{"kind":"fill"}', "received": "2025-11-18T12:00:00Z"})
    raw_redis.xadd(stream, {"digest": b"12345678"})
    append(bus, fill(1))
    read = bus.read_reports(10, 0, note_bad=lambda entry, error: noted.append(str(error)))
    assert [each.report.id for each in read] == ["f-1"]
    assert len(noted) == 2
    assert "the field report is missing" in noted
    assert bus.unprocessed_reports() == 1


def test_correction_and_metadata_survive_the_bus(bus: Bus) -> None:
    bus.open_reports()
    correction = Correction(bot="mm-1", strategy="s", id="c-1", time=MOMENT, fill_id="f-1", action="replace", fee=Decimal("-0.000000010"))
    noted = fill(7, metadata={"note": "ünïcode", "deep": {"list": [1, 2.5, None]}})
    append(bus, correction, noted)
    assert [each.report for each in bus.read_reports(10, 0)] == [correction, noted]


@contextmanager
def own_redis(folder: Path) -> Iterator[tuple[Bus, int]]:
    """A Redis on this folder as `up` starts it: a bus on it, and its process."""
    server = embedded.redis(folder)
    with Supervisor() as supervisor:
        supervisor.start(server)
        with closing(Bus(server.url, lambda: datetime.now(UTC))) as bus:
            yield bus, supervisor.pids["redis"]


def send_for_ever(bus: Bus, batches: list[list[Fill]], limits: ReportLimits) -> None:
    for batch in itertools.cycle(batches):
        bus.append_reports([batch], limits)


def test_reports_sent_again_after_a_kill_of_redis_count_once(tmp_path: Path) -> None:
    """Redis is killed while batches travel; each batch is sent again until it is answered."""
    batches = [[fill(100 * batch + number) for number in range(100)] for batch in range(40)]
    limits = ReportLimits(rate=1_000_000)
    with own_redis(tmp_path) as (bus, pid):
        bus.open_reports()
        for batch in batches[:5]:
            bus.append_reports([batch], limits)
        threading.Timer(0.005, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(BusError):
            send_for_ever(bus, batches, limits)
    with own_redis(tmp_path) as (bus, _):
        for batch in batches:
            (outcome,) = bus.append_reports([batch], limits)
            assert set(outcome.outcomes) <= {NEW, DUPLICATE}
        assert bus.unprocessed_reports() == 4000
        outcomes = [bus.append_reports([batch], limits)[0].outcomes for batch in batches]
        assert outcomes == [(DUPLICATE,) * 100] * 40
        read: list[str] = []
        while found := bus.read_reports(1000, 0):
            read += [each.report.id for each in found]
        assert sorted(read) == sorted(report.id for batch in batches for report in batch)


# snapshots


def test_snapshot_is_published_and_kept_for_ten_seconds(bus: Bus, raw_redis: redis_client.Redis) -> None:
    assert bus.latest_snapshot() is None
    snapshot = Snapshot("2025-11-18T12:34:56.789123Z", 7, "abc", {"system": '{"x":1.09450}'}, {"system": '{"x":"1.09450"}'})
    subscription = bus.subscribe([topics.METRICS])
    bus.publish_snapshot(snapshot)
    ((channel, body),) = subscription.read(5)
    subscription.close()
    assert (channel, Snapshot.of(body), bus.latest_snapshot()) == (topics.METRICS, snapshot, snapshot)
    assert orjson.loads(body)["numbers"] == {"system": '{"x":1.09450}'}
    ttl = raw_redis.pttl(topics.SNAPSHOT_KEY)
    assert isinstance(ttl, int)
    assert 0 < ttl <= 10_000
    raw_redis.hset(topics.SNAPSHOT_KEY, "seq", "x")
    assert bus.latest_snapshot() is None
    with pytest.raises(ValueError, match="snapshot"):
        Snapshot.of(b'{"seq": 1}')


# log records


def test_log_records_come_back_newest_first_and_are_bounded(bus: Bus, raw_redis: redis_client.Redis) -> None:
    assert list(bus.recent_logs()) == []
    bus.append_logs([])
    for start in range(0, 6000, 1000):
        bus.append_logs([b'{"n":%d}' % number for number in range(start, start + 1000)])
    numbers = [orjson.loads(record)["n"] for record in bus.recent_logs()]
    assert numbers == list(range(5999, 5999 - len(numbers), -1))
    assert 5000 <= len(numbers) < 5500


def test_snapshot_is_not_written_to_the_disk(bus: Bus, raw_redis: redis_client.Redis) -> None:
    text = "x" * 100_000
    sizes = [_log_size(raw_redis)]
    bus.publish_snapshot(Snapshot("2025-11-18T12:34:56.789123Z", 1, "abc", {"system": f'{{"x":"{text}"}}'}, {}))
    sizes.append(_log_size(raw_redis))
    raw_redis.set("other", text)
    sizes.append(_log_size(raw_redis))
    assert sizes[1] - sizes[0] < 10_000 < 100_000 < sizes[2] - sizes[1]


def _log_size(raw_redis: redis_client.Redis) -> int:
    found = raw_redis.info("persistence")
    assert isinstance(found, dict)
    return int(found["aof_current_size"])
