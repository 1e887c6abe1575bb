"""The drain of a hub: even slices, its early end, and the callers that may begin it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.audit import NoAudit
from api.access.model import OPERATE, Access, Handshake
from api.access.peers import Peers
from api.errors import Unauthorized
from api.hub.cluster.drain import FLUSH_SECONDS, POLL_SECONDS, Drain
from api.hub.cluster.request import DrainRequests
from config.access.patterns import Patterns
from config.access.scopes import SCOPES

Run = Callable[[], None]


class Clients:
    """Connections that the test opens; `flushed` decides whether one has taken its last bytes."""

    def __init__(self, count: int, now: Callable[[], float] = lambda: 0.0) -> None:
        self.left = [f"client-{number}" for number in range(count)]
        self.now = now
        self.warned: dict[str, tuple[float, float]] = {}  # client -> time, retry_after
        self.closed: dict[str, float] = {}  # client -> time
        self.flushed: Callable[[str], bool] = lambda client: True

    def open(self) -> list[str]:
        return list(self.left)

    def warn(self, connection: str, retry_after: float) -> None:
        assert connection not in self.warned
        self.warned[connection] = self.now(), retry_after

    def is_flushed(self, connection: str) -> bool:
        return self.flushed(connection)

    def close(self, connection: str) -> None:
        self.closed[connection] = self.now()
        if connection in self.left:
            self.left.remove(connection)


class Rig:
    """A drain on a clock that moves in its waits only; `at` has events of the test by time."""

    def __init__(self, count: int, *, delay: float, seconds: float) -> None:
        self.time = 0.0
        self.clients = Clients(count, lambda: self.time)
        self.last: list[float] = []
        self.at: dict[float, Callable[[], None]] = {}
        self.drain = Drain(
            self.clients,
            delay=delay,
            seconds=seconds,
            start=lambda run: run(),
            last=lambda: self.last.append(self.time),
            now=lambda: self.time,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        for moment in [each for each in self.at if each <= self.time]:
            self.at.pop(moment)()


@given(st.integers(1, 300), st.floats(0, 20), st.floats(0.05, 60))
def test_clients_leave_evenly_over_the_time_and_after_the_delay(count: int, delay: float, seconds: float) -> None:
    rig = Rig(count, delay=delay, seconds=seconds)
    rig.drain.begin()
    times = sorted(rig.clients.closed.values())
    assert len(times) == count
    end = delay + seconds + 3 * POLL_SECONDS
    assert times[-1] <= end
    for number, moment in enumerate(times, 1):
        if moment < delay + seconds:
            assert number <= count * (moment - delay) / seconds + 1e-6, "a client left too early"
    assert rig.last in ([], [times[-1]])


def test_a_hub_without_clients_ends_without_the_delay() -> None:
    rig = Rig(0, delay=5, seconds=10)
    rig.drain.begin()
    assert rig.time == 0


def test_drain_ends_early_when_the_last_client_has_left() -> None:
    rig = Rig(2, delay=5, seconds=10)
    rig.at[7.0] = rig.clients.left.clear
    rig.drain.begin()
    assert 7 <= rig.time <= 7 + 2 * POLL_SECONDS


def test_delay_ends_early_when_the_last_client_has_left() -> None:
    rig = Rig(2, delay=5, seconds=10)
    rig.at[1.0] = rig.clients.left.clear
    rig.drain.begin()
    assert rig.time <= 1 + 2 * POLL_SECONDS
    assert not rig.clients.warned


def test_clients_that_left_by_themselves_are_no_reason_to_hurry() -> None:
    rig = Rig(10, delay=0, seconds=10)
    rig.at[0.05] = lambda: rig.clients.left.__delitem__(slice(0, 5))
    rig.drain.begin()
    assert min(moment for moment, _ in rig.clients.warned.values()) >= 6


def test_without_seconds_all_clients_leave_at_once_and_return_spread() -> None:
    rig = Rig(200, delay=0, seconds=0)
    rig.drain.begin()
    assert set(rig.clients.closed.values()) == {0.0}
    after = sorted(seconds for _, seconds in rig.clients.warned.values())
    assert after[0] >= 1
    assert after[-1] <= 5
    assert after[-1] - after[0] > 2
    assert rig.last == [0.0]


def test_with_slices_retry_after_needs_no_spread() -> None:
    rig = Rig(20, delay=0, seconds=10)
    rig.drain.begin()
    assert {seconds for _, seconds in rig.clients.warned.values()} == {1.0}


def test_client_that_takes_no_bytes_is_closed_after_the_flush_time() -> None:
    rig = Rig(2, delay=0, seconds=0)
    rig.clients.flushed = lambda client: client == "client-0"
    rig.drain.begin()
    assert rig.clients.closed["client-0"] == 0
    assert FLUSH_SECONDS <= rig.clients.closed["client-1"] <= FLUSH_SECONDS + 2 * POLL_SECONDS


def test_drain_that_has_begun_can_be_hastened() -> None:
    rig = Rig(10, delay=5, seconds=60)
    rig.at[8.0] = rig.drain.hasten
    rig.drain.begin()
    assert rig.time <= 8 + 3 * POLL_SECONDS
    assert len(rig.clients.closed) == 10


def test_second_begin_changes_nothing() -> None:
    rig = Rig(3, delay=0, seconds=1)
    rig.drain.begin()
    rig.drain.begin()
    rig.drain.finish()
    assert len(rig.clients.warned) == 3


# requests


class Rights:
    """An authenticator whose caller has these scopes; without any, credentials are missing."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = frozenset(scopes)

    def authenticate(self, handshake: Handshake) -> Access:
        if not self.scopes:
            raise Unauthorized("", sent=False)
        return Access(scopes=self.scopes, patterns=Patterns(("*",)))


def status(environ: Mapping[str, Any], *scopes: str) -> int:
    rig = Rig(0, delay=0, seconds=0)
    requests = DrainRequests(rig.drain, Rights(*scopes), Peers(), NoAudit(), lambda: 7)
    body, code, _ = requests.answer(environ)
    assert rig.drain.begun is (code == 202)
    if code == 202:
        assert body == {"draining": True, "clients": 7}
    return code


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_program_on_this_machine_may_drain_without_a_credential(address: str) -> None:
    assert status({"REMOTE_ADDR": address}) == 202


@pytest.mark.parametrize("header", ["X_FORWARDED_FOR", "X_FORWARDED_PROTO", "X_FORWARDED_HOST", "X_REAL_IP", "FORWARDED", "VIA"])
def test_forwarded_request_needs_the_scope(header: str) -> None:
    environ = {"REMOTE_ADDR": "127.0.0.1", f"HTTP_{header}": "192.0.2.7"}
    assert status(environ) == 401
    assert status(environ, *(set(SCOPES) - {OPERATE})) == 403
    assert status(environ, OPERATE) == 202


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "", "unix:"])
def test_other_machine_needs_the_scope(address: str) -> None:
    assert status({"REMOTE_ADDR": address}) == 401
    assert status({"REMOTE_ADDR": address}, OPERATE) == 202


@pytest.mark.parametrize("origin", ["http://127.0.0.1:5000", "http://evil.example", "null", ""])
def test_web_page_may_not_drain(origin: str) -> None:
    assert status({"REMOTE_ADDR": "127.0.0.1", "HTTP_ORIGIN": origin}, *SCOPES) == 403
