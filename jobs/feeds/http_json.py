"""JSON-over-HTTP client with timeouts, retries and Retry-After."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from config.pacing import Stopped
from jobs.feeds.base import SourceError, as_source_error, retry_delay

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
_TIMEOUT_SECONDS = 10.0


class JsonClient:
    """A client of one API. Threads may share it.

    `headers` go with every request. Headers and URLs are never logged: they may hold tokens and
    account numbers. `on_headers` is called with the headers of every answer.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        max_attempts: int = MAX_ATTEMPTS,
        on_headers: Callable[[Mapping[str, str]], None] = lambda headers: None,
    ) -> None:
        import httpx  # processes without such a source start without it

        self._client = httpx.Client(base_url=url, headers=dict(headers or {}), timeout=_TIMEOUT_SECONDS)
        self._max_attempts = max_attempts
        self._on_headers = on_headers

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def get(self, path: str, parameters: Mapping[str, str | int], stop: threading.Event) -> Any:
        """The decoded JSON of a GET. Transient failures are retried after back-off, or the
        requested pause.

        Raises `SourceError` after `max_attempts` or a fatal failure, `Stopped` if `stop` was set
        meanwhile.
        """
        import httpx

        attempt = 1
        while True:
            try:
                answer = self._client.get(path, params=dict(parameters))
                self._on_headers(answer.headers)
                answer.raise_for_status()
                return answer.json()
            except (httpx.HTTPError, ValueError) as error:
                failure = as_source_error(error)
            if failure.fatal or attempt >= self._max_attempts:
                raise failure
            self._pause(failure, attempt, stop)
            attempt += 1

    def _pause(self, failure: SourceError, attempt: int, stop: threading.Event) -> None:
        seconds = max(retry_delay(attempt, random.random()), failure.retry_after or 0.0)  # noqa: S311
        log.info("retries the request", extra={"reason": failure.explanation, "seconds": round(seconds, 2)})
        if stop.wait(seconds):
            raise Stopped
