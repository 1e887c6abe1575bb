"""Budgets of requests: the token bucket in steps, and the figures of a sliding window."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.access.limits import STEPS, Budget, TokenBuckets, WindowCounts, limited_caller, stored_name, window_budget
from api.access.model import Access, anonymous
from api.access.peers import Peers
from config.access.patterns import EVERYTHING
from config.fields import Rate, parse_rate

RATE = Rate(600, 60)
STEP = RATE.seconds // STEPS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def buckets(most: int = 100) -> tuple[TokenBuckets, Clock]:
    clock = Clock()
    return TokenBuckets(clock, most=most), clock


def test_request_601_of_a_minute_is_refused() -> None:
    budgets, clock = buckets()
    for number in range(600):
        budget = budgets.take("key:a", RATE, 1)
        assert (budget.limit, budget.remaining, budget.retry_after) == (600, 599 - number, None)
        clock.now += 1 / 128
    refused = budgets.take("key:a", RATE, 1)
    passed = 600 / 128
    assert refused == Budget(600, 0, 60 - passed, STEP - passed)


def test_tokens_come_back_in_steps_of_a_tenth() -> None:
    budgets, clock = buckets()
    budgets.take("key:a", RATE, 600)
    clock.now += STEP - 0.125
    assert budgets.take("key:a", RATE, 1).retry_after == 0.125
    clock.now += 0.125
    assert budgets.take("key:a", RATE, 1).remaining == 59
    clock.now += 8 * STEP
    assert budgets.take("key:a", RATE, 1).remaining == 538
    clock.now += STEP
    assert budgets.take("key:a", RATE, 1).remaining == 597
    clock.now += 10 * STEP
    assert budgets.take("key:a", RATE, 1) == Budget(600, 599, float(STEP), None)


def test_cost_above_the_limit_takes_a_full_bucket() -> None:
    budgets, clock = buckets()
    small = Rate(5, 60)
    assert budgets.take("key:a", small, 20) == Budget(5, 0, 60.0, None)
    assert budgets.take("key:a", small, 20) == Budget(5, 0, 60.0, 60.0)
    clock.now += 60
    assert budgets.take("key:a", small, 20).retry_after is None


def test_cost_of_finished_work_takes_what_is_left() -> None:
    budgets, _ = buckets()
    budgets.take("key:a", RATE, 595)
    assert budgets.spend("key:a", RATE, 10) == Budget(600, 0, 60.0, None)


def test_callers_have_budgets_of_their_own() -> None:
    budgets, _ = buckets()
    budgets.take("key:a", RATE, 600)
    assert budgets.take("key:b", RATE, 1).remaining == 599
    assert budgets.take("ip:192.0.2.1", RATE, 1).remaining == 599


def test_changed_rate_begins_a_new_budget() -> None:
    budgets, _ = buckets()
    budgets.take("key:a", RATE, 600)
    assert budgets.take("key:a", Rate(10, 1), 1).remaining == 9


def test_number_of_budgets_is_bounded() -> None:
    budgets, _ = buckets(most=2)
    for caller in ("key:a", "key:b", "key:a", "key:c"):
        budgets.take(caller, RATE, 1)
    assert budgets.take("key:a", RATE, 1).remaining == 597
    assert budgets.take("key:b", RATE, 1).remaining == 599  # was forgotten


EIGHTHS = st.integers(0, 8 * 90)  # a pause of up to 90 s, exact as a float


@settings(max_examples=60)
@given(st.lists(st.tuples(EIGHTHS, st.integers(1, 700)), max_size=40), st.sampled_from(["600/m", "7/m", "5000/h"]))
def test_bucket_agrees_with_arithmetic(requests: list[tuple[int, int]], text: str) -> None:
    rate = parse_rate(text)
    budgets, clock = buckets()
    step = Fraction(rate.seconds, STEPS)
    left, since = Fraction(rate.count), Fraction(1000)  # tokens, and the time of the last step
    for eighths, cost in requests:
        clock.now += eighths / 8
        now = Fraction(clock.now)
        while left < rate.count and since + step <= now:
            since += step
            left = min(Fraction(rate.count), left + Fraction(rate.count, STEPS))
        if left == rate.count:
            since = now
        cost = min(cost, rate.count)
        budget = budgets.take("key:a", rate, cost)
        steps_missing = -((left - cost) * STEPS // rate.count) if left < cost else 0
        assert (budget.retry_after is None) == (left >= cost)
        if budget.retry_after is None:
            left -= cost
        else:
            assert budget.retry_after == pytest.approx(float(since + steps_missing * step - now))
        assert budget.remaining == int(left)
        steps_to_full = -((left - rate.count) * STEPS // rate.count)
        assert budget.reset == pytest.approx(float(since + steps_to_full * step - now) if left < rate.count else 0.0)


@settings(max_examples=60)
@given(st.lists(EIGHTHS, min_size=1, max_size=200))
def test_accepted_requests_never_exceed_the_bucket_and_its_steps(pauses: list[int]) -> None:
    budgets, clock = buckets()
    rate = Rate(10, 60)
    accepted = []
    for pause in pauses:
        clock.now += pause / 8
        if budgets.take("key:a", rate, 1).retry_after is None:
            accepted.append(clock.now)
    for first, began in enumerate(accepted):
        for last, ended in enumerate(accepted[first:], start=first):
            assert last - first + 1 <= 10 + (ended - began) // STEP + 1


@pytest.mark.parametrize(
    ("counts", "cost", "expected"),
    [
        ((0, 0.0, 0, 0.0), None, Budget(600, 600, 0.0)),
        # Half of the former window is within the last minute: 150 of its 300 requests count.
        ((300, 30.0, 100, 90.0), None, Budget(600, 350, 90.0)),
        ((300, 30.0, 0, 0.0), None, Budget(600, 450, 30.0)),
        # 400 + 200 are used. One more fits if 199 of the former 400 count: at 60 · 199/400 s left.
        ((400, 30.0, 400, 90.0), 1, Budget(600, 0, 90.0, 30 - 60 * 199 / 400 + 0.0)),
        # The present window ends in 20 s; a request fits when 599 of its 600 count, 0.1 s later.
        ((0, 0.0, 600, 80.0), 1, Budget(600, 0, 80.0, 20.1)),
    ],
)
def test_budget_of_a_sliding_window(counts: tuple[int, float, int, float], cost: int | None, expected: Budget) -> None:
    budget = window_budget(WindowCounts(*counts), RATE, cost)
    assert (budget.limit, budget.remaining, budget.reset) == (expected.limit, expected.remaining, expected.reset)
    assert budget.retry_after == (None if expected.retry_after is None else pytest.approx(expected.retry_after))


def test_limits_count_a_key_a_subject_or_an_address() -> None:
    key = Access(frozenset(), EVERYTHING, key_id="abc12345")
    subject = Access(frozenset(), EVERYTHING, subject="ada")
    assert limited_caller(key, "127.0.0.1", Peers()) == "key:abc12345"
    assert limited_caller(subject, "127.0.0.1", Peers()) == "sub:ada"
    assert limited_caller(anonymous(), "192.0.2.1", Peers()) == "ip:192.0.2.1"
    assert limited_caller(anonymous(), "127.0.0.1", Peers()) is None
    assert limited_caller(anonymous(), "127.0.0.1", Peers(["10.0.0.0/8"])) == "ip:127.0.0.1"


def test_names_in_redis_have_no_text_of_a_subject() -> None:
    assert stored_name("key:abc12345") == "abc12345"
    assert stored_name("ip:2001:db8::1") == "ip:2001:db8::1"
    # printf ada | sha256sum
    assert stored_name("sub:ada") == "sub:fdee430d40bd57deeac186cd9790033d"
