"""Waiting of tests: poll until a condition is true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 2.5  # factor for every timeout: several suites may share the machine
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.2  # seconds between two polls
PAUSE_OF_WAIT = 0.1  # pause as a share of the time that has passed: so much later may a test continue


def until(condition: Callable[[], object], seconds: float = 20.0, what: str | Callable[[], str] = "the condition") -> object:
    """Poll until `condition()` is true and return its value.

    Fail after a deadline that only a broken program reaches.

    `what` names the condition in the error. A function is called when the deadline has passed.
    """
    began = asked = time.monotonic()
    while not (value := condition()):
        now = time.monotonic()
        if now > began + PATIENCE * seconds:
            raise AssertionError(f"{what if isinstance(what, str) else what()} did not come true within {PATIENCE * seconds} s")
        # The pause leaves the processors to the awaited process, also if the condition is costly.
        pause = max(PAUSE_OF_WAIT * (now - began), 2 * (now - asked))
        time.sleep(min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE))
        asked = time.monotonic()
    return value
