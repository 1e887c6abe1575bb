"""The times of all sessions: pings, pongs, joins and blocked sockets.

Pure: the clock is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from weakref import ref

from api.hub.transport.host import Limits
from api.hub.transport.limits.totals import NO_NAMESPACE
from api.hub.transport.session import Session

# Timers of two machines differ by this much: a pong that is late by less is in time.
_TOLERANCE_SECONDS = 0.003

# Delays are constant, so entries are in the order of their times. An entry keeps no session that
# has ended: many short ones would fill the memory until their times.
_Queue = deque[tuple[float, ref[Session]]]


class Deadlines:
    """One clock pings and expires all sessions.

    `defer` closes a session in the next round of the loop.
    """

    def __init__(self, now: Callable[[], float], limits: Limits, defer: Callable[[Session, str], None]) -> None:
        self._now = now
        self._limits = limits
        self._defer = defer
        self._pings: _Queue = deque()  # (time of the next ping, session)
        self._pongs: _Queue = deque()  # (latest time of the pong, session)
        self._joins: _Queue = deque()  # (latest time of the first namespace, session)
        self._blocked: dict[Session, float] = {}  # session -> time since which its socket takes no bytes

    def add(self, session: Session) -> None:
        """Begin to watch a new session."""
        self._schedule_ping(session)
        self.await_join(session)

    def await_join(self, session: Session) -> None:
        """Begin the time in which a session without a namespace joins one."""
        session.join_due = self._now() + self._limits.connect_seconds
        self._joins.append((session.join_due, ref(session)))

    def forget(self, session: Session) -> None:
        """Release a session that has ended; its queue entries expire by themselves."""
        self._blocked.pop(session, None)

    def tick(self) -> None:
        """Send due pings; close sessions without pong or namespace, or with a blocked socket."""
        now = self._now()
        for session in _due(self._pings, now):
            # Counted from the time at which the ping was due: a late tick does not prolong the
            # wait.
            session.pong_due = session.ping_due + self._limits.ping_timeout
            self._pongs.append((session.pong_due, ref(session)))
            session.ping()
        for session in _due(self._pongs, now):
            if self.is_overdue(session):
                session.close("ping timeout")
        for session in _due(self._joins, now):
            if session.join_due and now >= session.join_due:
                session.close(NO_NAMESPACE)
        for session, since in list(self._blocked.items()):
            if now - since > self._limits.blocked_seconds:
                self._defer(session, "slow consumer")

    def note_pong(self, session: Session) -> None:
        """Schedule the next ping, if a pong was due."""
        if session.pong_due:
            self._schedule_ping(session)

    def note_blocked(self, session: Session) -> None:
        """Begin to count, unless the socket is blocked already."""
        self._blocked.setdefault(session, self._now())

    def note_flowing(self, session: Session) -> None:
        """Stop counting: a slow reader is not a blocked socket."""
        self._blocked.pop(session, None)

    def is_overdue(self, session: Session) -> bool:
        """Return True if the pong is late, independent of the ticks of the clock."""
        latest = session.pong_due or session.ping_due + self._limits.ping_timeout
        return self._now() >= latest - _TOLERANCE_SECONDS

    def _schedule_ping(self, session: Session) -> None:
        session.pong_due, session.ping_due = 0.0, self._now() + self._limits.ping_interval
        self._pings.append((session.ping_due, ref(session)))


def _due(queue: _Queue, now: float) -> Iterable[Session]:
    """Remove the entries up to `now` from the queue; yield their sessions that are still open."""
    while queue and queue[0][0] <= now:
        session = queue.popleft()[1]()
        if session is not None and not session.closed:
            yield session
