"""`GET /api/metrics/current` before Flask: the answer is ready, and Flask costs ten times as much.

Only plain requests take this way. Every other one passes the application, whose checks are the
same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from api.access.hosts import Hosts, Origins
from api.access.model import Access
from api.access.peers import Peers
from api.rest.access import handshake_of
from api.rest.limits.requests import ADMISSION, RequestLimits
from api.rest.observability.exact import JSON
from api.rest.observability.snapshot import NewestSnapshot
from api.rest.request_log import describe

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

PATH = "/api/metrics/current"


class CurrentMetrics:
    """A WSGI application that answers plain requests, and passes on all others to `others`.

    A plain request has no query and no Origin, its caller has the `scope`, and this process has
    just read the newest snapshot. If its caller is refused, the decision goes with the request, so
    that no credential is checked twice. `headers` are those of every answer.
    """

    def __init__(
        self,
        others: Application,
        snapshots: NewestSnapshot,
        limits: RequestLimits,
        scope: str,
        peers: Peers,
        hosts: Hosts,
        origins: Origins,
        clock: Callable[[], datetime],
        headers: Iterable[tuple[str, str]],
    ) -> None:
        self._others = others
        self._snapshots = snapshots
        self._limits = limits
        self._scope = scope
        self._peers = peers
        self._hosts = hosts
        self._clock = clock
        self._headers = [("Content-Type", JSON), *headers, *([] if origins.everyone else [("Vary", "Origin")])]

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or not self._is_plain(environ) or (seen := self._snapshots.kept()) is None:
            return self._others(environ, start_response)
        admission = self._limits.admit(handshake_of(environ, self._peers))
        if not isinstance(admission.decision, Access) or not admission.decision.allows(self._scope):
            environ[ADMISSION] = admission
            return self._others(environ, start_response)
        describe(environ, PATH, admission.decision.key_id)
        body = seen.body(self._clock())
        start_response("200 OK", [*self._headers, ("Content-Length", str(len(body))), *admission.headers()])
        return [body]

    def _is_plain(self, environ: Environ) -> bool:
        return (
            environ["REQUEST_METHOD"] == "GET"
            and not environ.get("QUERY_STRING")
            and "HTTP_ORIGIN" not in environ
            and self._hosts.allow(environ.get("HTTP_HOST"), lambda: environ.get("SERVER_NAME", ""))
        )
