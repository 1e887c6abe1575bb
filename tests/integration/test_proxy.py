"""config/nginx and config/haproxy in the real proxies, before two hubs, with stock clients."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import socket
import ssl
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from email.message import Message
from functools import partial
from pathlib import Path

import orjson
import pytest
from socketio.exceptions import ConnectionError as ConnectError
from tickwire_client import Client as OurClient
from tickwire_client import Unauthorized

from config.access.modes import REQUIRED
from config.settings import Settings, load
from db.bus import Bus, Snapshot
from db.postgres import Store
from db.timestamps import format_time, utc_now
from tests.conftest import until
from tests.examples.blocks import Block, blocks
from tests.support.access import Keys, id_of
from tests.support.answers import get
from tests.support.clients import FxNode, NodeClient, PythonClient, Rejected
from tests.support.crawler import crawl
from tests.support.plain import Books, Plain
from tests.support.ports import free_port
from tests.support.prefix_proxy import prefix_proxy
from tests.support.processes import ROOT, Running, Web
from tests.support.proxies import FILES, PATH, Proxy, command, listens, make_certificate, program
from tests.support.raw_http import exchange
from tests.support.raw_http import request as raw_request
from tests.support.rest_books import heartbeat

Client = PythonClient | NodeClient
CLIENTS: dict[str, Callable[[str], Client]] = {
    "python-websocket": lambda url: PythonClient(url, ["websocket"], reconnection=True),
    "python-polling": lambda url: PythonClient(url, ["polling"], reconnection=True),
    "python-upgrade": lambda url: PythonClient(url, ["polling", "websocket"], reconnection=True),
    "node-websocket": lambda url: NodeClient(url, ["websocket"]),
    "node-polling": lambda url: NodeClient(url, ["polling"]),
    "node-upgrade": lambda url: NodeClient(url, ["polling", "websocket"]),
}
ROUND = 10  # prices at a time: python-socketio accepts at most 16 packets in the answer to one poll
OPENING = "/socket.io/?EIO=4&transport=polling"


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
        assert check.popen.wait(60) == 0, check.output()
        assert "warn" not in check.output().lower()


def documented(word: str) -> Block:
    """Return the block of deployment.md that begins with this word."""
    [block] = [each for each in blocks("text") if each.file.name == "deployment.md" and each.text.startswith(word)]
    return block


def test_site_of_the_documents_is_valid(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "both.pem")
    block = re.sub(r"/etc/letsencrypt/\S+\.pem", str(certificate), documented("server {").text).replace("/var/log/nginx", str(tmp_path))
    (tmp_path / "tickwire").mkdir()
    for file in ("locations.conf", "tls.conf"):
        (tmp_path / "tickwire" / file).write_text((ROOT / "config" / "nginx" / file).read_text())
    upstreams = (ROOT / "config" / "nginx" / "upstreams.conf").read_text()
    paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi"))
    main = f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {paths} {upstreams} {block} }}"
    (tmp_path / "nginx.conf").write_text(main)
    with Running([*command("nginx", tmp_path, tmp_path / "nginx.conf"), "-t"], {}, tmp_path / "log") as check:
        assert check.popen is not None
        assert check.popen.wait(60) == 0, check.output()


def test_settings_and_service_of_the_documents_are_valid(tmp_path: Path) -> None:
    chosen = load(dict(line.split("=", 1) for line in documented("HUB_WORKERS").text.splitlines()), dotenv=None)
    assert chosen.auth_mode == REQUIRED
    unit = documented("[Unit]").text
    assert "KillMode=mixed" in unit, "`up` stops its processes in order"
    analyze = shutil.which("systemd-analyze", path=PATH)
    if analyze is not None:
        unit = unit.replace("/srv/tickwire/app/.venv/bin/python", sys.executable).replace("/srv/tickwire/app", str(ROOT))
        (tmp_path / "tickwire.service").write_text(unit)
        with Running([analyze, "verify", str(tmp_path / "tickwire.service")], {}, tmp_path / "log") as check:
            assert check.popen is not None
            assert check.popen.wait(60) == 0, check.output()
            assert "Unknown" not in check.output()


def test_shell_blocks_of_root_are_valid(tmp_path: Path) -> None:
    text = "".join(block.text for block in blocks("sh") if "sudo " in block.text)
    (tmp_path / "steps.sh").write_text(text)
    with Running(["bash", "-n", str(tmp_path / "steps.sh")], {}, tmp_path / "log") as check:
        assert check.popen is not None
        assert check.popen.wait(60) == 0, check.output()


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
        plain = stack.enter_context(Plain(proxy.port))
        assert plain.body()["type"] == "connected"
        plain.send("ping")
        assert plain.receive() == "pong"
        books = stack.enter_context(Books(proxy.port))
        assert books.ask({"type": "ping"})["type"] == "pong"


def request(proxy: Proxy, source: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """Send a request from another loopback address; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60, source_address=(source, 0))
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
    """Return True if a new client is on this hub; False too if the proxy admits no more for now."""
    try:
        with PythonClient(proxy.url):
            return clients_of(hub) > 0
    except ConnectError:
        return False


