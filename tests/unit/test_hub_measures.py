"""The integers behind the metrics of the hub: ends of connections, lags, ages of messages."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import ErrorCode
from api.hub.health import live
from api.hub.measures.lags import LoopLag
from api.hub.messages import Message, decode
from api.hub.relay.batches import BatchTimes
from api.hub.transport.limits.states import CLOSING, REQUESTING, STATES, count_states, state_of
from api.hub.transport.limits.totals import ENDS, NO_NAMESPACE, SERVER_FULL, ConnectionTotals, end_after, reason_of
from config.metrics import BOOK_LAG_BUCKETS, LAG_BUCKETS
from db import topics
from db.measures import Lags
from health.measures.stages import Stages

NOON = 1_763_467_200.0  # 2025-11-18T12:00:00Z


def ended(reason: str, refused: str = "") -> str:
    """Return the end that a reason of `close` counts for."""
    totals = ConnectionTotals()
    totals.end(reason, refused)
    [found] = [end for end, number in totals.ended.items() if number]
    return found


@pytest.mark.parametrize(
    ("reason", "refused", "end"),
    [
        ("transport close", "", "client"),
        ("transport error", "", "client"),
        ("client disconnect", "", "client"),
        ("slow consumer", "", "slow"),
        ("ping timeout", "", "ping"),
        ("rate limit", "", "limit"),
        ("unauthorized", "", "unauthorized"),
        ("server disconnect", "", "drain"),
        (SERVER_FULL, "", "full"),
        (NO_NAMESPACE, "", "unauthorized"),
        (NO_NAMESPACE, "full", "full"),
        ("transport close", "full", "full"),
        ("ping timeout", "full", "ping"),
        (reason_of(1002), "", "protocol"),
        (reason_of(1011), "unauthorized", "protocol"),
        (reason_of(1001), "", "client"),
        (reason_of(None), "", "client"),
    ],
)
def test_reason_of_a_close_has_one_end(reason: str, refused: str, end: str) -> None:
    assert ended(reason, refused) == end


def test_each_end_is_known_from_the_start() -> None:
    assert ConnectionTotals().ended == dict.fromkeys(ENDS, 0)
    assert {end_after(code) for code in ErrorCode} == {"", "full", "limit", "unauthorized"}


@given(st.lists(st.floats(-1, 3), max_size=20))
def test_lags_count_each_value_in_the_bucket_of_the_next_bound(values: list[float]) -> None:
    lags = Lags(LAG_BUCKETS)
    for value in values:
        lags.observe(value)
    counts, total = lags.read()
    known = [max(value, 0.0) for value in values]
    assert counts == [sum(bisect_left(LAG_BUCKETS, value) == place for value in known) for place in range(len(LAG_BUCKETS) + 1)]
    assert total == pytest.approx(sum(known))
    assert (lags.take_max(), lags.take_max()) == (max(known, default=0.0), 0.0)


def test_loop_lag_is_the_time_beyond_the_timer() -> None:
    now, stop = [5.0], threading.Event()
    lasted = [0.1, 0.35, 0.1]  # seconds of each sleep

    def sleep(seconds: float) -> None:
        assert seconds == 0.1
        now[0] += lasted.pop(0)
        if not lasted:
            stop.set()

    lag = LoopLag(lambda: now[0], sleep)
    lag.run(stop)
    counts, total = lag.lags.read()
    assert dict(zip((*LAG_BUCKETS, None), counts, strict=True)) == {**dict.fromkeys((*LAG_BUCKETS, None), 0), 0.001: 2, 0.25: 1}
    assert total == pytest.approx(0.25)


# the ages of messages


def price(at: str, epoch: str | None = "e") -> Message:
    known = {"epoch": epoch, "seq": 1} if epoch else {}
    quote = {"bid": "1", "ask": "1", "mid": "1", "time": at, "source": "test"}
    body = {"instrument": "EUR_USD", "price": quote, "timestamp": at, **known}
    return decode(topics.PRICES, orjson.dumps(body), {"EUR_USD"})


class Batch:
    """The times of batches whose clock the test moves."""

    def __init__(self) -> None:
        self.now = NOON
        self.relayed = 0
        self.stages = Stages()
        self.times = BatchTimes(self.stages, lambda: self.now, lambda: self.relayed)

    def send(self, read: float, sent: float, *messages: Message) -> None:
        """Read at `read` seconds after noon, and send at `sent`."""
        self.now = NOON + read
        self.times.begin()
        for message in messages:
            self.times.note(message)
        self.relayed += len(messages)
        self.now = NOON + sent
        self.times.end()


def test_first_own_message_of_each_batch_has_an_age() -> None:
    batch = Batch()
    foreign, first, second = price("2025-11-18T12:00:00Z", None), price("2025-11-18T12:00:01.000000Z"), price("2025-11-18T11:00:00.000000Z")
    batch.send(1.01, 1.02, foreign, first, second)
    batch.send(1.021, 1.03, first)  # not sampled for the stages, but an age
    batch.send(2.0, 2.0)
    batch.send(2.1, 2.2, foreign)
    counts, total = batch.times.lags.read()
    assert dict(zip(LAG_BUCKETS, counts, strict=False)) == {**dict.fromkeys(LAG_BUCKETS, 0), 0.025: 1, 0.05: 1}
    assert total == pytest.approx(0.02 + 0.03)
    assert batch.times.book_lags.read() == ([0] * (len(BOOK_LAG_BUCKETS) + 1), 0.0)


def test_stages_are_noted_ten_times_a_second_and_all_messages_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, noted = Batch(), Counter[str]()
    monkeypatch.setattr(batch.stages, "record", lambda stage, seconds: noted.update([stage]))
    for number in range(100):
        batch.send(1.0 + number * 0.0125, 1.001 + number * 0.0125, price("2025-11-18T12:00:01.000000Z"))
    assert batch.times.lag == pytest.approx(0.001 + 99 * 0.0125)
    assert batch.stages.part()["counters"] == {"relayed": 100}
    assert noted == dict.fromkeys(("bus", "fanout", "sockets"), 12)  # 0.1125 s apart


def test_batches_of_one_interval_have_the_age_of_the_first_message() -> None:
    batch = Batch()
    for read in (1.01, 1.02):
        batch.now = NOON + read
        batch.times.begin()
        batch.times.note(price("2025-11-18T12:00:01.000000Z" if read == 1.01 else "2025-11-18T12:00:01.015000Z"))
    batch.now = NOON + 1.03
    batch.times.end()
    batch.times.end()  # another fan-out ends its interval
    counts, total = batch.times.lags.read()
    assert sum(counts) == 1
    assert total == pytest.approx(0.03)


# liveness


def test_silent_loop_makes_live_503() -> None:
    assert live({}) == ({"status": "alive"}, 200, [])
    assert live({"relay": 12.0, "books": 16.0}) == ({"status": "silent", "silent_loops": ["books", "relay"]}, 503, [])


# the counts of states


@pytest.mark.parametrize("upgrading", [None, object()])
@pytest.mark.parametrize("join_due", [0.0, 5.0])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("socket", [None, object()])
@pytest.mark.parametrize("stalled", [False, True])
def test_each_session_counts_in_its_row_of_the_table(
    upgrading: object, join_due: float, joined: bool, socket: object, stalled: bool
) -> None:
    outbox = SimpleNamespace(stalled=stalled)
    session: Any = SimpleNamespace(upgrading=upgrading, join_due=join_due, joined=joined, socket=socket, outbox=outbox)
    expected = dict.fromkeys((row.name for row in STATES), 0) | {REQUESTING: 3, CLOSING: 4, state_of(session): 2}
    assert count_states([session, session], 3, 4) == expected
