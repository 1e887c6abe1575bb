"""The interval in which broadcasts are collected. Pure."""

from __future__ import annotations

from collections.abc import Callable


class FlushInterval:
    """Calls a function at the end of an interval, or at once if it is 0 s long.

    `waits` is true if there is something to send; `sent` is called after the end of an interval.
    """

    def __init__(self, seconds: float, call_later: Callable[[float, Callable[[], None]], None], waits: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._call_later = call_later
        self._waits = waits
        self._send: Callable[[], None] | None = None  # set while the timer runs
        self.sent: Callable[[], None] = lambda: None

    def send(self, send: Callable[[], None]) -> None:
        """Call `send` now, or once at the end of the interval that its first call begins."""
        if not self._seconds:
            send()
        elif self._send is None and self._waits():
            self._send = send
            self._call_later(self._seconds, self._end)

    def _end(self) -> None:
        send, self._send = self._send, None
        if send is not None:
            send()
            self.sent()