def test_rest_is_served_at_the_address_of_the_proxy(name: str, hubs: tuple[Web, Web], settings: Settings, tmp_path: Path) -> None:
    with Web("rest", settings, tmp_path / "rest.log") as rest, Proxy(name, tmp_path / name, hubs=hubs, rest=rest.port) as proxy:
        for below in ("", "/tickwire"):
            status, body = get(proxy.url, f"{below}/symbols")
            assert (status, orjson.loads(body)["count"]) == (200, 31)
            assert orjson.loads(get(proxy.url, f"{below}/hub/health")[1])["status"] == "healthy"
            assert get(proxy.url, f"{below}/nothing")[0] == 404
            for path in ("/hub/metrics", "/hub/live", "/hub/drain"):
                status, body = get(proxy.url, below + path)
                assert (status, orjson.loads(body)["error"]["code"]) == (404, "not_found")
            # An upload above the limit of other bodies reaches REST, which refuses its form.
            assert post(proxy, f"{below}/scenarios/recordings", 2 * 2**20) == 422
            assert until(partial(answer_of, proxy, f"{below}/prices", 2 * 2**20)) == 413
            check_dashboard(proxy, below)
        assert get(proxy.url, "/tickwire/tickwire/symbols")[0] == 404
        assert get(proxy.url, "/tickwirex/symbols")[0] == 404
    assert get(proxy.url, "/symbols")[0] == 0


class PlainBelow(Plain):
    """A client of the metrics below the path of the files."""

    route = f"/tickwire{Plain.route}"


def check_dashboard(proxy: Proxy, below: str) -> None:
    """The page and its hub are below the path; the policy permits the hub of this address."""
    host = f"127.0.0.1:{proxy.port}"
    answer = exchange(proxy.port, raw_request(f"{below}/", "Accept: text/html", host=host))
    assert (answer.status, answer.body) == (200, (ROOT / "clients/web/index.html").read_bytes())
    assert f"connect-src 'self' ws://{host} wss://{host};" in answer.headers["content-security-policy"]
    for path, status in (("/ui/src/main.js", 200), ("/config.json", 200), ("/market", 200), (OPENING, 200)):
        assert get(proxy.url, below + path)[0] == status, path
    if below:
        moved = exchange(proxy.port, raw_request(below, host=host))
        assert (moved.status, moved.headers["location"]) == (308, f"{below}/")
        with PythonClient(proxy.url, path="tickwire/socket.io") as client:
            client.wait("connection_established")
        with PlainBelow(proxy.port) as plain:
            assert plain.body()["type"] == "connected"


