"""The writers of this process that are behind; the roll-up and the gap scan yield to them."""

from __future__ import annotations

from collections.abc import Callable

from config.pacing import STOP_POLL_SECONDS, StopSignal


class WriterBacklog:
    """Which writers are behind. Any thread may call it.

    It has the writers of its own process only: those of another process postpone nothing here.
    """

    def __init__(self) -> None:
        self._behind: set[int] = set()  # id of a running writer; adding and discarding are atomic

    @property
    def behind(self) -> bool:
        """True if at least one writer is behind."""
        return bool(self._behind)

    def note(self, writer: object, behind: bool) -> None:
        """Note that a writer is behind, or that it is not. A writer that ends is not behind."""
        (self._behind.add if behind else self._behind.discard)(id(writer))

    def postpone(self, stop: StopSignal, until: float, monotonic: Callable[[], float]) -> None:
        """Wait while a writer is behind, at most until the time `until` of `monotonic`, or until
        `stop` is set.
        """
        while self.behind and not stop.is_set() and (left := until - monotonic()) > 0:
            stop.wait(min(STOP_POLL_SECONDS, left))
