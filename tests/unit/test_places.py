"""Places of addresses, the pool of sessions without a namespace, and packets that cost nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from api.access.peers import Peers
from api.hub.transport.host import Limits
from api.hub.transport.limits.places import Places, TooMany
from api.hub.transport.outbox import gap_notice
from api.hub.transport.session import Session
from tests.unit.test_outbox import LIMIT, RecordingServer

LIMITS = Limits(ping_interval=25, ping_timeout=5, max_unjoined=4, max_unjoined_per_address=2, max_connections_per_address=3)
SOME, OTHER, THIRD = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def session(address: str) -> Session:
    return Session(RecordingServer(lambda: 0.0), "sid", LIMIT, gap_notice, address)


def opened(places: Places, address: str) -> Session:
    places.check(address)
    new = session(address)
    places.open(new)
    return new


def test_address_has_few_sessions_without_a_namespace() -> None:
    places = Places(LIMITS, Peers())
    first = opened(places, SOME)
    opened(places, SOME)
    with pytest.raises(TooMany, match="at most 2 sessions"):
        places.check(SOME)
    opened(places, OTHER)
    places.leave_pool(first)
    opened(places, SOME)


def test_address_has_few_connections() -> None:
    places = Places(LIMITS, Peers())
    held = []
    for _ in range(3):
        held.append(opened(places, SOME))
        places.leave_pool(held[-1])
    with pytest.raises(TooMany, match="at most 3 connections"):
        places.check(SOME)
    places.forget(held[0])
    opened(places, SOME)


def test_address_has_few_connections_without_a_whole_request() -> None:
    places = Places(LIMITS, Peers())
    for _ in range(3):
        places.leave_pool(opened(places, SOME))
    for _ in range(3):
        places.begin_request(SOME)  # the polls of its sessions
    with pytest.raises(TooMany, match="at most 3 connections"):
        places.begin_request(SOME)
    places.end_request(SOME)
    places.begin_request(SOME)


@pytest.mark.parametrize(("trusted", "limited"), [((), False), (("127.0.0.1",), True)])
def test_loopback_is_exempt_unless_a_proxy_is_trusted(trusted: tuple[str, ...], limited: bool) -> None:
    places = Places(LIMITS, Peers(trusted))
    for _ in range(2):
        opened(places, "127.0.0.1")
    if limited:
        with pytest.raises(TooMany):
            places.check("127.0.0.1")
    else:
        places.check("127.0.0.1")


def test_connections_of_a_trusted_proxy_are_not_limited() -> None:
    places = Places(LIMITS, Peers(("192.0.2.0/24",)))
    for _ in range(10):
        places.begin_request(SOME)
    assert places.requesting == 10


def test_full_pool_gives_up_the_oldest_session_of_the_address_with_most() -> None:
    places = Places(LIMITS, Peers())
    opened(places, OTHER)
    oldest = opened(places, SOME)
    newest = opened(places, SOME)
    assert places.surplus() is None
    opened(places, THIRD)
    assert places.surplus() is oldest
    places.forget(oldest)
    assert places.surplus() is None
    places.enter_pool(session(THIRD))
    places.forget(newest)
    assert places.surplus() is None


def test_pool_limit_exempts_nobody() -> None:
    places = Places(LIMITS, Peers())
    first = opened(places, "127.0.0.1")
    for _ in range(3):
        opened(places, "127.0.0.1")
    assert places.surplus() is first


Packets = Callable[[Session], None]
KINDS: dict[str, Packets] = {
    "websocket_ping": lambda it: it.pong(b""),
    "websocket_pong_or_fragment": lambda it: it.unanswered(),
    "noop": lambda it: it.receive(b"6"),
    "pong_without_a_ping": lambda it: it.receive(b"3"),
    "message": lambda it: it.receive(b"4x"),
    "binary": lambda it: it.message(b"x", binary=True),
    "payload": lambda it: it.receive_payload(b"6"),
    "late_upgrade": lambda it: it.receive(b"5"),
}


class Flooded(RecordingServer):
    """Counts the sessions that it would end."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.ended: list[Session] = []
        self.on("message", lambda sid, data: None)

    def end_flood(self, session: Session) -> None:
        self.ended.append(session)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_packet_takes_one_token(kind: str) -> None:
    now = [0.0]
    server = Flooded(lambda: now[0])
    it = Session(server, "sid", LIMIT, gap_notice)
    for _ in range(200):
        KINDS[kind](it)
    assert (it.bucket.paid, server.ended) == (True, [])
    KINDS[kind](it)
    assert not it.bucket.paid
    for _ in range(4 * 60):
        now[0] += 1 / 60
        KINDS[kind](it)
    assert server.ended


def test_answer_to_a_ping_is_free() -> None:
    server = Flooded(lambda: 0.0)
    it = Session(server, "sid", LIMIT, gap_notice)
    while it.bucket.take():
        pass
    it.bucket.paid = True
    it.pong_due = 5.0
    it.receive(b"3")
    assert (it.bucket.paid, it.pong_due) == (True, 0.0)
    it.receive(b"3")  # a second one answers nothing
    assert not it.bucket.paid
