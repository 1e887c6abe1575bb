"""Delay of a stream, from the exchange's event times. Pure.

The clocks of both sides differ by an unknown constant. The delay is therefore the growth of
`receipt - event time` above its smallest value on the same connection.
"""

from __future__ import annotations


class EventTimes:
    """The smallest offset of one connection, in seconds."""

    def __init__(self) -> None:
        self._smallest: float | None = None
        self._last: tuple[float, float] | None = None  # (receipt, event time)

    def reset(self) -> None:
        """Begin anew: a new connection, or another recording."""
        self._smallest = self._last = None

    def delay(self, received: float, event_ms: int) -> float:
        """Seconds by which the message is later than the fastest one of this connection.

        A delayed stream still has rising event times. If they fall, the exchange's clock was set
        back, and the smallest offset moves with it: the delay is unchanged.
        """
        event = event_ms / 1000
        offset = received - event
        if self._smallest is not None and self._last is not None and event < self._last[1]:
            self._smallest += offset - (self._last[0] - self._last[1])
        self._last = received, event
        if self._smallest is None or offset < self._smallest:
            self._smallest = offset
        return offset - self._smallest
