"""Publishers of prices and of a book, each a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from db.book_bodies import BookMessage
from db.bus import Bus
from db.messages import Tick
from jobs.books.messages import read_diff
from jobs.books.tops import DepthMessage, Tops
from tests.bench.books.recorded import TIME, facts_of, is_update, live_machine, take
from tests.bench.feed import Feed
from tests.bench.servers import ROOT, BenchError

_BEAT_SECONDS = 0.02
_SPREAD, _STEP = 14, 17  # fractional pips: a quarter of the changes is at least one spread, and tinted
_META = {"received_at": TIME, "processed_at": TIME, "queue_size": 0}
_MOST_UNSTORED = 5_000_000  # messages: no writer removes them, and five minutes have 750,000
BOOK = "BTCUSDT"


class Walks(Feed):
    """Prices that walk by a few pips, with the rate of each instrument per second."""

    def __init__(self, bus: Bus, instruments: Sequence[str], rate: float) -> None:
        total = len(instruments) * rate
        per_beat = max(1, round(total * _BEAT_SECONDS))
        super().__init__(bus, instruments, per_beat, per_beat / total)
        self._random = random.Random(17)
        self._mids = {name: 100_000 + self._random.randrange(50_000) for name in instruments}

    def _next(self, now: str) -> Tick:
        self._number += 1
        name = self.instruments[self._number % len(self.instruments)]
        self._mids[name] = bid = max(10_000, self._mids[name] + self._random.randint(-_STEP, _STEP))
        ask = bid + _SPREAD
        return Tick(name, bid=_text(bid), ask=_text(ask), mid=_text((bid + ask) // 2), time=now, source="bench")


def _text(price: int) -> str:
    return f"{price // 100_000}.{price % 100_000:05}"


@contextmanager
def prices(redis_url: str, instruments: Sequence[str], rate: float) -> Iterator[None]:
    """Publish one price of each instrument, then `rate` prices a second during the block."""
    with _process("prices", redis_url, json.dumps({"instruments": list(instruments), "rate": rate})):
        yield


@contextmanager
def book(redis_url: str) -> Iterator[None]:
    """Publish the recorded book of BTCUSDT 10 times a second during the block."""
    with _process("book", redis_url, "{}"):
        yield


@contextmanager
def _process(kind: str, redis_url: str, options: str) -> Iterator[None]:
    argv = [sys.executable, "-c", f"import sys; from {__name__} import main; main(*sys.argv[1:])", kind, redis_url]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(options + "\n")
            process.stdin.flush()
            if process.stdout.readline().strip() != "publishing":
                raise BenchError(f"the publisher of {kind} does not start")
            yield
            if process.poll() is not None:
                raise BenchError(f"the publisher of {kind} has ended")
        finally:
            process.kill()


def _publish_prices(bus: Bus, instruments: list[str], rate: float) -> None:
    feed = Walks(bus, instruments, rate)
    for _ in range(0, len(instruments), 500):
        feed.publish(min(500, len(instruments)))
    print("publishing", flush=True)
    while True:
        feed.steady(round(1 / feed.beat) * 3600)


def _publish_book(bus: Bus) -> None:
    machine, texts = live_machine("spot")
    tops = Tops(BOOK)
    bus.publish_books([_message(each) for each in tops.snapshot(machine.book, facts_of(machine))])
    print("publishing", flush=True)
    due = time.monotonic()
    for text in texts:
        if is_update(take(machine, read_diff(text))):
            due += 0.1
            time.sleep(max(0.0, due - time.monotonic()))
            bus.publish_books([_message(each) for each in tops.update(machine.book, facts_of(machine))])


def _message(message: DepthMessage) -> BookMessage:
    """The message without its time: the bus sets that of the publication."""
    update, snapshot = (
        body and {key: value for key, value in body.items() if key != "timestamp"} for body in (message.update, message.snapshot)
    )
    assert snapshot is not None
    return BookMessage(BOOK, message.depth, update, snapshot, _META)


def main(kind: str, redis_url: str) -> None:
    """Publish until the process ends; a line on stdout follows the first messages."""
    options = json.loads(sys.stdin.readline())
    with closing(Bus(redis_url, lambda: datetime.now(UTC), limit=_MOST_UNSTORED)) as bus:
        if kind == "prices":
            _publish_prices(bus, **options)
        else:
            _publish_book(bus)
