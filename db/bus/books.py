"""Order books on the bus: their messages, states, heartbeats, rows for the store, and scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import orjson

from db import topics
from db.book_bodies import BookMessage, cut_book, pieces_of
from db.bus.confirmation import ScriptCall
from db.bus.connection import lua
from db.bus.errors import BusFull, translated
from db.bus.layout.batches import MESSAGES_PER_SCRIPT, Message
from db.bus.publish import Publisher
from db.bus.subscription import Subscription
from db.messages import Stamp
from db.timestamps import format_time

_APPEND_ROWS = lua("append_rows")


class BookRow(Protocol):
    """A row for the store: `BookTop` or `BookSnapshotRow`."""

    table: ClassVar[str]

    def encode(self) -> bytes:
        """The row as a JSON object."""


class Books(Publisher):
    """The part of the bus for order books and scenarios. Every method raises `BusError`.

    One process publishes books: each instrument has one book, and each of its depths one `seq`.
    """

    def publish_books(self, messages: Sequence[BookMessage]) -> list[Stamp]:
        """Publish messages on `book_updates`, in one atomic step per 500 of them, in order.

        Each becomes the latest message of its topic. After a `BusError` it is unknown whether the
        messages were published: the next one of each topic must have no update.
        """
        now = format_time(self._clock())
        return self._publish(topics.BOOKS, [_book_message(message, now) for message in messages], None)

    def publish_book(
        self,
        instrument: str,
        depth: int,
        *,
        snapshot: Mapping[str, object],
        update: Mapping[str, object] | None,
        meta: Mapping[str, object],
    ) -> Stamp:
        """Publish one message on `book_updates`."""
        return self.publish_books([BookMessage(instrument, depth, update, snapshot, meta)])[0]

    def publish_book_state(self, body: Mapping[str, object]) -> Stamp:
        """Publish a change of state on `book_states`."""
        return self.publish(topics.BOOK_STATES, str(body["instrument"]), body)

    def publish_heartbeat(self, body: Mapping[str, object]) -> Stamp:
        """Publish on `heartbeats`; it becomes the latest heartbeat."""
        return self.publish(topics.HEARTBEATS, topics.HEARTBEAT_TOPIC, body)

    def publish_scenario_change(self, body: Mapping[str, object]) -> Stamp:
        """Publish on `scenario_changes` that this scenario runs now, as its `run_id` confirms."""
        return self.publish(topics.SCENARIO_CHANGES, topics.SCENARIO_TOPIC, body)

    def append_book_rows(self, tops: Sequence[BookRow], snapshots: Sequence[BookRow]) -> None:
        """Append rows to the stream `book_tops`, for the store only: they are never broadcast.

        An entry has the fields `table` and `row`. A repeat may append a row twice; the store keeps
        the first. Raises `BusFull` if the store is behind.
        """
        rows = [*tops, *snapshots]
        keys = [self.key(topics.stream_key(topics.BOOK_TOPS)), self.key(topics.count_key(topics.BOOK_TOPS))]
        calls: list[ScriptCall] = []
        for start in range(0, len(rows), MESSAGES_PER_SCRIPT):
            part = rows[start : start + MESSAGES_PER_SCRIPT]
            calls.append((keys, [self._limit, *(field for row in part for field in (row.table, row.encode()))]))
        if not all(self._run_scripts(_APPEND_ROWS, calls, confirmed=True)):
            raise BusFull(f"{topics.BOOK_TOPS}: {self._limit} rows wait to be stored")

    def put_books(self, rows: Mapping[str, Mapping[str, object]], *, whole: bool = False) -> None:
        """Set the rows of `/book/states` with measures: instrument -> row.

        `whole`: the rows of other instruments are removed, and their latest messages. The process
        of the books does this when it begins, and when it keeps other books.
        """
        kept = {name: orjson.dumps(row) for name, row in rows.items()}
        ended = self._latest_topics_without(rows) if whole else []
        with translated():
            pipe = self._redis.pipeline(transaction=True)
            if whole:
                pipe.delete(topics.BOOKS_KEY)
            if ended and self.shards == 1:
                pipe.hdel(self._latest_books_key, *ended)
            if kept:
                pipe.hset(topics.BOOKS_KEY, mapping=kept)
            pipe.execute()
            if ended and self.shards > 1:  # the key may be on another node
                self._redis.hdel(self._latest_books_key, *ended)

    def book_rows(self) -> dict[str, dict[str, Any]]:
        """instrument -> its row; rows that cannot be read are left out."""
        with translated():
            found = self._redis.hgetall(topics.BOOKS_KEY)
        rows = {name.decode(errors="replace"): _object(text) for name, text in found.items()}
        return {name: row for name, row in rows.items() if row is not None}

    def latest_book(self, instrument: str, depth: int) -> bytes | None:
        """The latest message of a topic as published; None if there is none that can be cut."""
        with translated():
            body: bytes | None = self._redis.hget(self._latest_books_key, topics.book_topic(instrument, depth))
        return body if body is not None and _can_be_cut(body) else None

    def latest_books(self) -> dict[str, bytes]:
        """topic -> its latest message; messages that cannot be cut are left out."""
        with translated():
            found = self._redis.hgetall(self._latest_books_key)
        return {topic.decode(errors="replace"): body for topic, body in found.items() if _can_be_cut(body)}

    def latest_heartbeat(self) -> dict[str, Any] | None:
        """The latest heartbeat; None if there was none."""
        return self._latest(topics.HEARTBEATS, topics.HEARTBEAT_TOPIC)

    def latest_scenario_change(self) -> dict[str, Any] | None:
        """The latest `scenario_changed`; None if there was none."""
        return self._latest(topics.SCENARIO_CHANGES, topics.SCENARIO_TOPIC)

    def want_scenario(self, wanted: Mapping[str, object]) -> None:
        """Set the wanted scenario, with its `run_id`, and publish it on `scenario_commands`.

        `latest_scenario_change` has that `run_id` as soon as the scenario runs.
        """
        text = orjson.dumps(wanted)
        with translated():
            pipe = self._redis.pipeline(transaction=True)
            pipe.set(topics.SCENARIO_KEY, text)
            pipe.publish(topics.SCENARIO_COMMANDS, text)
            pipe.execute()

    def wanted_scenario(self) -> dict[str, Any] | None:
        """The scenario that was wanted last; None if there is none."""
        with translated():
            text = self._redis.get(topics.SCENARIO_KEY)
        return _object(text)

    def subscribe_scenario(self) -> Subscription:
        """Subscribe to the wanted scenarios."""
        with translated():
            return Subscription(self._redis.connection_pool.make_connection(), [topics.SCENARIO_COMMANDS])

    @property
    def _latest_books_key(self) -> str:
        return self.key(topics.latest_key(topics.BOOKS))

    def _latest(self, channel: str, topic: str) -> dict[str, Any] | None:
        with translated():
            body = self._redis.hget(self.key(topics.latest_key(channel)), topic)
        return _object(body)

    def _latest_topics_without(self, rows: Mapping[str, object]) -> list[bytes]:
        """The topics of the latest messages of instruments that have no row."""
        with translated():
            found = self._redis.hgetall(self._latest_books_key)
        return [topic for topic in found if topic.rpartition(b"|")[0].decode(errors="replace") not in rows]


def _book_message(message: BookMessage, timestamp: str) -> Message:
    first, second, rest = pieces_of(message, timestamp)
    return topics.book_topic(message.instrument, message.depth), first, second, rest, ""


def _can_be_cut(body: bytes) -> bool:
    try:
        cut_book(body)
    except ValueError:
        return False
    return True


def _object(text: bytes | None) -> dict[str, Any] | None:
    """The object of a JSON text; None if it is missing or is none."""
    try:
        found = orjson.loads(text or b"")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
