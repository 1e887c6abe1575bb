"""A kept value: one computation for all callers, and errors that are not kept."""

from __future__ import annotations

import threading

import pytest

from api.rest.market.kept import Kept
from db.bus import BusError
from tests.conftest import until


def test_value_is_computed_again_after_its_time() -> None:
    now, values = [0.0], iter(range(10))
    kept = Kept(2.0, lambda: next(values), lambda: now[0])
    assert [kept.get(), kept.get()] == [0, 0]
    now[0] = 1.999
    assert kept.get() == 0
    now[0] = 2.0
    assert [kept.get(), kept.get()] == [1, 1]


def test_time_begins_at_the_end_of_the_computation() -> None:
    now, computed = [0.0], []

    def compute() -> int:
        now[0] += 5.0
        computed.append(now[0])
        return len(computed)

    kept = Kept(2.0, compute, lambda: now[0])
    assert kept.get() == 1
    now[0] = 6.9
    assert kept.get() == 1
    now[0] = 7.0
    assert kept.get() == 2


def test_waiting_callers_receive_the_error_and_the_next_one_computes_again() -> None:
    gate, results = threading.Event(), []

    def compute() -> int:
        assert gate.wait(60)
        if len(calls) == 1:
            raise BusError("away")
        return 7

    calls: list[int] = []

    def counted() -> int:
        calls.append(1)
        return compute()

    kept = Kept(2.0, counted, lambda: 0.0)

    def ask() -> None:
        try:
            results.append(str(kept.get()))
        except BusError as error:
            results.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: calls, what="the computation")
    gate.set()
    for thread in threads:
        thread.join(60)
    assert set(results) <= {"away", "7"}  # a thread that began late computes again
    assert "away" in results
    assert kept.get() == 7
    assert len(calls) == 2


def test_error_is_raised_to_its_caller() -> None:
    def fail() -> int:
        raise BusError("away")

    kept = Kept(2.0, fail, lambda: 0.0)
    for _ in range(2):
        with pytest.raises(BusError, match="away"):
            kept.get()
