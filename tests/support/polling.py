"""Waiting of tests: poll until a condition is true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 2.5  # factor for every timeout: several suites may share the machine


def until(condition: Callable[[], object], seconds: float = 20.0, what: str | Callable[[], str] = "the condition") -> object:
    """Poll until `condition()` is true and return its value.

    Fail after a deadline that only a broken program reaches.

    `what` names the condition in the error. A function is called when the deadline has passed.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what if isinstance(what, str) else what()} did not come true within {PATIENCE * seconds} s")
        time.sleep(0.01)
    return value
