"""Access control of one process: its authenticator, its table of keys, and its loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal

from api.access.audit import AuditCounts
from api.access.authenticator import CallerAuthenticator, TokenVerifier
from api.access.model import anonymous
from api.access.table import Tables
from api.refresh.audit import AuditWriter
from api.refresh.table import SignalBus, TableRefresh
from api.refresh.tokens import Tokens, make_tokens
from config.access.modes import OFF, REQUIRED, is_loopback
from config.access.patterns import compile_patterns
from config.pacing import Throttle
from config.settings import Settings
from db.postgres import Store, StoreError

log = logging.getLogger(__name__)

OPEN_WARNING_SECONDS = 60.0
TableState = Literal["current", "stale", "unread"]


class AccessControl:
    """The parts of access control in one process. One thread or greenlet calls `run`.

    `actor` is `hub` or `rest`. `lock` guards counts if several threads serve requests.
    """

    def __init__(
        self,
        settings: Settings,
        bus: SignalBus,
        store: Store,
        clock: Callable[[], datetime],
        actor: Literal["hub", "rest"],
        *,
        verifier: TokenVerifier | None = None,
        lock: AbstractContextManager[Any] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mode = settings.auth_mode
        self.tables = Tables()
        self.audit = AuditCounts(actor, clock, lock)
        self.anonymous = anonymous(frozenset(settings.anonymous_scopes), compile_patterns(settings.anonymous_instruments))
        tokens = make_tokens(settings, clock, lock) if verifier is None and self.mode != OFF else Tokens(verifier, None)
        self.token_keys = tokens.refresh  # its `run` is a loop of its own; None without public keys
        self.authenticator = CallerAuthenticator(self.mode, self.anonymous, self.tables, clock, self.audit, tokens.verifier)
        # One connection of its own: no request waits for it, or finds it broken.
        self._store = own = store.with_limits(pool_max=1, timeout_ms=settings.db_timeout_ms)
        self._writer = AuditWriter(self.audit, own, monotonic=monotonic)
        self._refresh = TableRefresh(bus, own, self.tables, each_round=self._round, monotonic=monotonic)
        self._host = settings.websocket_host if actor == "hub" else settings.api_host
        self._proxies = settings.trusted_proxies
        self._open = Throttle(OPEN_WARNING_SECONDS, monotonic=monotonic)
        self._ended = threading.Event()

    @property
    def table_state(self) -> TableState:
        """`unread` before the first read of the keys, `stale` while they cannot be read."""
        if self.tables.table is None:
            return "unread"
        return "stale" if self.tables.stale else "current"

    @property
    def table_age(self) -> float | None:
        """Seconds since both tables were read; None before the first read."""
        return self._refresh.age

    def begin(self) -> None:
        """Warn about dangerous settings, and read the keys once if the store answers."""
        if self.mode == REQUIRED and not is_loopback(self._host) and not self._proxies:
            log.warning(
                "credentials are sent without TLS: put a proxy with TLS in front and set TRUSTED_PROXIES", extra={"host": self._host}
            )
        try:
            self._refresh.read()
        except StoreError:
            return  # the loop tries again

    def run(self, stop: threading.Event) -> None:
        """Take changes of keys and write the log of access until `stop` is set."""
        self._refresh.run(stop)
        self._writer.flush(final=True)
        self._ended.set()

    def wait_for_end(self, seconds: float) -> None:
        """Wait after a stop until `run` has written the last refusals, if there are any."""
        if self._writer.has_events:
            self._ended.wait(seconds)

    def _round(self) -> None:
        if self.mode == OFF and not is_loopback(self._host) and self._open.due("open") is not None:
            log.warning("AUTH=off: everyone who reaches this address has the anonymous rights", extra={"host": self._host})
        self._writer.flush()
        # A server that hangs is noticed while connecting, which has a limit of time in libpq. The
        # wait for an answer on an open connection has none.
        self._store.close()
