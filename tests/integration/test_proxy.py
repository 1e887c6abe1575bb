"""config/nginx and config/haproxy in the real proxies, before two hubs, with stock clients."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from config.settings import Settings, load
from db.bus import Bus
from ops.running import get
from tests.conftest import until
from tests.support.clients import NodeClient, PythonClient
from tests.support.crawler import crawl
from tests.support.prefix_proxy import prefix_proxy
from tests.support.processes import ROOT, Running, Web, free_port
from tests.support.raw_http import exchange
from tests.support.raw_http import request as raw_request

Client = PythonClient | NodeClient
CLIENTS: dict[str, Callable[[str], Client]] = {
    "python-websocket": lambda url: PythonClient(url, ["websocket"], reconnection=True),
    "python-polling": lambda url: PythonClient(url, ["polling"], reconnection=True),
    "python-upgrade": lambda url: PythonClient(url, ["polling", "websocket"], reconnection=True),
    "node-websocket": lambda url: NodeClient(url, ["websocket"]),
    "node-polling": lambda url: NodeClient(url, ["polling"]),
    "node-upgrade": lambda url: NodeClient(url, ["polling", "websocket"]),
}
FILES = {"nginx": "hub.conf", "haproxy": "hub.cfg"}
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])  # Debian's folders, which a user's PATH may lack
ROUND = 10  # prices at a time: python-socketio accepts at most 16 packets in the answer to one poll
OPENING = "/socket.io/?EIO=4&transport=polling"


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    return found or pytest.skip(f"{name} is not installed")


class Proxy(Running):
    """The program on a copy of our files that differs in the four ports only."""

    def __init__(self, name: str, folder: Path, *, hubs: tuple[Web, Web], rest: int) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        ours = {"8080": self.port, "5001": hubs[0].port, "5002": hubs[1].port, "5000": rest}
        folder.mkdir()
        for file in (ROOT / "config" / name).iterdir():
            text = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda port: str(ours[port[0]]), file.read_text())
            (folder / file.name).write_text(text)
        super().__init__(command(name, folder, folder / FILES[name]), {}, folder / "log")

    def start(self) -> None:
        super().start()
        until(self._answers, 30, "an answer through the proxy")

    def _answers(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, self.output()
        return get(self.url, "/hub/health")[0] == 200


def command(name: str, folder: Path, file: Path) -> list[str]:
    """Return the command that the files document."""
    if name == "nginx":
        return [program(name), "-e", "stderr", "-p", str(folder), "-c", str(file)]
    return [program(name), "-f", str(file)]


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    program(request.param)  # skips before anything is started
    return str(request.param)


@pytest.fixture
def hubs(name: str, settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[tuple[Web, Web]]:
    with Web("hub", settings, tmp_path / "hub1.log") as first, Web("hub", settings, tmp_path / "hub2.log") as second:
        yield first, second


@pytest.fixture
def proxy(name: str, hubs: tuple[Web, Web], tmp_path: Path) -> Iterator[Proxy]:
    with Proxy(name, tmp_path / name, hubs=hubs, rest=free_port()) as proxy:
        yield proxy


def publish(bus: Bus) -> None:
    for _ in range(ROUND):
        bus.cache_price("EUR_USD", bid="1.1", ask="1.3", mid="1.2", time=datetime(2025, 11, 18, tzinfo=UTC))


def enter_all(stack: ExitStack, url: str) -> dict[str, Client]:
    """Return kind -> a client of it."""
    clients = {kind: make(url) for kind, make in CLIENTS.items()}
    for client in clients.values():
        stack.enter_context(client)
    return clients


def listens(hub: Web) -> bool:
    """Return True if the hub accepts connections, healthy or not."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", hub.port)) == 0


def clients_of(hub: Web) -> int:
    """Return the number of clients of a hub, without the proxy."""
    with PythonClient(hub.url) as asking:
        return int(asking.stats()["connected_clients"]) - 1


def greetings(client: Client) -> int:
    return len(client.bodies("connection_established"))


@pytest.mark.parametrize("name", FILES)
def test_proxy_files_are_valid_and_name_the_default_ports(name: str, tmp_path: Path) -> None:
    chosen = load({"HUB_WORKERS": "2"}, dotenv=None)
    text = "".join(file.read_text() for file in (ROOT / "config" / name).iterdir())
    for port in chosen.hub_ports:
        assert text.count(f"127.0.0.1:{port}") == 2  # in the balanced group and in the group of sticky clients
    assert text.count(f"127.0.0.1:{chosen.api_port}") == 1
    option = {"nginx": "-t", "haproxy": "-c"}[name]
    check = Running([*command(name, tmp_path, ROOT / "config" / name / FILES[name]), option], {}, tmp_path / "log")
    with check:
        assert check.popen is not None
        assert check.popen.wait(30) == 0, check.output()


def test_every_stock_client_is_served_and_websockets_are_balanced(proxy: Proxy, hubs: tuple[Web, Web], bus: Bus) -> None:
    with ExitStack() as stack:
        clients = enter_all(stack, proxy.url)
        for client in clients.values():
            client.wait("connection_established")
            assert client.call("subscribe", {"pairs": "EUR_USD"})["added"] == ["EUR_USD"]
        upgraded = clients["python-upgrade"]
        assert isinstance(upgraded, PythonClient)
        assert upgraded._client.transport() == "websocket"
        for number in range(1, 11):
            publish(bus)
            for client in clients.values():
                client.wait("price_update", number * ROUND)
        for client in clients.values():
            assert client.seqs() == list(range(1, 10 * ROUND + 1))
        # Each hub has one of the two without polling; the other four have one address.
        assert sorted(map(clients_of, hubs)) == [1, 5]
        for _ in range(6):
            stack.enter_context(PythonClient(proxy.url))
        assert sorted(map(clients_of, hubs)) == [4, 8]
        assert not any(client.bodies("disconnect") for client in clients.values())


