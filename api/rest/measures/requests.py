"""Counts and durations of the requests of this process."""

from __future__ import annotations

from collections.abc import Iterable

from api.rest.request_log import UNMATCHED, RequestLog
from config.exposition import Collected
from config.metrics import REQUEST_BUCKETS
from db.measures import Counts, Many

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_OTHER = "other"  # a method is a text of the client


class RequestMetrics:
    """Counts each request when its last byte was handed to the server.

    `endpoints` are the route templates, whose histograms exist from the start.
    """

    def __init__(self, requests: RequestLog, endpoints: Iterable[str]) -> None:
        self._requests = requests
        self._durations = Many(REQUEST_BUCKETS, *((endpoint,) for endpoint in sorted({*endpoints, UNMATCHED})))
        self._counts = Counts()
        requests.finished.append(self._count)

    def _count(self, endpoint: str, method: str, status: int, seconds: float, _body_bytes: int) -> None:
        self._durations.observe(seconds, endpoint)
        self._counts.add(endpoint, method if method in _METHODS else _OTHER, str(status))

    def __call__(self, found: Collected) -> None:
        """Add the rows of requests."""
        self._requests.settle()
        found.add_many("api_request_duration_seconds", self._durations.items())
        found.add_counts("tickwire_api_requests_total", self._counts)
        found.add("tickwire_api_requests_in_progress", self._requests.in_progress)
