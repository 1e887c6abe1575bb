"""A value that is computed once for all requests, and kept for some seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The result of `compute`, kept for `seconds` after its end. Any thread may call it.

    Concurrent callers wait for one computation. They receive its error too, which is not kept.
    """

    def __init__(self, seconds: float, compute: Callable[[], Value], monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._compute = compute
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._future: Future[Value] | None = None  # of the last computation
        self._until = float("-inf")  # monotonic time until which it is kept; infinite while it runs

    def get(self) -> Value:
        """Return the value, at most `seconds` old. Raises the error of `compute`."""
        with self._lock:
            future, owner = self._future, False
            if future is None or self._monotonic() >= self._until:
                future = self._future = Future()
                self._until, owner = float("inf"), True
        if owner:
            self._fill(future)
        return future.result()

    def _fill(self, future: Future[Value]) -> None:
        until = float("-inf")
        try:
            future.set_result(self._compute())
            until = self._monotonic() + self._seconds
        except BaseException as error:
            future.set_exception(error)
            raise
        finally:
            with self._lock:
                self._until = until