def request(proxy: Proxy, source: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """Send a request from another loopback address; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20, source_address=(source, 0))
    try:
        connection.request("GET" if body is None else "POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_polling_session_stays_on_the_hub_of_its_address(proxy: Proxy, hubs: tuple[Web, Web]) -> None:
    known = set()
    for number in range(2, 34):
        source = f"127.0.0.{number}"
        status, opening = request(proxy, source, OPENING)
        assert status == 200
        path = f"{OPENING}&sid={orjson.loads(opening[1:])['sid']}"
        assert request(proxy, source, path, "40") == (200, b"ok")
        status, packets = request(proxy, source, path)
        assert (status, packets[:3]) == (200, b"40{")
        assert request(proxy, source, path, '420["ping"]') == (200, b"ok")
        known.add(tuple(get(hub.url, path)[0] for hub in hubs))
    assert known == {(200, 400), (400, 200)}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_clients_of_a_stopped_hub_continue_on_the_other_without_loss(
    number: signal.Signals, proxy: Proxy, hubs: tuple[Web, Web], bus: Bus
) -> None:
    with ExitStack() as stack:
        clients = list(enter_all(stack, proxy.url).values())
        for client in clients:
            client.wait("connection_established")
            client.call("subscribe", {"pairs": "EUR_USD"})
        publish(bus)
        for client in clients:
            client.wait("price_update", ROUND)
        ended = max(hubs, key=clients_of)  # the one with the polling clients
        assert clients_of(ended) == 5
        end(ended, number)
        publish(bus)
        until(lambda: sum(greetings(client) == 2 for client in clients) == 5, 60, "five clients that are back")
        for client in clients:
            if greetings(client) == 2:
                resume(client)
        publish(bus)
        for client in clients:
            client.wait("price_update", 3 * ROUND)
            assert client.seqs() == list(range(1, 3 * ROUND + 1))
    ended.start()
    until(lambda: lands_on(ended, proxy), 60, "a client on the hub that is back")


def end(hub: Web, number: signal.Signals) -> None:
    if number == signal.SIGTERM:
        assert hub.ask_to_stop() == 0
    else:
        hub.kill(number)


def resume(client: Client) -> None:
    """Subscribe from the last received price, as the client of the README does."""
    last = client.bodies("price_update")[-1]
    position = {"epoch": last["epoch"], "seq": last["seq"]}
    answer = client.call("subscribe", {"pairs": "EUR_USD", "since": {"EUR_USD": position}})
    assert answer["recovered"] == {"EUR_USD": True}


def lands_on(hub: Web, proxy: Proxy) -> bool:
    with PythonClient(proxy.url):
        return clients_of(hub) > 0


def test_rest_is_served_at_the_address_of_the_proxy(name: str, hubs: tuple[Web, Web], settings: Settings, tmp_path: Path) -> None:
    with Web("rest", settings, tmp_path / "rest.log") as rest, Proxy(name, tmp_path / name, hubs=hubs, rest=rest.port) as proxy:
        status, body = get(proxy.url, "/symbols")
        assert (status, orjson.loads(body)["count"]) == (200, 31)
        assert orjson.loads(get(proxy.url, "/hub/health")[1])["status"] == "healthy"
        assert get(proxy.url, "/nothing")[0] == 404
    assert get(proxy.url, "/symbols")[0] == 0


def test_hub_without_redis_receives_no_new_client_from_haproxy(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    program("haproxy")
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    unwell = Web("hub", settings, tmp_path / "hub2.log", REDIS_URL=nowhere)
    with (
        Web("hub", settings, tmp_path / "hub1.log") as well,
        unwell.popen_only(),
        Proxy("haproxy", tmp_path / "haproxy", hubs=(well, unwell), rest=free_port()) as proxy,
    ):
        until(lambda: "least_busy/hub2 is DOWN" in proxy.output(), 30, "the check of the second hub")
        until(lambda: listens(unwell), 60, "the second hub's port")
        with PythonClient(proxy.url), PythonClient(proxy.url), PythonClient(proxy.url):
            assert clients_of(well) == 3
            # It also refuses direct clients, as it cannot serve the messages they missed.
            assert get(unwell.url, "/socket.io/?EIO=4&transport=polling")[0] == 503


PAGES = ("", "docs", "redoc", "openapi.json", "asyncapi.json")
FILES_OF_PAGES = ("docs/static/swagger-ui.css", "docs/static/redoc.standalone.js", "docs/start.js", "docs/static/favicon.png")


def test_every_url_of_every_page_works_below_a_path_and_at_the_root(shared_settings: Settings, shared_bus: Bus, tmp_path: Path) -> None:
    with (
        Web("rest", shared_settings, tmp_path / "rest.log") as rest,
        prefix_proxy(rest.port, "/data/tick%20wire/") as below,
    ):
        for base in (below, f"{rest.url}/"):
            found = crawl(*(base + page for page in PAGES))
            assert {url for url in found if not url.startswith(base)} == set()
            assert {url: each.status for url, each in found.items() if each.status != 200} == {}
            assert {base + each for each in (*PAGES, *FILES_OF_PAGES, "symbols", "health/live")} <= set(found)
            assert orjson.loads(found[base + "openapi.json"].text)["servers"] == [{"url": "."}]
            assert b"://" not in orjson.dumps(orjson.loads(found[base + "asyncapi.json"].text)["servers"])
        for odd in ("/docs/", "//docs", "/health//live", "/symbols/", "//evil.example/docs"):
            assert exchange(rest.port, raw_request(odd)).status in (200, 404), "a redirect would need the path of the proxy"
