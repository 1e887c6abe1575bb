"""Steps of the clock: the wall clock is compared with the monotonic one."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.runtime.clock_steps import CHECK_SECONDS, STEP_SECONDS, ClockSteps
from tests.support.fake_time import FakeTime


class Wall(FakeTime):
    """A fake time whose wall clock can be set."""

    def __init__(self, until: float = float("inf"), steps: list[float] | None = None) -> None:
        super().__init__(until)
        self.ahead = 0.0
        self.steps = list(steps or [])  # one for each wait

    def wait(self, timeout: float | None = None) -> bool:
        if self.steps:
            self.ahead += self.steps.pop(0)
        return super().wait(timeout)

    def utc(self) -> datetime:
        return super().utc() + timedelta(seconds=self.ahead)


@pytest.mark.parametrize("step", [2.1, -2.1, 3600.0, -3600.0, 86_400.0 * 400])
def test_step_is_one_warning_with_its_size(step: float, caplog: pytest.LogCaptureFixture) -> None:
    time, called = Wall(until=10, steps=[0, 0, step]), []
    ClockSteps(time.utc, time.monotonic, lambda: called.append(time.now)).run(time)
    assert called == [3 * CHECK_SECONDS]
    (record,) = [each for each in caplog.records if each.name == "jobs.runtime.clock_steps"]
    assert (record.levelno, record.__dict__["step_seconds"]) == (logging.WARNING, step)


@given(st.lists(st.floats(-STEP_SECONDS, STEP_SECONDS) | st.sampled_from([-7200.0, 7200.0]), max_size=30))
def test_only_steps_are_steps(steps: list[float]) -> None:
    """A clock that is slewed, by any sum, was not set."""
    time, called = Wall(until=len(steps) + 1, steps=steps), []
    ClockSteps(time.utc, time.monotonic, lambda: called.append(1)).run(time)
    assert len(called) == sum(abs(step) > STEP_SECONDS for step in steps)


def test_pause_of_the_process_is_no_step() -> None:
    time, called = Wall(), []
    steps = ClockSteps(time.utc, time.monotonic, lambda: called.append(1))
    time.now += 3600  # both clocks go on
    steps.check()
    assert called == []
