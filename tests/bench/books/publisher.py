"""Books of six instruments on the bus, with the levels of the spot recording."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache

from db.book_bodies import BookMessage
from db.bus import Bus
from jobs.books.messages import read_diff
from jobs.books.tops import DEPTHS, DepthMessage, Tops
from tests.bench.books.recorded import TIME, facts_of, is_update, live_machine, take
from tests.bench.feed import Feed
from tests.bench.servers import ROOT

INSTRUMENTS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "BNBUSDT", "ADAUSDT")
DEPTH = 20
BEAT_SECONDS = 0.1
_DIFFS = 1_500
_META = {"received_at": TIME, "processed_at": TIME, "queue_size": 0}


@cache
def _recorded() -> tuple[list[DepthMessage], list[list[DepthMessage]]]:
    """The first snapshots, and the messages of each diff that changes all depths."""
    machine, texts = live_machine("spot")
    tops = Tops(INSTRUMENTS[0])
    first = tops.snapshot(machine.book, facts_of(machine))
    found = []
    for text in texts[:_DIFFS]:
        if is_update(take(machine, read_diff(text))):
            messages = tops.update(machine.book, facts_of(machine))
            if len(messages) == len(DEPTHS):
                found.append(messages)
    return first, found


class BookFeed(Feed):
    """A publisher of all depths of six books. `steady` and `publish` count those of depth 20.

    The messages repeat; only their `seq` and times are new.
    """

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus, INSTRUMENTS, len(INSTRUMENTS), BEAT_SECONDS)

    def begin(self) -> None:
        """Publish the first snapshots."""
        first, _ = _recorded()
        self._bus.publish_books([_message(name, each) for name in INSTRUMENTS for each in first])

    def publish(self, count: int) -> None:
        """Publish the next message of so many books in turn."""
        _, found = _recorded()
        batch = []
        for _ in range(count):
            place, book = divmod(self._number, len(INSTRUMENTS))
            batch += [_message(INSTRUMENTS[book], each) for each in found[place % len(found)]]
            self._number += 1
        self._bus.publish_books(batch)


def _message(instrument: str, message: DepthMessage) -> BookMessage:
    """The message without its time: the bus sets that of the publication."""
    update, snapshot = (
        body and {key: value for key, value in {**body, "instrument": instrument}.items() if key != "timestamp"}
        for body in (message.update, message.snapshot)
    )
    assert snapshot is not None
    return BookMessage(instrument, message.depth, update, snapshot, _META)


@contextmanager
def publishing(redis_url: str) -> Iterator[None]:
    """Publish at 10 Hz during the block, in a process of its own."""
    code = f"import sys; from {__name__} import main; main(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", code, redis_url], cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.terminate()


def main(redis_url: str) -> None:
    """Publish until the process ends; a line on stdout follows the first snapshots."""
    with closing(Bus(redis_url, lambda: datetime.now(UTC))) as bus:
        feed = BookFeed(bus)
        feed.begin()
        print("publishing", flush=True)
        while True:
            feed.steady(100)
