"""A hanging part must not block the health check."""

from __future__ import annotations

import threading

from api.rest.probe import HealthProbe, ask_all


def test_results_have_the_order_of_the_probes() -> None:
    assert ask_all(HealthProbe("a", lambda: 1), HealthProbe("b", lambda: 2)) == [1, 2]


def test_failing_probe_is_none_and_runs_again() -> None:
    answers = iter([ValueError("broken"), None, "fine"])

    def question() -> str:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return str(answer)

    probe = HealthProbe("part", question)
    assert [ask_all(probe), ask_all(probe), ask_all(probe)] == [[None], ["None"], ["fine"]]


def test_hanging_probe_blocks_no_caller_and_runs_once() -> None:
    release, asked = threading.Event(), []

    def question() -> str:
        asked.append(threading.get_ident())
        release.wait()
        return "late"

    probe = HealthProbe("part", question)
    assert [ask_all(probe, HealthProbe("other", lambda: "well"), patience=0.05) for _ in range(3)] == [[None, "well"]] * 3
    waiting = probe.ask()
    release.set()
    assert waiting.result(20) == "late"
    assert len(asked) == 1
    assert ask_all(probe, patience=20) == ["late"]
