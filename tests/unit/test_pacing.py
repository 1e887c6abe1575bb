"""The waiting helpers: computed delays, one log line per outage and kind, retries that stop."""

from __future__ import annotations

import logging
import threading

import pytest

from config.pacing import Outage, Stopped, Throttle, backoff, retry

LOG = logging.getLogger("tests.pacing")


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.mark.parametrize(
    ("attempt", "jitter", "expected"),
    [(1, 1.0, 0.8), (1, 0.0, 0.4), (2, 1.0, 1.6), (3, 0.5, 2.4), (6, 1.0, 25.6), (7, 1.0, 30.0), (7, 0.0, 15.0), (100_000, 1.0, 30.0)],
)
def test_backoff_of_a_source_doubles_to_its_limit(attempt: int, jitter: float, expected: float) -> None:
    assert backoff(attempt, first=0.8, longest=30.0, jitter=jitter, spread=0.5) == pytest.approx(expected)


def test_backoff_without_spread_ignores_jitter() -> None:
    assert [backoff(n, first=0.5, longest=5.0, jitter=0.0, spread=0.0) for n in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 4.0, 5.0]


def test_backoff_with_a_small_spread_stays_in_the_upper_fifth() -> None:
    assert backoff(1, first=0.5, longest=30.0, jitter=0.0, spread=0.2) == pytest.approx(0.4)
    assert backoff(1, first=0.5, longest=30.0, jitter=1.0, spread=0.2) == pytest.approx(0.5)


def test_outage_logs_its_start_and_its_end_once(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outage = Outage(LOG, "writer waits", monotonic=time.monotonic, channel="trades")
    outage.recovered()
    for _ in range(3):
        outage.failed(OSError("refused"))
        time.now += 2.5
    assert outage.lasts
    outage.recovered()
    outage.recovered()
    assert not outage.lasts
    assert [record.getMessage() for record in caplog.records] == ["writer waits", "recovered: writer waits"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert vars(caplog.records[0])["reason"] == "refused"
    assert vars(caplog.records[0])["channel"] == "trades"
    assert (vars(caplog.records[1])["seconds"], vars(caplog.records[1])["failures"]) == (7.5, 3)


def test_outage_logs_a_traceback_on_request(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(LOG, "writer waits", monotonic=time.monotonic)
    outage.failed(ValueError("bug"), traceback=True)
    assert "ValueError: bug" in caplog.text


def test_outage_logs_again_after_a_recovery(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(LOG, "writer waits", monotonic=time.monotonic)
    for _ in range(2):
        outage.failed(OSError("refused"))
        outage.recovered()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == ["writer waits"] * 2


def test_throttle_lets_one_line_per_kind_pass_in_its_time(time: Time) -> None:
    throttle = Throttle(60, monotonic=time.monotonic)
    assert throttle.due("schema") == 1
    assert throttle.due("json") == 1
    assert [throttle.due("schema") for _ in range(4)] == [None] * 4
    time.now += 59.9
    assert throttle.due("schema") is None
    time.now += 0.1
    assert throttle.due("schema") == 6
    assert throttle.due("schema") is None


def test_retry_repeats_until_the_call_succeeds(time: Time) -> None:
    failures = iter([OSError("1"), OSError("2")])
    pauses: list[int] = []

    def call() -> str:
        if (error := next(failures, None)) is not None:
            raise error
        return "answer"

    def pause(attempt: int) -> float:
        pauses.append(attempt)
        return 0.0

    outage = Outage(LOG, "waits", monotonic=time.monotonic)
    assert retry(call, on=OSError, stop=threading.Event(), outage=outage, pause=pause) == "answer"
    assert pauses == [1, 2]
    assert not outage.lasts


def test_retry_stops_on_request(time: Time) -> None:
    stop = threading.Event()

    def call() -> None:
        stop.set()
        raise OSError("away")

    with pytest.raises(Stopped):
        retry(call, on=OSError, stop=stop, outage=Outage(LOG, "waits", monotonic=time.monotonic), pause=lambda attempt: 60.0)


def test_retry_lets_other_exceptions_pass(time: Time) -> None:
    def call() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        retry(call, on=OSError, stop=threading.Event(), outage=Outage(LOG, "waits", monotonic=time.monotonic), pause=lambda attempt: 0.0)


def test_retry_with_a_limit_raises_the_last_failure(time: Time) -> None:
    errors = [OSError("1"), OSError("2"), OSError("3")]
    left = iter(errors)

    def call() -> None:
        raise next(left)

    outage = Outage(LOG, "waits", monotonic=time.monotonic)
    with pytest.raises(OSError, match="3") as caught:
        retry(call, on=OSError, stop=threading.Event(), outage=outage, pause=lambda attempt: 0.0, attempts=3)
    assert caught.value is errors[2]
