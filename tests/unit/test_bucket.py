"""The tokens of a session: its rate, the end of a flood, and the CONNECT packets of a minute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.hub.transport.limits.bucket import Allowance, Bucket, Connects


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def bucket(clock: Clock, per_second: float = 50, at_once: float = 200) -> Bucket:
    return Bucket(Allowance(per_second, at_once, clock))


def send(it: Bucket, clock: Clock, rate: float, seconds: float) -> float | None:
    """Send packets at a steady rate; return the time of the end as a flood, or None."""
    began = clock.now
    for number in range(int(rate * seconds)):
        clock.now = began + number / rate
        if not it.pay() and it.flooded:
            return clock.now
    return None


@given(st.lists(st.floats(0, 2), max_size=400))
def test_accepted_packets_never_exceed_the_bucket_and_its_refill(pauses: list[float]) -> None:
    clock = Clock()
    it = bucket(clock, 5, 20)
    accepted = []
    for pause in pauses:
        clock.now += pause
        if it.pay():
            accepted.append(clock.now)
    for first, began in enumerate(accepted):
        for last, ended in enumerate(accepted[first:], start=first):
            assert last - first + 1 <= 20 + (ended - began) * 5 + 1e-6


def test_session_below_the_rate_never_floods() -> None:
    clock = Clock()
    assert send(bucket(clock), clock, rate=40, seconds=600) is None


@pytest.mark.parametrize("rate", [51, 60, 100, 1_000, 10_000])
def test_session_above_the_rate_floods_three_to_five_seconds_after_its_last_token(rate: float) -> None:
    clock = Clock()
    it = bucket(clock)
    refused = None
    while it.pay():
        clock.now += 1 / rate
    refused = clock.now
    ended = send(it, clock, rate, seconds=30)
    assert ended is not None
    assert 3 <= ended - refused <= 5


def test_burst_above_the_bucket_is_no_flood_if_a_pause_follows() -> None:
    clock = Clock()
    it = bucket(clock)
    for _ in range(20):
        for _ in range(400):
            assert not (not it.pay() and it.flooded)
        clock.now += 4
    assert it.pay()


def test_token_of_an_event_is_refused_without_taking_a_part() -> None:
    clock = Clock()
    it = bucket(clock, 50, 200)
    assert it.take(190)
    assert not it.take(11)
    assert it.take(10)
    assert it.empty
    assert not it.pay()
    assert not it.paid
    clock.now += 0.1
    assert it.take(5)
    assert not it.take(1)


def test_cost_above_a_full_bucket_takes_a_full_bucket() -> None:
    clock = Clock()
    it = bucket(clock, 5, 20)
    assert it.take(41)
    assert not it.take(41)
    assert it.retry_after(41) == 4.0
    clock.now += 4
    assert it.take(41)


@pytest.mark.parametrize(("tokens", "seconds"), [(1, 1.0), (60, 1.2), (200, 4.0), (1000, 4.0)])
def test_retry_after_is_the_time_until_the_tokens_are_there(tokens: float, seconds: float) -> None:
    clock = Clock()
    it = bucket(clock)
    assert it.take(200)
    assert it.retry_after(tokens) == seconds


def test_sixth_connect_of_a_minute_is_refused() -> None:
    clock = Clock()
    connects = Connects(clock)
    for _ in range(5):
        assert connects.take()
        clock.now += 2
    assert not connects.take()
    assert connects.retry_after() == 50
    clock.now += 50
    assert connects.take()
    assert not connects.take()
