"""The channels of order books on a real Redis: numbers, latest messages, losses, scenarios."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import redis as redis_client

from db import topics
from db.book_bodies import read_head
from db.book_rows import BookEntry
from db.book_snapshots import BookSnapshotRow
from db.book_tops import BookTop
from db.bus import BookMessage, Bus, BusFull, Subscription, Subscriptions, cut_book
from db.messages import Stamp
from tests.conftest import Servers, until

NOW = datetime(2024, 8, 8, 23, 54, 16, tzinfo=UTC)
META = {"received_at": "2024-08-08T23:54:15.999000Z", "processed_at": "2024-08-08T23:54:16.000000Z", "queue_size": 3}
# The orders of section 6 of the page "Order books".
SNAPSHOT_FIELDS = [
    "instrument", "depth", "state", "reason", "bids", "asks", "complete", "update_id", "checksum", "time",
    "timestamp", "lag_ms", "seq", "epoch",
]  # fmt: skip
UPDATE_FIELDS = ["instrument", "depth", "bids", "asks", "update_id", "checksum", "time", "timestamp", "lag_ms", "seq", "epoch"]
LATEST_BOOKS = "tickwire:latest:book_updates"


def snapshot(update_id: int, depth: int = 20, instrument: str = "BTCUSDT") -> dict[str, Any]:
    """A body of `book_snapshot` as the books make it."""
    return {
        "instrument": instrument, "depth": depth, "state": "live", "reason": "start",
        "bids": [["61837.63000000", "3.78826000"]], "asks": [["61837.64000000", "1.00000000"]],
        "complete": {"bids": 999, "asks": 999, "from": "61631.55000000", "to": "62053.18000000"},
        "update_id": update_id, "checksum": zlib.crc32(b"61837.63000000:3.78826000:61837.64000000:1.00000000"),
        "time": "2024-08-08T23:54:15.408000Z", "lag_ms": 3.2,
    }  # fmt: skip


def message(update_id: int, depth: int = 20, instrument: str = "BTCUSDT", *, starts: bool = False) -> BookMessage:
    body = snapshot(update_id, depth, instrument)
    update = {name: body[name] for name in UPDATE_FIELDS if name in body} | {"bids": [["61837.63000000", "0"]]}
    return BookMessage(instrument, depth, None if starts else update, body, META)


@pytest.fixture
def bus(servers: Servers, raw_redis: redis_client.Redis) -> Bus:
    return Bus(servers.redis_url, lambda: NOW)


@pytest.fixture
def other_bus(servers: Servers) -> Callable[[], Bus]:
    """Make publishers that have got no number yet, as a new process."""
    return lambda: Bus(servers.redis_url, lambda: NOW)


def read(subscription: Subscription | Subscriptions, count: int) -> list[tuple[str, bytes]]:
    got: list[tuple[str, bytes]] = []

    def enough() -> bool:
        got.extend(subscription.read(wait=0.2))
        return len(got) >= count

    until(enough, what=f"{count} messages")
    return got


def test_both_bodies_of_a_message_have_its_position_and_the_order_of_the_contract(bus: Bus) -> None:
    subscription = bus.subscribe([topics.BOOKS])
    first, second = bus.publish_books([message(1, starts=True), message(2)])
    assert (first.seq, second) == (1, Stamp(first.epoch, 2))
    start, update = (orjson.loads(body) for _, body in read(subscription, 2))
    assert [list(each) for each in (start, update)] == [["update", "snapshot", "meta"]] * 2
    assert (start["update"], start["meta"], update["meta"]) == (None, META, META)
    assert list(start["snapshot"]) == list(update["snapshot"]) == SNAPSHOT_FIELDS
    assert list(update["update"]) == UPDATE_FIELDS
    position = {"seq": 2, "epoch": first.epoch, "timestamp": "2024-08-08T23:54:16.000000Z"}
    assert update["snapshot"] == snapshot(2) | position
    assert {name: update["update"][name] for name in position} == position
    assert update["update"]["bids"] == [["61837.63000000", "0"]]


def test_timestamp_of_a_body_is_kept(bus: Bus) -> None:
    body = snapshot(1) | {"timestamp": "2020-01-01T00:00:00.000000Z"}
    bus.publish_book("BTCUSDT", 20, snapshot=body, update=None, meta=META)
    kept = orjson.loads(bus.latest_book("BTCUSDT", 20) or b"")["snapshot"]
    assert kept["timestamp"] == "2020-01-01T00:00:00.000000Z"


def test_message_is_cut_without_decoding(bus: Bus) -> None:
    subscription = bus.subscribe([topics.BOOKS])
    stamps = bus.publish_books([message(1, starts=True), message(2)])
    (_, start), (_, update) = read(subscription, 2)
    decoded = orjson.loads(update)
    for body, stamp in zip((start, update), stamps, strict=True):
        parts = cut_book(body)
        assert b'{"update":%s,"snapshot":%s,"meta":%s}' % (parts.update or b"null", parts.snapshot, parts.meta) == body
        assert read_head(parts.snapshot) == ("BTCUSDT", 20, "live", "start", stamp.seq, stamp.epoch)
    assert cut_book(start).update is None
    assert [orjson.loads(part or b"") for part in cut_book(update)] == [decoded["update"], decoded["snapshot"], decoded["meta"]]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"null", b'{"update":null}', b'{"update":null,"meta":{},"snapshot":{}}', b'{"update":null,"snapshot":{},"meta":{}',
        b'{"update":1,"snapshot":{},"meta":{}}', b'{"update":null,"snapshot":null,"meta":{}}', b'{"update":null,"snapshot":{},"meta":7}',
        b'{"snapshot":{},"update":null,"meta":{}}',
    ],
)  # fmt: skip
def test_text_of_another_form_is_not_cut(body: bytes) -> None:
    with pytest.raises(ValueError, match="message"):
        cut_book(body)


def test_head_without_a_position_is_refused() -> None:
    assert read_head(orjson.dumps(snapshot(1) | {"seq": 7, "epoch": "e1"})) == ("BTCUSDT", 20, "live", "start", 7, "e1")
    for body in (snapshot(1), snapshot(1) | {"seq": 7}, snapshot(1) | {"epoch": "e", "seq": 7}, {"seq": 7, "epoch": "e1"}):
        with pytest.raises(ValueError, match=r"book_snapshot|no seq"):
            read_head(orjson.dumps(body))


def test_each_depth_is_a_topic_and_its_latest_message_is_kept(bus: Bus, raw_redis: redis_client.Redis) -> None:
    subscription = bus.subscribe([topics.BOOKS])
    bus.publish_books([message(1, depth, starts=True) for depth in topics.BOOK_DEPTHS])
    bus.publish_books([message(2, 20), message(2, 50)])
    stamps = bus.publish_books([message(3, 50), message(1, 5, "ETHUSDT", starts=True)])
    assert [stamp.seq for stamp in stamps] == [3, 1]
    published = {}
    for _, body in read(subscription, 8):
        head = read_head(cut_book(body).snapshot)
        published[topics.book_topic(head.instrument, head.depth)] = body
    assert set(published) == {"BTCUSDT|5", "BTCUSDT|10", "BTCUSDT|20", "BTCUSDT|50", "ETHUSDT|5"}
    assert bus.latest_books() == published
    assert bus.latest_book("BTCUSDT", 50) == published["BTCUSDT|50"]
    assert bus.latest_book("BTCUSDT", 7) is None
    assert raw_redis.exists(topics.LATEST_KEY, topics.stream_key(topics.BOOKS)) == 0
    assert bus.latest_prices() == {}


def test_latest_message_that_cannot_be_cut_is_left_out(bus: Bus, raw_redis: redis_client.Redis) -> None:
    bus.publish_books([message(1, starts=True)])
    raw_redis.hset(LATEST_BOOKS, mapping={"BTCUSDT|5": "x", b"\xff|5": "{}"})
    assert set(bus.latest_books()) == {"BTCUSDT|20"}
    assert bus.latest_book("BTCUSDT", 5) is None
    assert bus.publish_books([message(2, 5, starts=True)])[0].seq == 1


def test_state_heartbeat_and_scenario_change_have_their_positions(bus: Bus) -> None:
    subscription = bus.subscribe([topics.BOOK_STATES, topics.HEARTBEATS, topics.SCENARIO_CHANGES])
    assert bus.latest_heartbeat() is None is bus.latest_scenario_change()
    state = {"instrument": "BTCUSDT", "state": "gap", "previous": "live", "reason": "missing_update", "update_id": 1}
    change = {"previous_scenario": "stable-mode", "current_scenario": "burst-mode", "run_id": "r1"}
    bus.publish_book_state(state | {"expected_id": 2, "received_id": 3})
    bus.publish_heartbeat({"type": "heartbeat", "status": "healthy"})
    stamp = bus.publish_heartbeat({"type": "heartbeat", "status": "degraded"})
    bus.publish_scenario_change(change)
    bodies = [orjson.loads(body) for _, body in read(subscription, 4)]
    end = ["timestamp", "seq", "epoch"]
    assert list(bodies[0]) == [*state, "expected_id", "received_id", *end]
    assert bus.latest_heartbeat() == bodies[2] == {
        "type": "heartbeat", "status": "degraded", "timestamp": "2024-08-08T23:54:16.000000Z", "seq": 2, "epoch": stamp.epoch,
    }  # fmt: skip
    assert list(bodies[3]) == [*change, *end]
    assert bus.latest_scenario_change() == bodies[3]
    assert [orjson.loads(entry.body) for entry in bus.backwards(topics.BOOK_STATES)] == bodies[:1]
    assert bus.position(topics.BOOK_STATES, "BTCUSDT") == Stamp(stamp.epoch, 1)


# loss of data


def numbers_set_back(raw: Any, dumps: Mapping[str, bytes]) -> None:
    raw.restore(topics.NUMBERS_KEY, 0, dumps[topics.NUMBERS_KEY], replace=True)


def all_keys_set_back(raw: Any, dumps: Mapping[str, bytes]) -> None:
    for key, dump in dumps.items():
        raw.restore(key, 0, dump, replace=True)


LOSSES: dict[str, Callable[[Any, Mapping[str, bytes]], object]] = {
    "everything is lost": lambda raw, dumps: raw.flushdb(),
    "numbers are lost": lambda raw, dumps: raw.delete(topics.NUMBERS_KEY),
    "epoch is lost": lambda raw, dumps: raw.hdel(topics.NUMBERS_KEY, "epoch"),
    "counter is lost": lambda raw, dumps: raw.hdel(topics.NUMBERS_KEY, "book_updates|BTCUSDT|20"),
    "counter cannot be read": lambda raw, dumps: raw.hset(topics.NUMBERS_KEY, "book_updates|BTCUSDT|20", "x"),
    "numbers are set back": numbers_set_back,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_new_epoch_begins_for_books_if(
    loss: str, is_known: bool, bus: Bus, other_bus: Callable[[], Bus], raw_redis: redis_client.Redis
) -> None:
    bus.publish_books([message(1, starts=True)])
    dumps: Any = {topics.NUMBERS_KEY: raw_redis.dump(topics.NUMBERS_KEY)}
    [old] = bus.publish_books([message(2)])
    LOSSES[loss](raw_redis, dumps)
    publisher = bus if is_known else other_bus()
    [new] = publisher.publish_books([message(3)])
    assert (new.epoch != old.epoch, new.seq) == (True, 1)
    assert read_head(cut_book(bus.latest_book("BTCUSDT", 20) or b"").snapshot)[-2:] == (1, new.epoch)
    assert publisher.publish_books([message(4)]) == [Stamp(new.epoch, 2)]


def test_publisher_of_heartbeats_notices_numbers_before_its_first_book(
    bus: Bus, other_bus: Callable[[], Bus], raw_redis: redis_client.Redis
) -> None:
    bus.publish_heartbeat({"type": "heartbeat"})
    dump: Any = raw_redis.dump(topics.NUMBERS_KEY)
    [old] = bus.publish_books([message(1, starts=True)])
    publisher = other_bus()
    numbers_set_back(raw_redis, {topics.NUMBERS_KEY: dump})
    assert publisher.publish_heartbeat({"type": "heartbeat"}) == Stamp(old.epoch, 2)
    [new] = publisher.publish_books([message(2, starts=True)])
    assert (new.epoch != old.epoch, new.seq) == (True, 1)


def test_publisher_notices_that_all_keys_went_back(bus: Bus, raw_redis: Any) -> None:
    bus.publish_books([message(1, starts=True)])
    dumps = {key.decode(): raw_redis.dump(key) for key in raw_redis.keys("tickwire:*")}
    [old] = bus.publish_books([message(2)])
    all_keys_set_back(raw_redis, dumps)
    [new] = bus.publish_books([message(3)])
    assert new == Stamp(new.epoch, 1) != old
    all_keys_set_back(raw_redis, dumps)  # to the epoch that has ended
    [newest] = bus.publish_books([message(4)])
    assert newest.epoch not in (old.epoch, new.epoch)


def test_new_publisher_continues_the_numbers(bus: Bus, other_bus: Callable[[], Bus]) -> None:
    [old] = bus.publish_books([message(1, starts=True)])
    beat = bus.publish_heartbeat({"type": "heartbeat"})
    publisher = other_bus()
    assert publisher.publish_books([message(2, starts=True)]) == [Stamp(old.epoch, 2)]
    assert publisher.publish_heartbeat({"type": "heartbeat"}) == Stamp(beat.epoch, 2)


def test_epoch_that_another_channel_began_holds_for_books(bus: Bus, raw_redis: redis_client.Redis) -> None:
    [old] = bus.publish_books([message(1, starts=True)])
    raw_redis.delete(topics.NUMBERS_KEY)
    new = bus.publish_heartbeat({"type": "heartbeat"})
    assert new.epoch != old.epoch
    assert bus.publish_books([message(2)]) == [Stamp(new.epoch, 1)]


def test_latest_messages_that_went_back_change_no_number(bus: Bus, other_bus: Callable[[], Bus], raw_redis: Any) -> None:
    bus.publish_books([message(1, starts=True)])
    dump = raw_redis.dump(LATEST_BOOKS)
    [old] = bus.publish_books([message(2)])
    raw_redis.restore(LATEST_BOOKS, 0, dump, replace=True)
    assert other_bus().publish_books([message(3)]) == [Stamp(old.epoch, 3)]
    raw_redis.delete(LATEST_BOOKS)
    assert other_bus().publish_books([message(4)]) == [Stamp(old.epoch, 4)]


# rows for the store


TIME = "2024-08-08T23:54:16.000000Z"
DEEP = BookSnapshotRow("BTCUSDT", TIME, 7, {"bids": [["1.0", "2"]], "asks": []})


def top(symbol: str, bid: str) -> BookTop:
    return BookTop(symbol, TIME, bid, "1", "9", "1", "2.5", 0.0, 7, "live")


def unstored(bus: Bus) -> list[BookEntry]:
    """The next rows that the store reads."""
    return bus.read_parsed(topics.BOOK_TOPS, BookEntry.of, 10, 0)


def test_rows_for_the_store_are_kept_until_it_acknowledges_them(servers: Servers, raw_redis: redis_client.Redis) -> None:
    bus = Bus(servers.redis_url, lambda: NOW, limit=3)
    subscription = bus.subscribe([topics.BOOK_TOPS, topics.HEARTBEATS])
    bus.open_group(topics.BOOK_TOPS)
    bus.append_book_rows([top("BTCUSDT", "1.0"), top("ETHUSDT", "2.0")], [])
    bus.append_book_rows([], [DEEP])
    bus.append_book_rows([], [])
    with pytest.raises(BusFull):
        bus.append_book_rows([top("BTCUSDT", "1.1")], [])
    entries = unstored(bus)
    assert [entry.row for entry in entries] == [top("BTCUSDT", "1.0"), top("ETHUSDT", "2.0"), DEEP]
    assert bus.counts(topics.BOOK_TOPS) == (3, 0)
    bus.acknowledge(topics.BOOK_TOPS, [entry.id for entry in entries])
    bus.append_book_rows([top("BTCUSDT", "1.1")], [])
    assert (bus.unstored(topics.BOOK_TOPS), [entry.row for entry in unstored(bus)]) == (1, [top("BTCUSDT", "1.1")])
    bus.publish_heartbeat({"type": "heartbeat"})
    assert [channel for channel, _ in read(subscription, 1)] == [topics.HEARTBEATS]  # no row was published


def test_rows_after_lost_counts_are_kept_until_the_writer_counts_again(bus: Bus, raw_redis: redis_client.Redis) -> None:
    bus.open_group(topics.BOOK_TOPS)
    bus.append_book_rows([top("BTCUSDT", "1.0")], [DEEP])
    raw_redis.delete(topics.count_key(topics.BOOK_TOPS))
    bus.append_book_rows([top("BTCUSDT", "1.1")], [])
    assert len(unstored(bus)) == bus.unstored(topics.BOOK_TOPS) == 3
    assert bus.recount(topics.BOOK_TOPS) is None


# shared state


def test_rows_of_states_are_replaced_one_by_one_or_as_a_whole(bus: Bus, raw_redis: redis_client.Redis) -> None:
    bus.publish_books([message(1, depth, name, starts=True) for name in ("BTCUSDT", "ETHUSDT") for depth in (5, 20)])
    bus.put_books({"BTCUSDT": {"symbol": "BTCUSDT", "state": "syncing"}, "ETHUSDT": {"symbol": "ETHUSDT", "state": "live"}}, whole=True)
    bus.put_books({"BTCUSDT": {"symbol": "BTCUSDT", "state": "live", "measures": {"mid": None}}})
    assert bus.book_rows() == {
        "BTCUSDT": {"symbol": "BTCUSDT", "state": "live", "measures": {"mid": None}}, "ETHUSDT": {"symbol": "ETHUSDT", "state": "live"},
    }  # fmt: skip
    assert len(bus.latest_books()) == 4
    bus.put_books({"ETHUSDT": {"symbol": "ETHUSDT", "state": "syncing"}}, whole=True)
    assert bus.book_rows() == {"ETHUSDT": {"symbol": "ETHUSDT", "state": "syncing"}}
    assert set(bus.latest_books()) == {"ETHUSDT|5", "ETHUSDT|20"}
    assert bus.publish_books([message(2, 5)])[0].seq == 2  # the numbers go on
    raw_redis.hset(topics.BOOKS_KEY, mapping={"BTCUSDT": "{", b"\xff": "[]"})
    assert set(bus.book_rows()) == {"ETHUSDT"}
    bus.put_books({}, whole=True)
    assert (bus.book_rows(), bus.latest_books()) == ({}, {})


def test_wanted_scenario_is_kept_and_published(bus: Bus, raw_redis: redis_client.Redis) -> None:
    assert bus.wanted_scenario() is None
    subscription = bus.subscribe_scenario()
    choices = dict.fromkeys(("speed", "seed", "loop", "recording", "faults"))
    wanted = {"run_id": "r1", "scenario": "burst-mode", **choices, "requested": "2024-08-08T23:54:16.000000Z"}
    bus.want_scenario(wanted)
    [(channel, text)] = read(subscription, 1)
    assert (channel, orjson.loads(text)) == ("scenario_commands", wanted)
    assert bus.wanted_scenario() == wanted == orjson.loads(raw_redis.get("tickwire:scenario") or b"")
    raw_redis.set("tickwire:scenario", "no JSON")
    assert bus.wanted_scenario() is None


def test_tables_name_the_keys_and_rooms_of_the_contract() -> None:
    rows = {name: topics.STREAMS[name] for name in ("book_updates", "book_states", "heartbeats", "scenario_changes", "book_tops")}
    assert {name: (row.tail, row.stored, row.keeps_latest, row.relayed) for name, row in rows.items()} == {
        "book_updates": (0, False, True, True), "book_states": (20_000, False, False, True), "heartbeats": (0, False, True, True),
        "scenario_changes": (0, False, True, True), "book_tops": (0, True, False, False),
    }  # fmt: skip
    assert rows["book_updates"].latest_key == LATEST_BOOKS
    assert (topics.book_topic("BTCUSDT", 20), topics.book_room("BTCUSDT", 20)) == ("BTCUSDT|20", "book_BTCUSDT_20")
