"""The bounded queue of the books: places, overflow, delay, figures; and the flow through it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.scenarios.model import ON_FULL, OnFull, Scenario
from jobs.books.play.flow import SNAPSHOT_SECONDS, Flow
from jobs.books.queue import FREE_PER_PLACE, BookQueue, uniform_delay
from jobs.feeds.scenario.messages import Played
from tests.support.even_recordings import even_recording, shipped
from tests.support.small_books import NoLevels, SmallBooks


def diff(number: int, instrument: str = "BTCUSDT") -> Played:
    return Played(float(number), "diff", instrument, b"", 0, number, number)


def ticker(number: int) -> Played:
    return Played(float(number), "ticker", "BTCUSDT", b"", 0, number, number)


def queue(limit: int = 3, delay: float = 0.5) -> BookQueue[Played]:
    return BookQueue(limit, "block", delay=lambda: delay, mean_delay=delay)


def test_messages_leave_in_their_order() -> None:
    own = queue()
    sent = [diff(1), ticker(2), diff(3)]
    for message in sent:
        own.put(message, 0.0)
    assert (own.size, own.full) == (2, False)
    assert [own.take(0.0)[0] for _ in sent] == sent
    assert (own.size, own.counts.processed, bool(own)) == (0, 2, False)


def test_queue_is_full_at_its_limit_of_diffs() -> None:
    own = queue(2)
    own.put(diff(1), 0.0)
    own.put(ticker(2), 0.0)
    assert not own.full
    own.put(diff(3), 0.0)
    assert own.full


def test_tickers_are_bounded_too() -> None:
    own = queue(2)
    for number in range(2 * FREE_PER_PLACE):
        assert not own.full
        own.put(ticker(number), 0.0)
    assert own.full


def test_delay_applies_to_diffs_alone() -> None:
    own = queue(delay=0.25)
    own.put(ticker(1), 0.0)
    own.put(diff(2), 0.0)
    assert [own.take(0.0)[1] for _ in range(2)] == [0.0, 0.25]


def test_overflow_empties_the_queue_and_names_the_books_that_lost_messages() -> None:
    own = queue(10)
    ended = Played(4.0, "disconnected", "BTCUSDT")
    kept = replace(ticker(6), instrument="BNBUSDT")
    for message in (diff(1), diff(2, "ETHUSDT"), ticker(3), ended, diff(5), kept):
        own.put(message, 0.0)
    assert own.overflow() == ("BTCUSDT", "ETHUSDT")
    assert (own.size, own.counts.dropped, own.counts.overflows) == (0, 3, 1)
    assert [own.take(0.0)[0] for _ in range(2)] == [ended, kept]
    assert not own


def test_overflow_of_tickers_alone_removes_them() -> None:
    own = queue(2)
    own.put(ticker(1), 0.0)
    assert own.overflow() == ("BTCUSDT",)
    assert (bool(own), own.counts.dropped) == (False, 0)


def test_lag_is_the_number_of_messages_times_the_mean_delay() -> None:
    own = queue(10, delay=0.5)
    for number in range(4):
        own.put(diff(number), 0.0)
    assert own.lag(0.0) == 2.0
    assert own.lag(0.0, outside=6) == 5.0


def test_lag_contains_the_time_of_a_message_that_hangs() -> None:
    own = queue(10, delay=0.5)
    own.put(diff(1), 0.0)
    own.take(0.0)
    assert own.lag(0.4) == 0.0
    assert own.lag(20.0) == 19.5
    own.finish(20.0)
    assert own.lag(20.0) == 0.0


def test_mean_service_time_follows_a_slower_worker() -> None:
    own = queue(10, delay=0.1)
    for number in range(400):
        own.put(diff(number), float(number))
        own.take(float(number))
        own.finish(number + 0.4)
    own.put(diff(0), 400.0)
    assert own.lag(400.0) == pytest.approx(0.4, rel=0.01)


def test_peak_since_last_begins_again_at_the_present_size() -> None:
    own = queue(10)
    for number in range(5):
        own.put(diff(number), 0.0)
    own.take(0.0)
    assert [own.peak_since_last(), own.peak_since_last()] == [5, 4]
    assert own.counts.peak == 5


def test_backpressure_is_the_time_of_a_due_message_without_a_place() -> None:
    own = queue(1)
    own.put(diff(1), 10.0)
    assert own.backpressure(14.0, due=12.0) == 2.0
    assert own.backpressure(14.0, due=None) == 0.0
    own.take(15.0, due=12.0)
    own.put(diff(2), 15.0)
    assert own.backpressure(16.0, due=12.5) == 4.0  # 3 s before, and 1 s since it is full again


@pytest.mark.parametrize("bounds", [(5.0, 15.0), (10.0, 10.0)])
def test_uniform_delay_has_its_bounds_mean_and_seed(bounds: tuple[float, float]) -> None:
    first, again = (uniform_delay(bounds, seed=4) for _ in range(2))
    delays = [first() for _ in range(4_000)]
    assert delays == [again() for _ in range(4_000)]
    assert bounds[0] / 1_000 <= min(delays) <= max(delays) <= bounds[1] / 1_000
    assert sum(delays) / 4_000 == pytest.approx(0.010, rel=0.02)


def flow_of(scenario: Scenario, **arguments: object) -> tuple[Flow, SmallBooks]:
    books = SmallBooks(NoLevels)
    flow = Flow(scenario, [even_recording(20, levels=2)], books, new_book=NoLevels, **arguments)  # type: ignore[arg-type]
    books.request = flow.request_snapshot
    return flow, books


SMALL = replace(shipped("burst-mode"), queue_max=50)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.001, 3), min_size=1, max_size=60), st.sampled_from(ON_FULL))
def test_steps_of_any_size_give_the_same_run(steps: list[float], on_full: OnFull) -> None:
    """The order of events depends on their times alone, not on the calls of `advance`."""
    scenario = replace(SMALL, on_full=on_full, delay_ms=(0, 30))
    one, books = flow_of(scenario)
    for step in steps:
        one.advance(one.now + step)
    other, again = flow_of(scenario)
    other.advance(one.now)
    assert books.received == again.received
    assert one.queue.size == other.queue.size
    assert one.backpressure() == pytest.approx(other.backpressure())


def test_nothing_happens_before_the_next_time() -> None:
    flow, books = flow_of(SMALL)
    for _ in range(3_000):
        time = flow.next_time()
        if time > flow.now + 1e-6:
            before = len(books.received), flow.queue.size
            flow.advance(time - 1e-6)
            assert (len(books.received), flow.queue.size) == before
        flow.advance(time)


def test_blocked_player_loses_nothing() -> None:
    flow, books = flow_of(SMALL)
    flow.advance(60)
    received = [(first, last) for kind, first, last in books.received if kind == "diff"]
    left_out = [after[0] - before[1] - 1 for before, after in pairwise(received)]
    restarts = [kind for kind, _, _ in books.received].count("restart")
    # Each later restart leaves out the id of its snapshot; the last one may have no diff yet.
    assert set(left_out) == {0, 1}
    assert sum(left_out) in (restarts - 2, restarts - 1)
    assert (flow.queue.counts.peak, flow.queue.counts.dropped) == (50, 0)
    # 500 messages wait at the end of a burst of 5 s; the first 50 of 90 a second have a place.
    assert flow.backpressure() > 9


def test_full_queue_is_emptied_and_the_book_is_rebuilt_after_50_ms() -> None:
    flow, books = flow_of(replace(SMALL, on_full="resync"))
    flow.advance(26)
    changes = [each for each in books.books["BTCUSDT"].changes if each[3] == "overflow"]
    states = [(state, reason) for _, _, state, reason in changes[:3]]
    assert states == [("gap", "overflow"), ("resyncing", "overflow"), ("live", "overflow")]
    assert changes[2][0] - changes[1][0] == pytest.approx(SNAPSHOT_SECONDS)
    assert flow.queue.counts.overflows == flow.queue.counts.dropped / 50


def test_slow_books_delay_the_worker() -> None:
    """Their work takes 30 ms by the clock, on top of the 10 ms of the file."""
    clock = [0.0]
    flow, books = flow_of(SMALL, clock=lambda: clock[0])
    receive = books.receive

    def slow(message: Played, now: float) -> None:
        receive(message, now)
        clock[0] = now + 0.03 * message.counts

    books.receive = slow  # type: ignore[method-assign]
    flow.advance(28)
    # From 25 s on, 200 a second are due and 25 are processed.
    assert flow.queue.counts.processed == pytest.approx(250 + 3 * 25, abs=3)
    assert flow.lag() == pytest.approx(3 * 175 * 0.04, rel=0.1)


def test_lag_grows_while_the_books_hang() -> None:
    clock = [0.0]
    flow, books = flow_of(replace(SMALL, queue_max=5), clock=lambda: clock[0])
    seen: list[tuple[float, float]] = []

    def hang(message: Played, now: float) -> None:
        if message.counts and not seen:
            clock[0] = now + 8.0
            seen.append((flow.lag(), flow.backpressure()))

    books.receive = hang  # type: ignore[method-assign]
    flow.advance(0.05)
    # 8 s of one message, and 80 that are due meanwhile at 10 ms each; all places are free.
    ((lag, backpressure),) = seen
    assert lag == pytest.approx(8 + 0.8, rel=0.01)
    assert backpressure == 0


def test_snapshot_without_a_book_fails() -> None:
    books = SmallBooks(NoLevels)
    flow = Flow(SMALL, [even_recording(20, levels=2)], books)
    flow.request_snapshot("BTCUSDT")
    flow.advance(1)
    assert books.refusals == [(SNAPSHOT_SECONDS, None)]


def test_scenario_without_queue_max_is_refused() -> None:
    with pytest.raises(ValueError, match="needs queue_max"):
        Flow(replace(SMALL, queue_max=None), [even_recording(20, levels=2)], SmallBooks(NoLevels))
