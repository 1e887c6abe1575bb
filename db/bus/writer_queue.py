"""The streams as a queue for the writers, which store their entries and then acknowledge them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import redis

from db import topics
from db.bus.connection import Connection, lua
from db.bus.errors import translated
from db.messages import Entry, NoteBad, TradeLines, ignore_bad
from db.timestamps import format_time, parse_time

_ACKNOWLEDGE = lua("acknowledge")
_FORGET = lua("forget")
_PARK = lua("park")
_RECOUNT = lua("recount")
# All writers share one consumer name: a new writer inherits the unacknowledged entries of the last.
_CONSUMER = "writer"
_DEAD_LETTERS = 1_000  # kept per channel
_MAX_RAW_BYTES = 64 * 1024  # of a dead letter
_MAX_REASON_LENGTH = 500
_MAX_RECOUNTED = 20_000  # entries that one count reads, while Redis serves no other client

Fields = Mapping[bytes, bytes]
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Parked:
    """Entries that could not be stored: their number (None: unknown), and the time of the last."""

    total: int | None
    last: str | None


class WriterQueue(Connection):
    """The part of the bus for the store. Every method raises `BusError`."""

    def open_group(self, channel: str) -> None:
        """Create the store's consumer group at the beginning of the stream, unless it exists."""
        with translated():
            try:
                self._redis.xgroup_create(topics.stream_key(channel), topics.WRITER_GROUP, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def read_unstored(self, channel: str, count: int, wait_ms: int, *, again: bool = False, note_bad: NoteBad = ignore_bad) -> list[Entry]:
        """The next `count` entries for the store; waits up to `wait_ms` for the first (0: no wait).

        `again` returns entries that were read before and never acknowledged. A malformed entry is
        parked, and `note_bad` is called with its id and its error.
        """
        return self.read_parsed(channel, Entry.of, count, wait_ms, again=again, note_bad=note_bad)

    def read_unstored_trades(self, count: int, wait_ms: int, *, again: bool = False, note_bad: NoteBad = ignore_bad) -> list[TradeLines]:
        """The same as `read_unstored` for the stream of trades; each entry holds many trades."""
        return self.read_parsed(topics.TRADES, TradeLines.of, count, wait_ms, again=again, note_bad=note_bad)

    def read_parsed(
        self,
        channel: str,
        parse: Callable[[bytes, Fields], Parsed],
        count: int,
        wait_ms: int,
        *,
        again: bool = False,
        note_bad: NoteBad = ignore_bad,
    ) -> list[Parsed]:
        """The same as `read_unstored` for entries of another form.

        `parse` has the id and the fields of an entry, and raises `ValueError` if it is malformed.
        """
        # Until there is a good entry, or none: an empty answer is the end of the rest.
        found: list[Parsed] = []
        while not found and (items := self._read_group(channel, count, wait_ms, again)):
            gone, bad = [], {}
            for entry_id, fields in items:
                try:
                    if fields:
                        found.append(parse(entry_id, fields))
                    else:
                        gone.append(entry_id)
                except ValueError as error:
                    note_bad(entry_id, error)
                    bad[entry_id] = str(error)
            self.park(channel, bad)
            if gone:
                # The stream has lost these entries, and only the group still lists them.
                self.acknowledge(channel, gone)
                self.recount(channel)
        return found

    def _read_group(self, channel: str, count: int, wait_ms: int, again: bool) -> list[tuple[bytes, Fields]]:
        with translated():
            answer = self._redis.xreadgroup(
                topics.WRITER_GROUP,
                _CONSUMER,
                {topics.stream_key(channel): "0" if again else ">"},
                count=count,
                block=None if again or wait_ms <= 0 else wait_ms,
            )
        return [item for _, items in answer or [] for item in items]

    def park(self, channel: str, reasons: Mapping[bytes, str]) -> None:
        """Move entries that cannot be stored to the dead letters of their channel, counted once.

        `reasons` has the reason by id.
        """
        if not reasons:
            return
        keys = [topics.stream_key(channel), topics.dead_key(channel), topics.PARKED_KEY]
        now, deletes = format_time(self._clock()), int(channel == topics.TRADES)
        options: list[str | bytes | int] = [_DEAD_LETTERS, _MAX_RAW_BYTES, now, deletes]
        texts = {entry_id: reason[:_MAX_REASON_LENGTH].encode(errors="replace") for entry_id, reason in reasons.items()}
        parked = self._run_scripts(_PARK, [(keys, [topics.WRITER_GROUP, *item, *options]) for item in texts.items()])
        self.measured.parked.add(channel, by=sum(parked))
        self.recount(channel)

    def parked(self) -> Parked:
        """Number of parked entries of all channels, and the time of the last one."""
        with translated():
            total, last = self._redis.hmget(topics.PARKED_KEY, ["total", "last"])
        try:
            return Parked(int(total or 0), None if last is None else format_time(parse_time(last.decode())))
        except ValueError:
            return Parked(0, None)

    def recount(self, channel: str) -> tuple[int, int] | None:
        """Correct the counts of the channel, which another loss of data may have made wrong.

        Returns the wrong and the right number of unstored messages; None if they were right.
        """
        keys = [topics.stream_key(channel), topics.count_key(channel)]
        field, chunk = ("trades", 100) if channel == topics.TRADES else ("", 1_000)
        (answer,) = self._run_scripts(_RECOUNT, [(keys, [topics.WRITER_GROUP, field, _MAX_RECOUNTED, chunk])])
        return None if answer is None else (int(answer[0]), int(answer[1]))

    def acknowledge(self, channel: str, ids: Sequence[bytes]) -> int:
        """Mark these entries as stored; returns the number that was not yet acknowledged."""
        if not ids:
            return 0
        keys = [topics.stream_key(channel), topics.count_key(channel)]
        return int(self._run_scripts(_ACKNOWLEDGE, [(keys, [topics.WRITER_GROUP, *ids])])[0])

    def forget_trades(self, entries: Sequence[TradeLines]) -> int:
        """Mark these entries as stored and delete them, because only the store reads them.

        Returns the number of trades that were not yet acknowledged.
        """
        if not entries:
            return 0
        keys = [topics.stream_key(topics.TRADES), topics.count_key(topics.TRADES)]
        fields = [field for entry in entries for field in (entry.id, entry.trades)]
        return int(self._run_scripts(_FORGET, [(keys, [topics.WRITER_GROUP, *fields])])[0])

    def unstored(self, channel: str = topics.PRICES) -> int:
        """Number of accepted messages that the store does not hold yet."""
        published, stored = self.counts(channel)
        return published - stored

    def counts(self, channel: str = topics.PRICES) -> tuple[int, int]:
        """Numbers of accepted and of acknowledged messages; both are 0 if Redis lost its data."""
        with translated():
            published, stored = self._redis.hmget(topics.count_key(channel), ["published", "stored"])
        return _count(published), _count(stored)


def _count(value: bytes | None) -> int:
    """A counter; 0 if it is missing or cannot be read, until the writer counts again."""
    return int(value) if value and value.removeprefix(b"-").isdigit() else 0
