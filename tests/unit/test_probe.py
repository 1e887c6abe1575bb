"""A hanging part must not block the health check."""

from __future__ import annotations

import threading

from db.bus import BusError
from health.probe import DISCONNECTED, IMPAIRED, CheckFailed, HealthProbe, ask_all


def failing(error: Exception) -> HealthProbe:
    def check() -> None:
        raise error

    return HealthProbe("part", check)


def test_results_have_the_order_of_the_probes() -> None:
    failure = CheckFailed(IMPAIRED, "read only")
    assert ask_all(HealthProbe("a", lambda: None), failing(failure), patience=20) == [None, failure]


def test_kind_of_an_error_decides_the_state() -> None:
    results = ask_all(failing(BusError("away")), failing(ValueError("broken")), patience=20)
    assert [(result.state, str(result)) for result in results if result] == [(DISCONNECTED, "away"), (IMPAIRED, "ValueError: broken")]


def test_failing_probe_runs_again() -> None:
    errors = iter([ValueError("broken"), None])

    def check() -> None:
        if error := next(errors):
            raise error

    probe = HealthProbe("part", check)
    assert [ask_all(probe, patience=20)[0] is None for _ in range(2)] == [False, True]


def test_hanging_probe_blocks_no_caller_and_runs_once() -> None:
    release, asked = threading.Event(), []

    def check() -> None:
        asked.append(threading.get_ident())
        release.wait()

    probe = HealthProbe("part", check)
    for _ in range(3):
        late, well = ask_all(probe, HealthProbe("other", lambda: None), patience=0.05)
        assert late is not None
        assert (late.state, well) == (DISCONNECTED, None)
    waiting = probe.ask()
    release.set()
    assert waiting.result(60) is None
    assert len(asked) == 1
    assert ask_all(probe, patience=20) == [None]
