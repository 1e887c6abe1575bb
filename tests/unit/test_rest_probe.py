"""A part that hangs must hang nobody else."""

from __future__ import annotations

import threading

from api.rest.probe import HealthProbe, ask_all


def test_answers_come_in_order() -> None:
    assert ask_all(HealthProbe("a", lambda: 1), HealthProbe("b", lambda: 2)) == [1, 2]


def test_a_failing_part_is_none_and_is_asked_again() -> None:
    answers = iter([ValueError("broken"), None, "fine"])

    def question() -> str:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return str(answer)

    probe = HealthProbe("part", question)
    assert [ask_all(probe), ask_all(probe), ask_all(probe)] == [[None], ["None"], ["fine"]]


def test_nobody_waits_for_a_hanging_part_and_it_is_asked_once() -> None:
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
