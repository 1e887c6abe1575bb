"""Keeps the public keys of tokens up to date, never on the path of a request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from api.access.tokens.keys import JwksError, PublicKeys, parse_jwks
from config.pacing import Outage

log = logging.getLogger(__name__)

READ_SECONDS = 600.0  # between two reads
EARLY_SECONDS = 30.0  # between two reads if a token has an unknown key id, or the last read failed
POLL_SECONDS = 0.25


class JwksRefresh:
    """Reads a set with `fetch` into `keys`. One thread or greenlet calls `run`.

    `fetch` and a bad set raise `JwksError`: then the last good set stays in force. `source` is the
    file or URL, for the log.
    """

    def __init__(
        self,
        keys: PublicKeys,
        algorithms: Sequence[str],
        fetch: Callable[[], bytes],
        source: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._algorithms = algorithms
        self._fetch = fetch
        self._source = source
        self._monotonic = monotonic
        self._read_at = float("-inf")
        self._outage = Outage(
            log, "the public keys of tokens cannot be read: the last ones stay in force", monotonic=monotonic, source=source
        )

    def run(self, stop: threading.Event) -> None:
        """Read the keys at once, then when they are due, until `stop` is set."""
        while not stop.is_set():
            try:
                if self.due():
                    self.read()
            except Exception:
                log.exception("the public keys of tokens were not read")
            stop.wait(POLL_SECONDS)

    def due(self) -> bool:
        """Return True if it is time to read the keys."""
        early = self._keys.wanted or self._outage.lasts
        return self._monotonic() - self._read_at >= (EARLY_SECONDS if early else READ_SECONDS)

    def read(self) -> None:
        """Read the keys. A failure is in the log."""
        self._read_at = self._monotonic()
        self._keys.wanted = False
        try:
            found = parse_jwks(self._fetch(), self._algorithms)
        except JwksError as error:
            self._outage.failed(error)
            return
        self._outage.recovered()
        if self._keys.take(found):
            log.info("the public keys of tokens were read", extra={"source": self._source, "keys": len(found)})
