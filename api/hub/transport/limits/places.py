"""The places of a server: connections per address, and the pool of sessions without a namespace.

Sessions that have joined no namespace are not clients yet. They have a pool of their own, so they
never take the place of a client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from api.access.peers import Peers
from api.hub.transport.host import Limits


class Placed(Protocol):
    """A session, or a plain socket: both may wait in the pool."""

    address: str

    def close(self, reason: str, *, code: int | None = 1000) -> None:
        """End it with this Close code."""


class TooMany(Exception):
    """An address holds as many places as it may have. `name` is that of the limit in details."""

    def __init__(self, message: str, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        super().__init__(message)


class Places:
    """Counts connections and sessions by address. `Peers.exempt` excepts addresses from limits."""

    def __init__(self, limits: Limits, peers: Peers) -> None:
        self.limits = limits
        self._peers = peers
        self._sessions: Counter[str] = Counter()  # address -> its sessions
        self._requesting: Counter[str] = Counter()  # peer -> its connections without a whole request
        self._unjoined: dict[str, dict[Placed, None]] = {}  # address -> its sessions in the pool, oldest first
        self._in_pool = 0
        self.note_refusal: Callable[[str], None] = lambda address: None  # called with the address

    @property
    def requesting(self) -> int:
        """The number of connections that have not sent a whole request head."""
        return self._requesting.total()

    # connections

    def begin_request(self, peer: str) -> None:
        """Count a connection that may send a request. Raises `TooMany`.

        Sessions of the address do not count here: their polls are such requests.
        """
        if not self._peers.exempt(peer) and not self._peers.is_proxy(peer):
            self._check(peer, self._requesting[peer])
        self._requesting[peer] += 1

    def end_request(self, peer: str) -> None:
        """Release a connection whose request is complete, or that has ended."""
        _less(self._requesting, peer)

    def _check(self, address: str, connections: int) -> None:
        limit = self.limits.max_connections_per_address
        if connections >= limit:
            self.note_refusal(address)
            raise TooMany(f"One address has at most {limit} connections.", "max_connections", limit)

    # sessions

    def check(self, address: str) -> None:
        """Raise `TooMany` if the address may not open a further session."""
        if self._peers.exempt(address):
            return
        limit = self.limits.max_unjoined_per_address
        if len(self._unjoined.get(address, ())) >= limit:
            raise TooMany(f"One address has at most {limit} sessions that have not joined a namespace.", "max_sessions", limit)
        self._check(address, self._sessions[address])

    def open(self, session: Placed) -> None:
        """Add a new session."""
        self._sessions[session.address] += 1
        self.enter_pool(session)

    def forget(self, session: Placed) -> None:
        """Release the places of a session that has ended."""
        self.leave_pool(session)
        _less(self._sessions, session.address)

    def enter_pool(self, session: Placed) -> None:
        """Add a session that holds no namespace."""
        self._unjoined.setdefault(session.address, {})[session] = None
        self._in_pool += 1

    def leave_pool(self, session: Placed) -> None:
        """Remove a session that has joined a namespace, or has ended; it may be absent."""
        held = self._unjoined.get(session.address, {})
        if session in held:
            del held[session]
            self._in_pool -= 1
            if not held:
                del self._unjoined[session.address]

    def surplus(self) -> Placed | None:
        """Return the session that a further one in the pool replaces; None if the pool has a place.

        It is the oldest of the address with most.
        """
        if self._in_pool < self.limits.max_unjoined:
            return None
        most = max(self._unjoined.values(), key=len)
        return next(iter(most))


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
