"""Waiting of tests: poll until a condition is true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 2.5  # factor for every timeout: several suites may share the machine
FIRST_PAUSE, LATER_PAUSE, LONGEST_PAUSE = 0.01, 0.04, 0.2  # seconds between two polls
SHORT_WAIT = 0.5  # seconds after which a wait counts as long


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
        least = FIRST_PAUSE if now < began + SHORT_WAIT else LATER_PAUSE
        time.sleep(max(least, min(2 * (now - asked), LONGEST_PAUSE)))
        asked = time.monotonic()
    return value