def post(proxy: Proxy, path: str, length: int) -> int:
    """Send a body of that length; return the status."""
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)) as connection:
        connection.request("POST", path, b"x" * length, {"Content-Type": "text/plain"})
        return connection.getresponse().status


def answer_of(proxy: Proxy, path: str, length: int) -> int | None:
    """Do the same; return None if the answer is lost.

    REST answers before the body has arrived. HAProxy 2.6 sometimes closes the connection then.
    """
    try:
        return post(proxy, path, length)
    except http.client.RemoteDisconnected:
        return None


def ask(proxy: Proxy, source: str, path: str, headers: Mapping[str, str], certificate: Path) -> tuple[int, Message, bytes]:
    """Send a request over TLS from a loopback address; return status, headers and body."""
    context = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=60, source_address=(source, 0), context=context)
    with closing(connection):
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_tls_keys_and_limits_of_an_address(
    name: str, settings: Settings, store: Store, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(store, bus)
    key = keys.add(("read", "observe"))
    file = make_certificate(tmp_path / "both.pem")
    for variable in ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(file))
    behind = {"TRUSTED_PROXIES": "127.0.0.1", "ALLOWED_HOSTS": "prices.example.com"}
    with (
        Web("hub", settings, tmp_path / "hub1.log", AUTH="required") as first,
        Web("hub", settings, tmp_path / "hub2.log", AUTH="required") as second,
        Web("rest", settings, tmp_path / "rest.log", **behind) as rest,
        Proxy(name, tmp_path / name, hubs=(first, second), rest=rest.port, certificate=file) as proxy,
    ):
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
            forged = {**headers, "X-Forwarded-For": "203.0.113.9", "Host": "prices.example.com"}
            status, answered, _ = ask(proxy, "127.0.0.9", "/symbols", forged, file)
            assert (status, answered["Strict-Transport-Security"]) == (200, "max-age=31536000")
        for path in ("/", "/tickwire/"):
            status, answered, _ = ask(proxy, "127.0.0.9", path, {"Host": "prices.example.com", "Accept": "text/html"}, file)
            policy = "connect-src 'self' ws://prices.example.com wss://prices.example.com;"
            assert (status, policy in answered["Content-Security-Policy"]) == (200, True)
        status, answered, _ = ask(proxy, "127.0.0.9", "/symbols", {}, file)
        assert (status, answered["WWW-Authenticate"]) == (401, 'Bearer realm="tickwire"')
        assert ask(proxy, "127.0.0.9", "/health/live", {}, file)[0] == 200
        until(lambda: addresses_of(store, id_of(key)) == ["127.0.0.9"], what="the address of the first use")
        connect_and_revoke(proxy, keys, key)
        until(lambda: ask(proxy, "127.0.0.9", "/symbols", {"X-API-Key": key}, file)[0] == 401, what="the end of the key in REST")
        assert key not in rest.output() + proxy.output()
        refuse_old_tls(proxy)
        refuse_many_handshakes(proxy, file)
        refuse_many_connections(proxy, file)


def connect_and_revoke(proxy: Proxy, keys: Keys, key: str) -> None:
    """Receive prices with both clients of ours, then revoke the key. Without it, none connects."""
    with pytest.raises(Unauthorized), OurClient(proxy.url):
        pass
    with FxNode(proxy.url) as node, pytest.raises(Rejected) as caught:
        node.call("connect")
    assert caught.value.error["code"] == "unauthorized"
    with OurClient(proxy.url, proxy.url, auth=key) as client, FxNode(proxy.url, auth=key, restUrl=proxy.url) as node:
        assert client.symbols()
        prices = client.prices("EUR_USD")
        node.call("connect")
        node.call("subscribe", ["EUR_USD"])
        assert client.get_subscriptions()["pairs"] == ["EUR_USD"]
        publish(keys.bus)
        assert next(prices).instrument == "EUR_USD"
        node.wait("onPriceUpdate")
        keys.revoke(key)
        assert node.wait("onDisconnect")["reconnecting"] is False
        with pytest.raises(Unauthorized, match="revoked"):
            list(prices)


