"""The interface between the books and a feed of live depth: `DepthSource` gives, `DepthSink` takes.

`jobs/feeds` imports nothing of `jobs/books`: a feed describes its sink by a Protocol of its own
with the same methods. The factory is `depth_source(settings, sink)` of
`jobs/feeds/binance/depth.py`; it does no I/O.

All methods of both sides may be called from any thread, and none of them waits. `received` is
`time.monotonic()` at the receipt of the message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from config.pacing import StopSignal
from jobs.feeds.status import Status


class DepthSink(Protocol):
    """The queue before the books. A full queue is emptied: no call fails.

    The messages of one instrument arrive in the order of its connection. Its first call is
    `connected`; the first diffs follow, and then an answer to the request of the books.
    """

    def connected(self, instruments: Sequence[str], received: float) -> None:
        """A new connection carries the diffs and tickers of these instruments from now on."""

    def disconnected(self, instruments: Sequence[str], received: float) -> None:
        """The connection of these instruments is lost; also at an orderly reconnect."""

    def diff(self, instrument: str, text: bytes, received: float) -> None:
        """A message of `@depth@100ms`, as received, parsed or not: the books read it."""

    def ticker(self, instrument: str, text: bytes, received: float) -> None:
        """A message of `@bookTicker`, as received."""

    def snapshot(self, instrument: str, number: int, text: bytes, limit: int, received: float) -> None:
        """The answer to request `number`: the body of `/depth`, with `limit` levels requested."""

    def snapshot_failed(self, instrument: str, number: int, retry_after: float | None, received: float) -> None:
        """Request `number` failed or was refused.

        `retry_after` is the wait in seconds that the server or the budget of weights demands; None:
        the books wait by their own back-off (0.5 s, doubling to 30 s).
        """


class DepthSource(Protocol):
    """A feed of live depth for all `BOOK_SYMBOLS`; `status` is its state, for health."""

    @property
    def status(self) -> Status: ...

    def loops(self) -> Mapping[str, Callable[[StopSignal], None]]:
        """Name of a thread -> its loop, which runs until the stop is set. The books start them."""

    def request_snapshot(self, instrument: str, number: int, is_refresh: bool) -> None:
        """Answer later by `snapshot` or `snapshot_failed` with this number: exactly one of them.

        A request with a newer number replaces the one before of the same instrument. A refresh
        (`is_refresh`) may be refused to save weight, a resync may not.
        """

    def connections(self) -> list[dict[str, Any]]:
        """The connections, for the part `books` of the process report; JSON values."""
