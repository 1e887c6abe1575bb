"""Snapshots of the metrics: kept for late readers and published in one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from db import topics
from db.bus.connection import Connection, lua
from db.bus.errors import translated

SECTIONS = ("market_data", "strategy", "execution", "system")
STRATEGIES_OF_BOTS = "strategies"  # a further text of `strings`: {"strategies": [figures of each strategy of each bot]}
LATEST_SECONDS = 10  # for which Redis keeps the newest snapshot
_SNAPSHOT = lua("snapshot")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The four sections at one time, as JSON text, so that no reader parses a number.

    `timestamp` is in contract form. `numbers` has decimals as JSON numbers, `strings` as strings:
    section -> text. `strings` may have the text `STRATEGIES_OF_BOTS` too, for `/strategies`.
    """

    timestamp: str
    seq: int
    epoch: str
    numbers: Mapping[str, str]
    strings: Mapping[str, str]

    @classmethod
    def of(cls, body: bytes) -> Snapshot:
        """Read the body of a message. Raises `ValueError` if it is not a snapshot."""
        found = orjson.loads(body)
        try:
            numbers, strings = ({str(name): str(text) for name, text in found[each].items()} for each in ("numbers", "strings"))
            return cls(str(found["timestamp"]), int(found["seq"]), str(found["epoch"]), numbers, strings)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a snapshot: {type(error).__name__}: {error}") from None

    def body(self) -> bytes:
        """The body of the message."""
        head, numbers, strings = self.parts()
        return b"".join((head, b',"numbers":', numbers, b',"strings":', strings, b"}"))

    def parts(self) -> tuple[bytes, bytes, bytes]:
        """The begin of the body, and the texts of `numbers` and `strings`, which follow it."""
        head = orjson.dumps({"timestamp": self.timestamp, "seq": self.seq, "epoch": self.epoch})
        return head[:-1], orjson.dumps(self.numbers), orjson.dumps(self.strings)


class Snapshots(Connection):
    """The part of the bus for snapshots of the metrics. Every method raises `BusError`."""

    def publish_snapshot(self, snapshot: Snapshot) -> None:
        """Publish a snapshot on `metrics_updates` and keep it as the newest one."""
        arguments: list[str | bytes | int] = [topics.METRICS, LATEST_SECONDS * 1000, *snapshot.parts()]
        arguments += [snapshot.timestamp, snapshot.seq, snapshot.epoch]
        self._run_scripts(_SNAPSHOT, [([topics.SNAPSHOT_KEY], arguments)])

    def latest_snapshot(self) -> Snapshot | None:
        """The newest snapshot; None if there was none in the last `LATEST_SECONDS`."""
        with translated():
            found = self._redis.hgetall(topics.SNAPSHOT_KEY)
        try:
            numbers, strings = orjson.loads(found[b"numbers"]), orjson.loads(found[b"strings"])
            return Snapshot(found[b"timestamp"].decode(), int(found[b"seq"]), found[b"epoch"].decode(), numbers, strings)
        except (KeyError, ValueError):
            return None
