"""More clients than file descriptors: the hub goes on and serves those that come afterwards."""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from config.settings import Settings
from db.bus import Bus
from tests.conformance.http_client import Server
from tests.conformance.websocket_client import Closed, Refused, WebSocket
from tests.conftest import until
from tests.support.answers import get
from tests.support.clients import PythonClient
from tests.support.processes import Web

CLIENTS, NEW_CLIENTS = 400, 20
HARD = 192  # descriptors: with half of 192 for clients, 24 of Socket.IO fit beside those of both plain routes
HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_LOST = (Closed, Refused, OSError)


def limited(name: str, settings: Settings, log: Path, soft: int, hard: int) -> Web:
    """Return one of the gunicorn processes with these limits of descriptors."""
    web = Web(name, settings, log)
    web.argv = ["prlimit", f"--nofile={soft}:{hard}", *web.argv]
    return web


def worker(web: Web) -> psutil.Process:
    """Return the worker of a gunicorn process."""
    return next(iter(psutil.Process(web.pid).children()))


def joined(web: Web) -> WebSocket:
    """Return a client that has joined the main namespace, or was refused. Raises one of `_LOST`."""
    client = WebSocket(Server("127.0.0.1", web.port), "/socket.io/")
    client.send("40")
    return client


def answer(client: WebSocket) -> str:
    """Return `40` if the client was let in, else the code of its refusal."""
    packet = str(client.packet())
    return "40" if packet.startswith("40") else str(json.loads(packet[2:])["data"]["code"])


@contextmanager
def silent_connections(port: int, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Hold connections that send these bytes only, and read nothing."""
    with ExitStack() as stack:
        held = [stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 10))) for _ in range(count)]
        for each in held:
            with suppress(OSError):
                each.sendall(sent)
        yield held


def crowd(web: Web, stack: ExitStack) -> list[str]:
    """Let many clients join at once; return their answers without those of lost connections."""
    clients, answers = [], []
    for _ in range(CLIENTS):
        try:
            clients.append(stack.enter_context(joined(web)))
            answers.append(answer(clients[-1]))
        except _LOST:
            continue
    return answers


def served(process: psutil.Process) -> list[Any]:
    """The connections of the process on the port on which it listens."""
    found = process.net_connections("tcp")
    ports = {each.laddr.port for each in found if each.status == psutil.CONN_LISTEN}
    return [each for each in found if each.laddr.port in ports]


def lowest_unused(process: psutil.Process) -> int:
    """Return the number that the kernel would give to the next descriptor of the process."""
    used = {int(number) for number in os.listdir(f"/proc/{process.pid}/fd")}
    return next(number for number in count() if number not in used)


@contextmanager
def few_descriptors(process: psutil.Process, free: int) -> Iterator[None]:
    """Let the process open `free` further descriptors during the block.

    It first waits until the process serves no connection, whose end would free more of them.
    """
    until(lambda: psutil.CONN_ESTABLISHED not in [each.status for each in served(process)], 20, "the end of all requests")
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    lowest = min(lowest_unused(process) for _ in range(50))  # the hub opens files for a moment
    process.rlimit(psutil.RLIMIT_NOFILE, (lowest + free, before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)


def assert_new_clients_are_served(web: Web) -> None:
    until(lambda: get(web.url, "/hub/health")[0] == 200, 30, "a healthy hub")
    with ExitStack() as stack:
        assert [answer(stack.enter_context(joined(web))) for _ in range(NEW_CLIENTS)] == ["40"] * NEW_CLIENTS


def warnings(web: Web) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in web.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["level"] not in ("INFO", "DEBUG")]


def test_soft_limit_is_raised_so_that_all_clients_fit(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    with limited("hub", settings, tmp_path / "log", 128, 20000) as hub:
        assert worker(hub).rlimit(psutil.RLIMIT_NOFILE) == (2 * (settings.websocket_max_clients + settings.ws_max_connections) + 200, 20000)
        with ExitStack() as stack:
            assert crowd(hub, stack) == ["40"] * CLIENTS
        assert_new_clients_are_served(hub)
        assert warnings(hub) == []


def test_hub_below_a_hard_limit_admits_the_clients_that_fit(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    with limited("hub", settings, tmp_path / "log", 128, HARD) as hub:
        [warning] = warnings(hub)
        needs = 2 * (settings.websocket_max_clients + settings.ws_max_connections) + 200
        assert (warning["has"], warning["needs"], warning["setting"]) == (HARD, needs, "WEBSOCKET_MAX_CLIENTS")
        fits = warning["admitted"]
        assert NEW_CLIENTS < fits < HARD
        with ExitStack() as stack:
            first = [answer(stack.enter_context(joined(hub))) for _ in range(fits + 1)]
            assert first == ["40"] * fits + ["server_full"]
            with silent_connections(hub.port, CLIENTS, HANDSHAKE):
                until(lambda: len(warnings(hub)) == 2, 20, "the warning")
        assert_new_clients_are_served(hub)
        assert "Traceback" not in hub.output()
        assert [line["message"][:25] for line in warnings(hub)[1:]] == ["no connection is accepted"]


def test_lack_of_descriptors_is_one_warning_and_clients_get_prices_afterwards(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    with Web("hub", settings, tmp_path / "log") as hub:
        process = worker(hub)
        with few_descriptors(process, 60), silent_connections(hub.port, 100):
            until(lambda: warnings(hub), 20, "the warning")
        until(lambda: get(hub.url, "/hub/health")[0] == 200, 30, "a healthy hub")
        with PythonClient(hub.url) as client:
            client.wait("connection_established")
            client.call("subscribe", {"pairs": "EUR_USD"})
            bus.cache_price("EUR_USD", bid="1.1", ask="1.3", mid="1.2", time=datetime(2025, 11, 18, tzinfo=UTC))
            assert client.wait("price_update")["price"]["mid"] == "1.2"
        [line] = warnings(hub)
        assert (line["level"], line["limit"] > line["descriptors"]) == ("WARNING", True)
        assert "Traceback" not in hub.output()
        assert worker(hub).pid == process.pid


def test_waiting_connection_is_closed_with_the_spare_descriptor(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    """No descriptor at all is left, so that `accept` fails."""
    with Web("hub", settings, tmp_path / "log") as hub:
        process = worker(hub)
        with few_descriptors(process, 0), silent_connections(hub.port, 20) as held:
            until(lambda: warnings(hub), 20, "the warning")
            closed, _, _ = select.select(held, [], [], 60)  # silent ones are accepted in any order
            assert [each.recv(1) for each in closed] == [b""]
        assert_new_clients_are_served(hub)
        [line] = warnings(hub)
        assert line["reason"] == "Too many open files"
        assert "Traceback" not in hub.output()


def test_rest_goes_on_after_a_lack_of_descriptors(settings: Settings, tmp_path: Path) -> None:
    with Web("rest", settings, tmp_path / "log") as rest:
        process = worker(rest)
        with few_descriptors(process, 20), silent_connections(rest.port, 60):
            until(lambda: warnings(rest), 20, "the warning")
        until(lambda: get(rest.url, "/health/live")[0] == 200, 30, "an answer")
        assert [line["message"][:25] for line in warnings(rest)] == ["no connection is accepted"]
        assert "Traceback" not in rest.output()
        assert worker(rest).pid == process.pid
