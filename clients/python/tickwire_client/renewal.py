"""Renews the credential of an open connection before it expires, with the event `refresh`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout

from tickwire_client.credentials import Credentials, Payload
from tickwire_client.errors import ConnectionFailed, ConnectionLost
from tickwire_client.link import Link
from tickwire_client.messages import Body

_MIN_PAUSE_SECONDS, _PAUSES = 0.5, 10  # between attempts: a tenth of the remaining time
_ANSWER_SECONDS = 10.0
_AGAIN = {"too_many_requests", "unavailable"}  # codes of answers after which the same token is sent again


class Renewal:
    """Calls the function `auth`, in a thread, until the hub has accepted a new credential."""

    def __init__(self, credentials: Credentials, link: Link, failed: Callable[[ConnectionFailed], None]) -> None:
        """`failed` receives each failure of the function."""
        self._credentials, self._link, self._failed = credentials, link, failed

    def expiring(self, body: Body) -> None:
        """The hub has sent `credentials_expiring`."""
        if self._credentials.renewable:
            arguments = (float(body["in_seconds"]), self._link.connection, self._credentials.payload)
            threading.Thread(target=self._run, args=arguments, name="tickwire-credentials", daemon=True).start()

    def _run(self, seconds: float, connection: int, old: Payload | None) -> None:
        deadline, pause = time.monotonic() + seconds, max(_MIN_PAUSE_SECONDS, seconds / _PAUSES)
        while self._link.connection == connection:
            try:
                if self._attempt(old):
                    return
            except ConnectionFailed as error:
                self._failed(error)
            if time.monotonic() + pause > deadline or self._link.closes_within(pause):
                return

    def _attempt(self, old: Payload | None) -> bool:
        """Return whether no further attempt is needed."""
        payload = self._credentials.renew()
        if payload == old:
            return False  # the function still returns the old one
        if not payload or not payload.get("token"):
            self._link.reconnect()  # a key cannot be exchanged on an open connection
            return True
        try:
            answer = self._link.request("refresh", {"token": payload["token"]}).result(_ANSWER_SECONDS)
        except FutureTimeout:
            return False
        except ConnectionLost:
            return True  # the next connection calls the function itself
        return answer.get("code") not in _AGAIN
