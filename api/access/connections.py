"""The connections of each caller to one hub, beside those to other hubs. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from api.access.audit import Audit, NoAudit
from api.access.limits import RATE_CONNECTIONS, RATE_CONNECTIONS_PER_IP, limited_caller
from api.access.model import Access, Authenticator, Handshake
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal

LEASE_SECONDS = 30.0  # life of a lease that is not renewed
RENEWAL_SECONDS = 10.0
_ADDRESS = "ip:"  # begins the name of a caller without a credential


@dataclass(slots=True)
class LeaseChange:
    """The changes of one caller's leases.

    `keep` and `add` are sessions of this hub. Those of `add` need a place among `limit`, those of
    `keep` have one.
    """

    caller: str
    limit: int
    keep: tuple[str, ...]
    add: tuple[str, ...]
    remove: tuple[str, ...]


class _Held:
    """The connections of one caller."""

    __slots__ = ("access", "added", "elsewhere", "limit", "removed", "sessions")

    def __init__(self, access: Access) -> None:
        self.access = access  # of its latest connection
        self.limit = 0
        self.sessions: dict[str, int] = {}  # session -> its clients, one for each namespace
        self.added: dict[str, None] = {}  # sessions without a lease
        self.removed: dict[str, None] = {}  # ended sessions that have a lease
        self.elsewhere: tuple[float, ...] = ()  # times at which the leases of other hubs expire, the next one first

    def count_elsewhere(self, now: Callable[[], float]) -> int:
        """Return the number of leases that other hubs hold."""
        return len(self.elsewhere) - bisect_right(self.elsewhere, now()) if self.elsewhere else 0


class ConnectionCounts:
    """Counts the connections of each caller, and keeps the last known leases of other hubs.

    A caller is a key, a subject, or an address of callers without a credential. Addresses have no
    leases: each hub counts them for itself. `default` is the limit of callers without their own.
    `per_address` is the limit of an address that `Places` excepts, for sessions with a credential.
    `now` is a monotonic clock in seconds, `retry_after()` the time after which a refused client may
    try again.
    """

    def __init__(
        self,
        default: int,
        per_address: int,
        now: Callable[[], float],
        peers: Peers | None = None,
        audit: Audit | None = None,
        retry_after: Callable[[], float] = lambda: 10.0,
    ) -> None:
        self._default = default
        self._per_address = per_address
        self._now = now
        self._peers = peers or Peers()
        self._audit = audit or NoAudit()
        self._retry_after = retry_after
        self._held: dict[str, _Held] = {}  # caller -> its connections
        self._addresses: Counter[str] = Counter()  # excepted address -> its sessions with a credential
        self._clients: dict[str, tuple[str, str, str]] = {}  # client -> (caller, session, address)
        self._changed: dict[str, None] = {}  # callers whose leases the loop must write or read
        self.on_change: Callable[[], None] = lambda: None  # called when there is such a caller

    # sessions

    def check(self, access: Access, address: str) -> None:
        """Raise `Refusal` (`too_many_requests`) if the caller may not open a further connection."""
        caller = limited_caller(access, address, self._peers)
        if caller is not None:
            self._check(caller, access, address)

    def _check(self, caller: str, access: Access, address: str) -> None:
        if self._addresses[address] >= self._per_address:
            raise self._refused(access, address, RATE_CONNECTIONS_PER_IP, self._per_address)
        held, limit = self._held.get(caller), self._limit(access)
        if held is None or len(held.sessions) + held.count_elsewhere(self._now) < limit:
            return
        if held.elsewhere:
            self._mark_changed(caller)  # places of other hubs may be free by now
        raise self._refused(access, address, RATE_CONNECTIONS, limit)

    def _refused(self, access: Access, address: str, name: str, limit: int) -> Refusal:
        self._audit.limited(access, address, name)
        return self.refusal(limit)

    def refusal(self, limit: int) -> Refusal:
        """Return the refusal of a connection above the limit of its caller."""
        details = {"max_connections": limit, "retry_after": self._retry_after()}
        return Refusal(ErrorCode.TOO_MANY_REQUESTS, f"More than {limit} connections.", details)

    def open(self, client: str, session: str, access: Access, address: str) -> None:
        """Count a client of a session: a CONNECT of a namespace.

        A session has one place. Raises `Refusal`, as `check` does, for a new session.
        """
        caller = limited_caller(access, address, self._peers)
        if caller is None:
            return
        held = self._held.get(caller)
        if held is None or session not in held.sessions:
            self._check(caller, access, address)
            if held is None:
                held = self._held[caller] = _Held(access)
            held.added[session] = None
            self._mark_changed(caller)
            if self._peers.exempt(address):
                self._addresses[address] += 1
        held.access, held.limit = access, self._limit(access)
        held.sessions[session] = held.sessions.get(session, 0) + 1
        self._clients[client] = caller, session, address

    def close(self, client: str) -> None:
        """Release the place of the session with its last client. The client may be unknown."""
        if client not in self._clients:
            return
        caller, session, address = self._clients.pop(client)
        held = self._held[caller]
        held.sessions[session] -= 1
        if held.sessions[session]:
            return
        del held.sessions[session]
        if self._addresses[address] > 1:
            self._addresses[address] -= 1
        else:
            del self._addresses[address]
        if session in held.added:
            del held.added[session]
        else:
            held.removed[session] = None
        self._mark_changed(caller)
        if caller.startswith(_ADDRESS) and not held.sessions:
            del self._held[caller]

    def count(self, caller: str) -> int:
        """Return the number of sessions of a caller on this hub."""
        held = self._held.get(caller)
        return len(held.sessions) if held else 0

    def _limit(self, access: Access) -> int:
        own = access.limits.connections
        return self._default if own is None else own

    # leases

    def surplus(self, change: LeaseChange, session: str) -> Refusal:
        """Return the refusal of a session that found no place among those of all hubs."""
        held = self._held.get(change.caller)
        address = next((address for _, each, address in self._clients.values() if each == session), "")
        self._audit.limited(held.access if held else None, address, RATE_CONNECTIONS)
        return self.refusal(change.limit)

    def _mark_changed(self, caller: str) -> None:
        self._changed[caller] = None
        self.on_change()

    def take_changes(self, *, renew: bool) -> list[LeaseChange]:
        """Remove and return the changes since the last call; with `renew`, the leases of all."""
        if renew:
            for caller in [caller for caller, held in self._held.items() if not (held.sessions or held.removed)]:
                del self._held[caller]
        callers, self._changed = (self._held if renew else self._changed), {}
        changes = []
        for caller in callers:
            held = self._held.get(caller)
            if held is None or caller.startswith(_ADDRESS):
                continue
            keep = tuple(session for session in held.sessions if session not in held.added) if renew else ()
            changes.append(LeaseChange(caller, held.limit, keep, tuple(held.added), tuple(held.removed)))
            held.added, held.removed = {}, {}
        return changes

    def note(self, change: LeaseChange, elsewhere: Iterable[float]) -> None:
        """Note the leases of other hubs: `elsewhere` has the times at which they expire."""
        if held := self._held.get(change.caller):
            held.elsewhere = tuple(sorted(elsewhere))

    def note_failure(self) -> None:
        """Forget the leases of other hubs, which cannot be read: this hub counts its own."""
        for held in self._held.values():
            held.elsewhere = ()


class LimitedHandshakes:
    """The `Authenticator` of handshakes: refuses a caller that holds all of its connections."""

    def __init__(self, inner: Authenticator, connections: ConnectionCounts) -> None:
        self._inner = inner
        self._connections = connections

    def authenticate(self, handshake: Handshake) -> Access:
        """Return the rights of the client. Raises `Refusal`, also `too_many_requests`."""
        access = self._inner.authenticate(handshake)
        self._connections.check(access, handshake.address)
        return access
