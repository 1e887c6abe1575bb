"""Long-lived threads: an unexpected end is logged and reported, an expected one is not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from jobs.runtime.threads import LongLivedThread


def run(target: Callable[[], object], *, stopped: bool = False, may_return: bool = False) -> list[str]:
    """Run the target in a thread to its end; return the names of the reported threads."""
    stop, reported = threading.Event(), list[str]()
    if stopped:
        stop.set()
    thread = LongLivedThread(lambda stop: target(), name="worker", stop=stop, on_failure=reported.append, may_return=lambda: may_return)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return reported


def fail() -> None:
    raise RuntimeError("a bug")


def finish() -> None:
    return


def test_return_without_a_stop_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert run(finish) == ["worker"]
    assert [(record.levelname, vars(record)["loop"]) for record in caplog.records] == [("ERROR", "worker")]


def test_return_after_a_stop_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert run(finish, stopped=True) == []
    assert caplog.records == []


def test_early_return_of_a_thread_that_may_return_is_not_reported() -> None:
    assert run(finish, may_return=True) == []


@pytest.mark.parametrize("may_return", [False, True])
@pytest.mark.parametrize("stopped", [False, True])
def test_exception_is_reported_with_its_traceback(may_return: bool, stopped: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert run(fail, stopped=stopped, may_return=may_return) == ["worker"]
    assert [record.exc_info is not None for record in caplog.records] == [True]
