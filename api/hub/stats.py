"""The part of `server_stats` that is not about clients: bus, outboxes, memory, market sessions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import psutil

from api.hub.transport import send_many
from api.hub.transport.engineio_server import EngineServer
from db.sessions import MarketSession


class RelayState(Protocol):
    """The figures of the relay that statistics need."""

    loaded: bool  # clients can be served
    skipped: Counter[str]
    last_message: float | None

    @property
    def connected(self) -> bool:
        """True if the messages of the bus arrive."""

    @property
    def relayed(self) -> int:
        """The number of messages relayed."""


class Stats:
    """Reads the figures of the process at each call. `clock` gives aware UTC."""

    def __init__(
        self,
        relay: RelayState,
        engine: EngineServer,
        sessions: Sequence[MarketSession],
        clock: Callable[[], datetime],
        flush_interval_ms: int,
    ) -> None:
        self._relay = relay
        self._engine = engine
        self._sessions = sessions
        self._clock = clock
        self._flush_interval_ms = flush_interval_ms
        self._started = time.monotonic()
        self._process = psutil.Process()

    def __call__(self) -> dict[str, Any]:
        """Return the fields of `server_stats`, from `messages_relayed` to `open_sessions`."""
        now = time.monotonic()
        last = self._relay.last_message
        moment = self._clock()
        return {
            "messages_relayed": self._relay.relayed,
            "messages_skipped": dict(self._relay.skipped),
            "messages_conflated": self._engine.conflated(),
            "slow_clients": self._engine.slow_clients,
            "flooding_clients": self._engine.floods.total,
            "sessions_by_state": self._engine.sessions_by_state(),
            "outbox_bytes": self._engine.waiting_bytes(),
            "uptime_seconds": round(now - self._started, 3),
            "memory_usage_mb": round(self._process.memory_info().rss / 2**20, 1),
            "redis_connected": self._relay.connected,
            "last_message_age_seconds": None if last is None else round(now - last, 3),
            "fanout_loop": send_many.KIND,
            "flush_interval_ms": self._flush_interval_ms,
            "open_sessions": [session.name for session in self._sessions if session.is_open(moment)],
        }
