"""The namespace `/metrics` of a link: joined on first use, then on each connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tickwire_client.credentials import Credentials
from tickwire_client.errors import ConnectionLost, Refused

METRICS = "/metrics"
_JOINED_AGAIN = {"too_many_requests", "server_full", "unavailable"}  # codes of refusals that end


class Space:
    """The state of the namespace on one connection at a time.

    The caller holds the lock of the link.

    `joined` is called in the reader's thread after each CONNECT, and `refused` with its refusal.
    """

    def __init__(self, credentials: Credentials, joined: Callable[[], None], refused: Callable[[Refused], None]) -> None:
        self._credentials, self._joined, self._refused = credentials, joined, refused
        self._wanted = False
        self._joining: Future[None] | None = None  # of this connection

    def attach(self, sio: Any, received: Callable[[str, Any], None]) -> None:
        """Prepare a new Socket.IO client: `received` is called with each event of the namespace."""
        sio.on("*", lambda event, *bodies: received(event, bodies[0] if bodies else None), namespace=METRICS)
        sio.on("connect", lambda: self._accepted(), namespace=METRICS)
        sio.on("connect_error", lambda *bodies: self._rejected(bodies[0] if bodies else None), namespace=METRICS)
        sio.on("disconnect", lambda *_: self.ended(), namespace=METRICS)

    def resume(self, sio: Any) -> None:
        """A new connection: join again, if the namespace was joined before."""
        if self._wanted:
            self.join(sio)

    def join(self, sio: Any) -> Future[None]:
        """Send CONNECT, unless that was done. The future raises `Refused` or `ConnectionLost`."""
        self._wanted = True
        if self._joining is None:
            self._joining = Future()
            payload = self._credentials.payload
            # python-socketio sends CONNECT for the namespaces of its start only.
            sio.eio.send(f"0{METRICS},{json.dumps(payload) if payload else ''}")
        return self._joining

    def ended(self) -> None:
        """The connection has ended, or the hub has sent DISCONNECT."""
        joining, self._joining = self._joining, None
        if joining is not None and not joining.done():
            joining.set_exception(ConnectionLost("not joined", sent=False))

    def _accepted(self) -> None:
        if self._joining is not None and not self._joining.done():
            self._joining.set_result(None)
        self._joined()

    def _rejected(self, given: Any) -> None:
        joining, self._joining = self._joining, None
        found = given if isinstance(given, dict) else {}
        body = found["data"] if isinstance(found.get("data"), dict) else {}
        code, message = body.get("code") or "forbidden", body.get("message") or found.get("message") or "The hub refused it."
        self._wanted = code in _JOINED_AGAIN
        error = Refused(code, f"cannot join {METRICS}: {message}", dict(body.get("details") or {}))
        if joining is not None and not joining.done():
            joining.set_exception(error)
        self._refused(error)
