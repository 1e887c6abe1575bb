"""The lines of an endless HTTP answer, with an immediate end of the connection on request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from jobs.feeds.base import Silent, SourceError, as_source_error

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 5.0
_STOP_POLL_SECONDS = 0.2  # between two checks of `stop` while a read blocks
_LONGEST_LINE = 1 << 20  # bytes


def lines(
    url: str, *, headers: Mapping[str, str], parameters: Mapping[str, str], silence: float, stop: threading.Event
) -> Generator[bytes, None, None]:
    """Each line of a GET's answer, on arrival and without its line feed, until `stop` is set.

    An incomplete last line is dropped. Raises `SourceError` if no bytes arrive for `silence`
    seconds, the server refuses, or the answer ends. Neither the error nor a cause of it contains
    URL or headers.
    """
    import httpx  # processes without such a source start without it

    if stop.is_set():
        return
    limits = httpx.Timeout(silence, connect=_CONNECT_SECONDS)
    # With compression, lines would arrive only when the compressor has enough of them.
    asked = {"Accept-Encoding": "identity", **headers}
    try:
        with (
            httpx.Client(timeout=limits) as client,
            StopCloser(stop) as closer,
            client.stream("GET", url, params=dict(parameters), headers=asked, extensions={"trace": closer.trace}) as answer,
        ):
            _check(answer)
            for line in _split(answer.iter_bytes()):
                if stop.is_set():
                    return
                yield line
        failure = SourceError("the server closed the stream", fatal=False)
    except httpx.ReadTimeout:
        failure = as_source_error(Silent(f"silent for {silence:g} s"))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        failure = as_source_error(error)
    if not stop.is_set():
        raise failure


class StopCloser:
    """Within its `with` block, closes the connection as soon as `stop` is set.

    A blocking read cannot check `stop`, and httpx cannot continue reading after a short timeout.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._over = threading.Event()
        self._socket: socket.socket | None = None
        # It ends with the `with` block, as the connection does.
        self._thread = threading.Thread(target=self._watch, name="stop-closer", daemon=True)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note the socket of a connection; the extension `trace` of an httpx request."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_STOP_POLL_SECONDS):
            if self._stop.is_set() and self._socket is not None:
                with suppress(OSError):
                    # The shutdown of an SSLSocket would take the TLS state from under the read.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _check(answer: httpx.Response) -> None:
    import httpx

    if not answer.is_success:
        # A refusal without its body is still a refusal.
        with suppress(httpx.HTTPError):
            answer.read()
        answer.raise_for_status()


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > _LONGEST_LINE:
            raise SourceError("a line without an end", fatal=False)
