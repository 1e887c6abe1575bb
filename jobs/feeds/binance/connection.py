"""One connection to combined streams of Binance: its messages in bulk, its silence, its renewal."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING

from config.pacing import STOP_POLL_SECONDS, StopSignal
from jobs.feeds.base import Silent, SourceError, as_source_error
from jobs.feeds.binance.messages import is_shutdown_notice

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

# Plus the messages that the last read brings beyond it. More would not fit into the processor's
# cache.
MAX_MESSAGES_PER_BATCH = 2000
CONNECTION_SECONDS = 23.5 * 3600  # the exchange ends a connection after 24 hours, at a time of its choice
# Reads: at the first number reading from the socket pauses, at the second it resumes.
_QUEUE_LIMITS = (4, 1)


class CombinedStreams:
    """Connections to the streams of one host, one at a time.

    `url` is the address of the host, and `path` that of the streams. A connection ends after
    `silence` seconds without a message, and after `lifetime` seconds. Messages have at most
    `max_message_bytes`.
    """

    def __init__(
        self,
        url: str,
        *,
        max_message_bytes: int,
        path: str = "/stream",
        silence: float = 30.0,
        lifetime: float = CONNECTION_SECONDS,
        ping_interval: float = 20.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{url.rstrip('/')}{path}"
        self._max_message_bytes = max_message_bytes
        self._silence = silence
        self._lifetime = lifetime
        self._ping_interval = ping_interval
        self._monotonic = monotonic

    def batches(
        self, streams: Iterable[str], end: StopSignal, connected: Callable[[], None] = lambda: None
    ) -> Generator[list[bytes], None, None]:
        """Connect, and yield the messages that arrive together until `end` is set.

        `connected` is called before the first message. Raises `SourceError` when the connection
        ends.
        """
        # Processes without such a source start without websockets.
        from websockets import WebSocketException
        from websockets.sync.client import connect

        from jobs.feeds.binance.bulk_websocket import BulkConnection

        try:
            with connect(
                f"{self._url}?streams={'/'.join(streams)}",
                compression=None,
                open_timeout=5,
                close_timeout=1,
                ping_interval=self._ping_interval,
                ping_timeout=20,
                max_size=self._max_message_bytes,
                max_queue=_QUEUE_LIMITS,
                create_connection=BulkConnection,
            ) as connection:
                connected()
                yield from self._received(connection, end)
        except (OSError, WebSocketException, Silent) as error:
            raise as_source_error(error) from error

    def _received(self, connection: ClientConnection, end: StopSignal) -> Generator[list[bytes], None, None]:
        began = self._monotonic()
        while (received := self._receive(connection, end)) is not None:
            yield received
            if self._monotonic() - began >= self._lifetime:
                raise SourceError("connection renewed before the exchange ends it", fatal=False)

    def _receive(self, connection: ClientConnection, end: StopSignal) -> list[bytes] | None:
        """Wait for a message; take all that are ready, up to a batch. None if `end` is set."""
        waits_since = self._monotonic()
        received: list[bytes] = []
        while not end.is_set():
            try:
                received += connection.recv(timeout=min(STOP_POLL_SECONDS, self._silence), decode=False).split(b"\n")
                while len(received) < MAX_MESSAGES_PER_BATCH:
                    received += connection.recv(timeout=0, decode=False).split(b"\n")
            except TimeoutError:
                pass
            if received:
                return received
            if self._monotonic() - waits_since >= self._silence:
                raise Silent(f"connected, but silent for {self._silence:g} s")
        return None


def check_shutdown(messages: Iterable[bytes]) -> None:
    """Raise `SourceError` if the exchange announces its shutdown in one of the messages."""
    if any(map(is_shutdown_notice, messages)):
        raise SourceError("the exchange announced its shutdown (serverShutdown)", fatal=False)
