"""The clock of sessions keeps no session that has ended."""

from __future__ import annotations

import gc
from weakref import ref

from api.hub.transport.host import Limits
from api.hub.transport.limits.deadlines import Deadlines

LIMITS = Limits(ping_interval=25, ping_timeout=5, connect_seconds=10)


class Short:
    """The part of a session that has deadlines."""

    def __init__(self) -> None:
        self.join_due = self.ping_due = self.pong_due = 0.0
        self.closed = False
        self.pings = 0
        self.reason = ""

    def ping(self) -> None:
        self.pings += 1

    def close(self, reason: str) -> None:
        self.closed, self.reason = True, reason


def test_ended_session_is_forgotten_before_its_times_and_others_keep_theirs() -> None:
    now = [100.0]
    deadlines = Deadlines(lambda: now[0], LIMITS, lambda session, reason: None)
    ended, kept = Short(), Short()
    for session in (ended, kept):
        deadlines.add(session)  # type: ignore[arg-type]
    ended.closed = True
    deadlines.forget(ended)  # type: ignore[arg-type]
    gone = ref(ended)
    del session, ended
    gc.collect()
    assert gone() is None
    kept.join_due = 0.0  # it has joined a namespace
    now[0] += 25
    deadlines.tick()
    assert (kept.pings, kept.closed) == (1, False)
    now[0] += 5
    deadlines.tick()
    assert kept.reason == "ping timeout"


def test_session_without_a_namespace_is_closed_in_time() -> None:
    now = [100.0]
    deadlines = Deadlines(lambda: now[0], LIMITS, lambda session, reason: None)
    session = Short()
    deadlines.add(session)  # type: ignore[arg-type]
    now[0] += 9.9
    deadlines.tick()
    assert not session.closed
    now[0] += 0.1
    deadlines.tick()
    assert (session.reason, session.pings) == ("no namespace", 0)
