"""Every state of a session on a real hub: its count in `server_stats`, and its end by itself."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.hub.transport.limits.states import BLOCKED, CLOSING, END, LEFT, POLLING, REQUESTING, STATES, UNJOINED, UPGRADING, WEBSOCKET
from config.settings import Settings
from db.bus import Bus
from db.messages import Tick
from tests.conformance.http_client import Server
from tests.conformance.polling_client import Polling
from tests.conformance.websocket_client import Refused, WebSocket
from tests.conftest import Servers, until
from tests.integration.test_engine_faults import TIME, joined, joined_by_polling, quiet, sessions
from tests.support.clients import PythonClient
from tests.support.hub_variants import variant
from tests.support.processes import Web

PATH = "/socket.io/"
WAIT = 60.0  # seconds that only a broken hub reaches
# Its pings are the slowest of the times: a state ends by its own deadline. The tests poll its
# statistics.
VARIABLES = {
    "AUTH_JOIN_SECONDS": "1.5",
    "OUTBOX_TIMEOUT": "1.5",
    "WEBSOCKET_PING_INTERVAL": "2",
    "WEBSOCKET_PING_TIMEOUT": "1",
    "RATE_EVENTS": "10000/s",
}


@pytest.fixture(scope="module")
def hub(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with variant("with_short_times", shared_settings, tmp_path_factory.mktemp("hub") / "hub.log", **VARIABLES) as process:
        yield process
        quiet(process)


@pytest.fixture
def server(hub: Web) -> Server:
    return Server("127.0.0.1", hub.port)


@pytest.fixture
def observer(hub: Web) -> Iterator[PythonClient]:
    until(lambda: sessions(hub) == 0, WAIT, "an empty hub")
    with PythonClient(hub.url) as client:
        yield client


def states(observer: PythonClient) -> dict[str, int]:
    counts: dict[str, int] = observer.stats()["sessions_by_state"]
    return counts


def others(observer: PythonClient) -> dict[str, int]:
    """Return the states that are not empty, without the observer."""
    counts = states(observer)
    counts[WEBSOCKET] -= 1
    return {name: count for name, count in counts.items() if count}


def tcp(server: Server, data: bytes = b"", window: int | None = None) -> socket.socket:
    sock = socket.socket()
    if window:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.settimeout(WAIT)
    sock.connect((server.host, server.port))
    sock.sendall(data)
    return sock


def hold_requesting(server: Server, stack: ExitStack) -> None:
    stack.enter_context(tcp(server, b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "))


def hold_unjoined(server: Server, stack: ExitStack) -> None:
    stack.enter_context(WebSocket(server, PATH))


def hold_left(server: Server, stack: ExitStack) -> None:
    stack.enter_context(joined(server)).send("41")


def hold_polling(server: Server, stack: ExitStack) -> None:
    joined_by_polling(server)


def hold_websocket(server: Server, stack: ExitStack) -> None:
    stack.enter_context(joined(server))


def hold_upgrading(server: Server, stack: ExitStack) -> None:
    polling = joined_by_polling(server)
    stack.enter_context(polling.upgrade())  # without a probe


def hold_closing(server: Server, stack: ExitStack) -> None:
    """The hub sends Close; the client neither answers it nor ends the connection."""
    stack.enter_context(joined(server)).send("7")


class Unread(WebSocket):
    """A client with a small window that reads nothing after its greeting."""

    def stop_reading(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


def hold_blocked(server: Server, stack: ExitStack) -> None:
    client = stack.enter_context(Unread(server, PATH))
    client.stop_reading()
    client.send("40", '42["subscribe",{"pairs":"EUR_USD"}]')


# state -> a client that enters and keeps it
HOLDERS: dict[str, Callable[[Server, ExitStack], None]] = {
    REQUESTING: hold_requesting,
    UNJOINED: hold_unjoined,
    LEFT: hold_left,
    POLLING: hold_polling,
    WEBSOCKET: hold_websocket,
    UPGRADING: hold_upgrading,
    CLOSING: hold_closing,
    BLOCKED: hold_blocked,
}


def flood_with_prices(bus: Bus) -> None:
    bus.publish_prices([Tick("EUR_USD", "1.1", "1.2", "1.15", TIME, "test")] * 5000)


@pytest.fixture(scope="module")
def seen(hub: Web, shared_settings: Settings, servers: Servers) -> list[dict[str, int]]:
    """Hold a client in each state at the same time; return the counts until all have ended."""
    server, history = Server("127.0.0.1", hub.port), []
    bus = Bus(str(shared_settings.redis_url), lambda: datetime.now(UTC))
    bus.set_instruments(servers.calendars)
    with PythonClient(hub.url) as observer, ExitStack() as stack:
        for hold in HOLDERS.values():
            hold(server, stack)

        def note() -> bool:
            history.append(others(observer))
            return not history[-1]

        def blocked() -> bool:
            flood_with_prices(bus)
            return note() or any(BLOCKED in counts for counts in history)

        until(blocked, WAIT, "a blocked socket")
        until(note, WAIT, "the end of all sessions")
    bus.close()
    return history


def test_table_has_each_state_once_and_leads_to_its_own_rows() -> None:
    names = [row.name for row in STATES]
    assert sorted(names) == sorted(HOLDERS)
    assert {name for row in STATES for name in row.leads_to} == {*names, END} - {REQUESTING}
    assert all(END in row.leads_to for row in STATES)


@pytest.mark.parametrize("state", [row.name for row in STATES])
def test_state_is_counted_and_ends_by_itself(state: str, seen: list[dict[str, int]]) -> None:
    assert any(counts.get(state) for counts in seen)
    assert seen[-1] == {}
    # The socket of an abandoned upgrade is a connection beside its session.
    assert max(sum(counts.values()) for counts in seen) <= len(HOLDERS) + 1


def test_sum_of_the_states_is_the_number_of_open_sessions(server: Server, observer: PythonClient, hub: Web) -> None:
    with ExitStack() as stack:
        for hold in (hold_unjoined, hold_left, hold_polling, hold_websocket, hold_upgrading):
            hold(server, stack)
        until(lambda: len(others(observer)) == 5, WAIT, "five states")
        assert sum(states(observer).values()) == sessions(hub) == 6


def test_request_that_does_not_arrive_is_answered_with_408(server: Server, observer: PythonClient) -> None:
    polling = Polling(server, PATH)
    request = b"GET /hub/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    post = f"POST {PATH}?EIO=4&transport=polling&sid={polling.sid} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n42"
    parts = [b"", b"GET /socket.io/", b"GET /hub/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", post.encode(), request + request[:10]]
    with ExitStack() as stack:
        slow = [stack.enter_context(tcp(server, part)) for part in parts]
        assert slow[-1].recv(4096).startswith(b"HTTP/1.1 200 ")  # its second request is late
        for sock in slow:
            head, _, body = sock.recv(4096).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408 ")
            assert orjson.loads(body)["error"]["code"] == "request_timeout"
            assert sock.recv(4096) == b""
    until(lambda: others(observer) == {}, WAIT, "the end of the session")


def test_head_has_one_deadline_for_all_its_bytes(server: Server) -> None:
    with tcp(server, b"GET /hub/health HTTP/1.1\r\nX-Slow: ") as sock:
        sock.settimeout(0.1)
        answer = b""

        def ended() -> bool:
            nonlocal answer
            try:
                sock.sendall(b"x")
                answer += sock.recv(4096)
            except TimeoutError:
                return False
            except OSError:
                return True
            return True

        until(ended, WAIT, "the end of the connection")
        assert answer.startswith(b"HTTP/1.1 408 ")


# places


def test_silent_sessions_take_no_place_of_a_client(shared_settings: Settings, tmp_path: Path) -> None:
    with Web("hub", shared_settings, tmp_path / "hub.log", WEBSOCKET_MAX_CLIENTS="5") as hub, ExitStack() as stack:
        server = Server("127.0.0.1", hub.port)
        first = stack.enter_context(WebSocket(server, PATH))
        for _ in range(2 * 5 + 100):
            stack.enter_context(WebSocket(server, PATH))
        assert first.closed() == 1013  # the oldest gives way
        joined_by_polling(server)
        with PythonClient(hub.url) as client:
            assert states(client)[UNJOINED] <= 105
        quiet(hub)


def test_address_behind_a_proxy_has_twenty_silent_sessions(shared_settings: Settings, tmp_path: Path) -> None:
    extra = {"AUTH": "off", "TRUSTED_PROXIES": "127.0.0.1", "RATE_CONNECTIONS_PER_IP": "22"}
    with Web("hub", shared_settings, tmp_path / "hub.log", **extra) as hub, ExitStack() as stack:
        server = Server("127.0.0.1", hub.port)
        some, other = {"X-Forwarded-For": "198.51.100.9, 192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
        silent = [stack.enter_context(WebSocket(server, PATH, headers=some)) for _ in range(20)]
        for refused in (_refusal(server, some), server.request("GET", f"{PATH}?EIO=4&transport=polling", headers=some)):
            assert (refused.status, int(refused.headers["retry-after"])) == (429, 10)
            assert refused.error[1:] == (3, "One address has at most 20 sessions that have not joined a namespace.")
        client = stack.enter_context(WebSocket(server, PATH, headers=other))
        client.send("40")
        assert str(client.packet()).startswith('40{"sid":')
        for each in silent[:2]:
            each.send("40")
            each.packets(2)
        for _ in range(2):
            stack.enter_context(WebSocket(server, PATH, headers=some))
        assert _refusal(server, some).error[2] == "One address has at most 20 sessions that have not joined a namespace."
        for each in silent[2:4]:
            each.send("40")
            each.packets(2)
        refused = _refusal(server, some)
        assert refused.error == (429, 3, "One address has at most 22 connections.")
        details = {"max_connections": 22, "retry_after": 10}
        assert json.loads(refused.body)["error"] == {"code": "too_many_requests", "message": refused.error[2], "details": details}
        quiet(hub)


def _refusal(server: Server, headers: dict[str, str]) -> Any:
    with pytest.raises(Refused) as refused:
        WebSocket(server, PATH, headers=headers)
    return refused.value.answer
