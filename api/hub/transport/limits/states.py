"""The states of a session, in one table: deadline, following states, and the count of each.

    connection ─► requesting ─► unjoined ─► polling ◄─► upgrading ─► websocket ◄─► blocked
                                   ▲            │                        │
                                   └─── left ◄──┴────────────────────────┘    all ─► closing ─► end

A row with `holds` is a state of a session with an id. The first row whose `holds` is true is its
state. The two other rows are connections: before a session, and after its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from api.hub.transport.host import Limits
from api.hub.transport.session import Session

REQUESTING, UNJOINED, LEFT, POLLING, UPGRADING = "requesting", "unjoined", "left", "polling", "upgrading"
WEBSOCKET, BLOCKED, CLOSING, END = "websocket", "blocked", "closing", "end"


@dataclass(frozen=True, slots=True)
class State:
    """One row. `seconds` returns the time after which the hub itself ends the state."""

    name: str
    about: str
    seconds: Callable[[Limits], float]
    leads_to: tuple[str, ...]
    holds: Callable[[Session], bool] | None = None


def _pong_seconds(limits: Limits) -> float:
    """Each answer to a ping begins the time anew."""
    return limits.ping_interval + limits.ping_timeout


STATES = (
    State(
        REQUESTING,
        "a connection whose request head is not complete",
        lambda limits: limits.request_seconds,
        (UNJOINED, CLOSING, END),
    ),
    State(
        UPGRADING,
        "polling, with a WebSocket that may replace it",
        lambda limits: limits.upgrade_seconds,
        (UNJOINED, LEFT, POLLING, WEBSOCKET, BLOCKED, CLOSING, END),
        lambda session: session.upgrading is not None,
    ),
    State(
        UNJOINED,
        "no namespace joined",
        lambda limits: limits.connect_seconds,
        (UPGRADING, POLLING, WEBSOCKET, BLOCKED, CLOSING, END),
        lambda session: bool(session.join_due) and not session.joined,
    ),
    State(
        LEFT,
        "every joined namespace left",
        lambda limits: limits.connect_seconds,
        (UPGRADING, POLLING, WEBSOCKET, BLOCKED, CLOSING, END),
        lambda session: bool(session.join_due),
    ),
    State(
        POLLING,
        "a client over long-polling",
        _pong_seconds,
        (UPGRADING, LEFT, CLOSING, END),
        lambda session: session.socket is None,
    ),
    State(
        BLOCKED,
        "a client whose WebSocket takes no bytes",
        lambda limits: limits.blocked_seconds,
        (WEBSOCKET, LEFT, END),
        lambda session: session.outbox.stalled,
    ),
    State(
        WEBSOCKET,
        "a client over WebSocket",
        _pong_seconds,
        (BLOCKED, LEFT, CLOSING, END),
        lambda session: True,
    ),
    State(
        CLOSING,
        "ended, until the client has closed too or has received its last packets",
        lambda limits: limits.linger_seconds,
        (END,),
    ),
)
_OF_SESSIONS = [(row.name, row.holds) for row in STATES if row.holds]


def state_of(session: Session) -> str:
    """Return the name of the state of an open session."""
    for name, holds in _OF_SESSIONS:
        if holds(session):
            return name
    raise AssertionError(session)  # the last row holds for every session


def count_states(sessions: Iterable[Session], requesting: int, closing: int) -> dict[str, int]:
    """Return the number of connections and sessions per state."""
    counts = {row.name: 0 for row in STATES}
    for session in sessions:
        # The usual state first: the rows above it take most of the time of a walk.
        if session.socket is not None and session.upgrading is None and not session.join_due and not session.outbox.stalled:
            counts[WEBSOCKET] += 1
        else:
            counts[state_of(session)] += 1
    counts[REQUESTING] += requesting
    counts[CLOSING] += closing
    return counts