def addresses_of(store: Store, key_id: str) -> list[str]:
    with store.transaction() as cursor:
        cursor.execute("SELECT host(ip) FROM access_log WHERE key_id = %s AND action = 'new_address'", (key_id,))
        return [row[0] for row in cursor.fetchall()]


def refuse_old_tls(proxy: Proxy) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", proxy.port)) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain)


def refuse_many_handshakes(proxy: Proxy, certificate: Path) -> None:
    """Open sessions until the proxy refuses one; requests of a session and other addresses pass."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", proxy.port, timeout=20, source_address=("127.0.0.3", 0), context=ssl.create_default_context(cafile=str(certificate))
    )
    with closing(connection):
        opened = 0
        for _ in range(2000):
            connection.request("GET", OPENING)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 429:
                break
            opened += 1
        assert opened >= 40
        assert (orjson.loads(body)["error"]["code"], answer.headers["Retry-After"]) == ("too_many_requests", "1")
        connection.request("GET", f"{OPENING}&sid=none")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 400
    assert ask(proxy, "127.0.0.4", OPENING, {}, certificate)[0] == 200


def refuse_many_connections(proxy: Proxy, certificate: Path) -> None:
    """Hold 100 requests whose body does not come; the next one of the address is refused."""
    context = ssl.create_default_context(cafile=str(certificate))
    head = b"POST /prices HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(100):
            plain = socket.create_connection(("127.0.0.1", proxy.port), source_address=("127.0.0.5", 0))
            held = stack.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
            held.sendall(head)
        until(lambda: ask(proxy, "127.0.0.5", "/health/live", {}, certificate)[0] == 429, 8, "the refusal of a connection")
        assert ask(proxy, "127.0.0.6", "/health/live", {}, certificate)[0] == 200
    until(lambda: ask(proxy, "127.0.0.5", "/health/live", {}, certificate)[0] == 200, what="a free place")


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
            until(lambda: get(unwell.url, "/socket.io/?EIO=4&transport=polling")[0] == 503, 30, "the refusal of a direct client")


PAGES = ("", "docs", "redoc", "openapi.json", "asyncapi.json")
FILES_OF_PAGES = (
    "ui/app.css",
    "ui/src/main.js",
    "ui/src/views/market.js",
    "docs/static/swagger-ui.css",
    "docs/static/redoc.standalone.js",
    "docs/start.js",
    "docs/static/favicon.png",
)


def test_every_url_of_every_page_works_below_a_path_and_at_the_root(shared_settings: Settings, shared_bus: Bus, tmp_path: Path) -> None:
    with (
        Web("rest", shared_settings, tmp_path / "rest.log") as rest,
        prefix_proxy(rest.port, "/data/tick%20wire/") as below,
    ):
        for base in (below, f"{rest.url}/"):
            shared_bus.publish_snapshot(Snapshot(format_time(utc_now()), 1, "one", {}, {}))  # REST keeps it
            shared_bus.publish_heartbeat(heartbeat({}))  # of `/status`
            found = crawl(*(base + page for page in PAGES))
            assert {url for url in found if not url.startswith(base)} == set()
            assert {url: each.status for url, each in found.items() if each.status != 200} == {}
            assert {base + each for each in (*PAGES, *FILES_OF_PAGES, "symbols", "health/live")} <= set(found)
            assert orjson.loads(found[base + "openapi.json"].text)["servers"] == [{"url": "."}]
            assert b"://" not in orjson.dumps(orjson.loads(found[base + "asyncapi.json"].text)["servers"])
        for odd in ("/docs/", "//docs", "/health//live", "/symbols/", "//evil.example/docs"):
            assert exchange(rest.port, raw_request(odd)).status in (200, 404), "a redirect would need the path of the proxy"
