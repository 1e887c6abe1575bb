"""The dashboard at REST: its policy with the address of the hub, its files, its configuration."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.rest.page.files import Files
from api.rest.page.policy import import_map_hash
from config.settings import load
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.support.clients import node
from tests.support.processes import ROOT

Make = Callable[..., FlaskClient]
NOWHERE = "redis://127.0.0.1:1/0"
HTML = ROOT / "clients" / "web" / "index.html"
PUBLIC = {"HUB_PUBLIC_URL": "https://hub.example.com/tick/"}
ALLOWED = {"ALLOWED_HOSTS": "prices.example.com,tick_wire,192.0.2.7,2001:db8::7"}


@pytest.fixture(scope="module")
def make() -> Iterator[Make]:
    """Return REST with settings, whose servers do not exist: the page needs none."""
    with closing(Store("postgresql://nobody@127.0.0.1:1/none")) as store:

        def made(**variables: str) -> FlaskClient:
            settings = load({**ALLOWED, **variables}, dotenv=None)
            app: Flask = create_app(settings, Bus(NOWHERE, utc_now), store, utc_now, "1.2.3")
            return app.test_client()

        yield made


@pytest.fixture(scope="module")
def rest(make: Make) -> FlaskClient:
    return make()


def hash_of_import_map() -> str:
    text = re.findall(r'<script type="importmap">(.*?)</script>', HTML.read_text(), re.DOTALL)
    assert len(text) == 1
    return base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()


def policy_of(client: FlaskClient, host: str, **headers: str) -> str:
    answer = client.get(
        "/", headers={"Host": host, "Accept": "text/html", **{name.replace("_", "-"): text for name, text in headers.items()}}
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["Content-Security-Policy"]


def expected_policy(hub: str) -> str:
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{hash_of_import_map()}'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' {hub}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@pytest.mark.parametrize(
    ("variables", "host", "hub"),
    [
        # HUB_PUBLIC_URL is set
        (PUBLIC, "127.0.0.1:5000", "https://hub.example.com wss://hub.example.com"),
        ({"HUB_PUBLIC_URL": "http://10.0.0.7:8081"}, "prices.example.com", "http://10.0.0.7:8081 ws://10.0.0.7:8081"),
        # the page is at API_PORT
        ({}, "127.0.0.1:5000", "http://127.0.0.1:5001 ws://127.0.0.1:5001"),
        ({}, "localhost:5000", "http://localhost:5001 ws://localhost:5001"),
        ({}, "tick_wire:5000", "http://tick_wire:5001 ws://tick_wire:5001"),
        ({"API_PORT": "7000", "WEBSOCKET_PORT": "7001"}, "192.0.2.7:7000", "http://192.0.2.7:7001 ws://192.0.2.7:7001"),
        ({"API_PORT": "80"}, "prices.example.com", "http://prices.example.com:5001 ws://prices.example.com:5001"),
        ({"API_PORT": "80"}, "prices.example.com:80", "http://prices.example.com:5001 ws://prices.example.com:5001"),
        # behind a proxy
        ({}, "prices.example.com", "ws://prices.example.com wss://prices.example.com"),
        ({}, "localhost:", "ws://localhost wss://localhost"),
        ({}, "127.0.0.1:8080", "ws://127.0.0.1:8080 wss://127.0.0.1:8080"),
        ({"API_PORT": "7000"}, "localhost:5000", "ws://localhost:5000 wss://localhost:5000"),
        # IPv6: a source of the policy has no form for it
        ({}, "[::1]:5000", "http://*:5001 ws://*:5001"),
        ({}, "[2001:db8::7]", "ws://* wss://*"),
        ({}, "[::1]:8080", "ws://*:8080 wss://*:8080"),
        ({"HUB_PUBLIC_URL": "http://[2001:db8::7]:8081"}, "localhost:5000", "http://*:8081 ws://*:8081"),
    ],
)
def test_policy_of_the_page_is_exact(make: Make, variables: dict[str, str], host: str, hub: str) -> None:
    assert policy_of(make(**variables), host) == expected_policy(hub)


# settings, address of the page, origin of the hub and path of Socket.IO
ADDRESSES: list[tuple[dict[str, str], str, str, str]] = [
    (PUBLIC, "http://127.0.0.1:5000/", "https://hub.example.com", "/tick/socket.io"),
    (PUBLIC, "https://prices.example.com/tickwire/", "https://hub.example.com", "/tick/socket.io"),
    ({}, "http://127.0.0.1:5000/", "http://127.0.0.1:5001", "/socket.io"),
    ({}, "http://[::1]:5000/", "http://[::1]:5001", "/socket.io"),
    ({"API_PORT": "80"}, "http://prices.example.com/", "http://prices.example.com:5001", "/socket.io"),
    ({"API_PORT": "80"}, "https://prices.example.com/", "https://prices.example.com", "/socket.io"),
    ({"API_PORT": "443"}, "http://prices.example.com/", "http://prices.example.com", "/socket.io"),
    ({}, "https://prices.example.com/tickwire/", "https://prices.example.com", "/tickwire/socket.io"),
    ({}, "http://127.0.0.1:8080/tickwire/", "http://127.0.0.1:8080", "/tickwire/socket.io"),
    ({}, "http://[2001:db8::7]:8080/", "http://[2001:db8::7]:8080", "/socket.io"),
]


def test_page_and_policy_have_the_same_hub(make: Make) -> None:
    """The page's own module computes the address from /config.json."""
    clients = [make(**variables) for variables, *_ in ADDRESSES]
    cases = [[client.get("/config.json").json, page] for client, (_, page, *_) in zip(clients, ADDRESSES, strict=True)]
    program = f"""
    const {{ hubAddress }} = await import({json.dumps((ROOT / "clients/web/src/config.js").as_uri())});
    console.log(JSON.stringify({json.dumps(cases)}.map(([config, page]) => hubAddress(config, page))));
    """
    run = subprocess.run([node(), "--input-type=module", "-e", program], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(run.stdout) == [{"origin": origin, "path": path} for *_, origin, path in ADDRESSES]
    for client, (_, page, origin, _) in zip(clients, ADDRESSES, strict=True):
        of_page, hub = urlsplit(page), urlsplit(origin)
        permitted = policy_of(client, of_page.netloc, X_Forwarded_Proto=of_page.scheme).split("connect-src ")[1].split(";")[0].split()
        host = re.sub(r"\[.*\]", "*", hub.netloc)
        # A source with ws:// permits wss:// at the same host too, one with http:// https://.
        polling = {"'self'"} if origin == f"{of_page.scheme}://{of_page.netloc}" else {f"http://{host}", f"https://{host}"}
        assert {f"ws://{host}", f"wss://{host}"} & set(permitted), page
        assert polling & set(permitted), page


def test_page_behind_tls_has_the_port_443(make: Make) -> None:
    client, host = make(API_PORT="80"), "prices.example.com"
    assert policy_of(client, host, X_Forwarded_Proto="https") == expected_policy(f"ws://{host} wss://{host}")
    assert policy_of(client, host, X_Forwarded_Proto="http") == expected_policy(f"http://{host}:5001 ws://{host}:5001")
    assert policy_of(client, f"{host}:443", X_Forwarded_Proto="https") == expected_policy(f"ws://{host}:443 wss://{host}:443")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "prices.example.com.evil.example", "prices.example.com;script-src *", "prices.example.com:5000 *",
        "localhost:5000'", "localhost:5000;", "localhost:5000,*", "", "[::1", "pricés.example.com", "a@localhost:5000",
    ],
)  # fmt: skip
def test_page_for_another_host_is_refused(rest: FlaskClient, host: str) -> None:
    answer = rest.get("/", headers={"Host": host, "Accept": "text/html"})
    assert (answer.status_code, answer.json["error"]["code"] if answer.json else None) == (403, "forbidden")
    assert "Content-Security-Policy" not in answer.headers


@pytest.mark.parametrize("name", ["ünïcode.example", "semi;colon", "quote'd", "a,b"])
def test_allowed_name_that_no_header_may_contain_is_refused(make: Make, name: str) -> None:
    client = make(ALLOWED_HOSTS="ünïcode.example,semi;colon,quote'd")
    answer = client.get("/", headers={"Host": f"{name}:5000", "Accept": "text/html"})
    assert (answer.status_code, answer.json["error"]["code"] if answer.json else None) == (403, "forbidden")


def test_page_and_description_differ_by_accept(rest: FlaskClient) -> None:
    host = {"Host": "127.0.0.1:5000"}
    for accept in ("text/html,application/xhtml+xml,*/*;q=0.8", "*/*"):
        page = rest.get("/", headers={**host, "Accept": accept})
        assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
        assert page.data == HTML.read_bytes()
        assert "Accept" in page.vary
    described = rest.get("/", headers={**host, "Accept": "application/json"})
    assert "Accept" in described.vary
    assert described.headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" not in described.headers
    assert described.json is not None
    assert described.json.keys() == {
        "name", "version", "description", "documentation", "routes", "metrics_socket", "book_socket", "timestamp",
    }  # fmt: skip


HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
JAVASCRIPT = "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "file", "kind"),
    [
        ("/ui/app.css", "clients/web/app.css", "text/css; charset=utf-8"),
        ("/ui/vendor/socket.io.esm.min.js", "clients/web/vendor/socket.io.esm.min.js", JAVASCRIPT),
        ("/ui/vendor/vendor.json", "clients/web/vendor/vendor.json", "application/json"),
        ("/ui/vendor/LICENSE.socket.io-client", "clients/web/vendor/LICENSE.socket.io-client", "text/plain; charset=utf-8"),
        ("/ui/client/index.js", "clients/js/src/index.js", JAVASCRIPT),
        ("/", "clients/web/index.html", "text/html; charset=utf-8"),
    ],
)
def test_file_has_its_headers_and_a_conditional_request_gets_304(rest: FlaskClient, path: str, file: str, kind: str) -> None:
    answer = rest.get(path, headers={"Host": "127.0.0.1:5000"})
    assert (answer.status_code, answer.content_type, answer.data) == (200, kind, (ROOT / file).read_bytes())
    assert HEADERS.items() <= dict(answer.headers).items()
    etag = answer.headers["ETag"]
    again = rest.get(path, headers={"Host": "127.0.0.1:5000", "If-None-Match": etag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    assert again.headers.get("Content-Security-Policy") == answer.headers.get("Content-Security-Policy")
    assert HEADERS.items() <= dict(again.headers).items()
    assert rest.get(path, headers={"Host": "127.0.0.1:5000", "If-None-Match": '"other"'}).status_code == 200
    head = rest.head(path, headers={"Host": "127.0.0.1:5000"})
    assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", etag)


def test_every_own_module_and_vendored_file_is_served(rest: FlaskClient) -> None:
    served = {
        **{f"/ui/src/{file.relative_to(ROOT / 'clients/web/src')}": file for file in (ROOT / "clients/web/src").rglob("*.js")},
        **{f"/ui/vendor/{file.name}": file for file in (ROOT / "clients/web/vendor").iterdir()},
        **{f"/ui/client/{file.name}": file for file in (ROOT / "clients/js/src").glob("*.js")},
    }
    for path, file in served.items():
        assert rest.get(path).data == file.read_bytes(), path


@pytest.mark.parametrize(
    "path",
    [
        "", "index.html", "package.json", "package-lock.json", "tsconfig.json", "test", "test/format.test.js", "docs/reader.js",
        "node_modules/axe-core/axe.min.js", "src", "src/", "src/nothing.js", "src/../package.json", "src/../../js/src/client.js",
        "src/%2e%2e/%2e%2e/js/src/client.js", "src/..%2findex.html", "vendor/..%2f..%2fjs%2fsrc%2fclient.js", "vendor//etc/passwd",
        "src//etc/passwd", "vendor/%2fetc%2fpasswd", "vendor/.", "vendor/..", "vendor/./../app.css", "src/%00main.js", "src/main.js%00",
        "client/index.d.ts", "client/../package.json", "client/../test/client.test.js", "client/", "app.css/", "app.css/x", ".git/config",
        "src/" + "a" * 5000, "src/..%5c..%5cpackage.json", "vendor/vendor.json/x",
    ],
)  # fmt: skip
def test_other_path_below_ui_is_not_found(rest: FlaskClient, path: str) -> None:
    answer = rest.get(f"/ui/{path}")
    assert (answer.status_code, answer.json["error"]["code"] if answer.json else None) == (404, "not_found")


def test_changed_file_is_served_at_once_and_links_to_the_outside_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "a.js").write_text("1")
    files = Files(folder)
    first = files.read("a.js")
    assert first is not None
    assert files.read("a.js") is first
    (folder / "a.js").write_text("12")
    second = files.read("a.js")
    assert second is not None
    assert (second.content, second.tag == first.tag) == (b"12", False)
    (folder / "a.js").unlink()
    assert files.read("a.js") is None
    (tmp_path / "secret").write_text("x")
    (folder / "link.js").symlink_to(tmp_path / "secret")
    (folder / ".hidden").write_text("x")
    assert files.read("link.js") is files.read(".hidden") is None


def test_hash_of_the_import_map_is_that_of_the_text_as_browsers_read_it() -> None:
    # openssl dgst -sha256 -binary | base64, of '{"imports":\n{}}'
    expected = "'sha256-ySHOUKwb0ka/v/j1rN8YU+mQ02Tf/G+v6s/RL4mCeZE='"
    for end in (b"\n", b"\r\n", b"\r"):
        assert import_map_hash(b'<script type="importmap">{"imports":' + end + b"{}}</script>") == expected
    assert import_map_hash(b"<p>none</p>") is None


def test_configuration_has_the_settings_of_the_page_and_needs_no_server(make: Make) -> None:
    answer = make().get("/config.json")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    body = answer.json
    assert body is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", body.pop("timestamp"))
    assert body == {
        "version": "1.2.3",
        "api_port": 5000,
        "hub": {"url": None, "port": 5001},
        "metrics_socket": "ws://127.0.0.1:5001/ws/metrics",
        "book_socket": "ws://127.0.0.1:5001/ws",
        "auth": "optional",
        "features": ["market", "trading"],
        "simulated": None,
        "retention_days": {"prices": 730, "trades": 730, "candles": 730},
    }


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        (PUBLIC, {"hub": {"url": "https://hub.example.com/tick", "port": 5001}, "book_socket": "wss://hub.example.com/tick/ws"}),
        ({"AUTH": "required"}, {"auth": "required"}),
        ({"AUTH": "off"}, {"auth": "off"}),
        ({"SOURCES": "scenario"}, {"simulated": "scenario", "features": ["market", "book", "trading", "scenarios"]}),
        ({"SOURCES": "binance", "BOOK_SYMBOLS": "BTCUSDT"}, {"simulated": None, "features": ["market", "book", "trading"]}),
        ({"SOURCES": f"synthetic,replay:{HTML}"}, {"simulated": "replay"}),
        ({"SOURCES": f"replay:{HTML},scenario"}, {"simulated": "scenario"}),
        ({"RETENTION_PRICES": "0", "RETENTION_TRADES": "30"}, {"retention_days": {"prices": 0, "trades": 30, "candles": 730}}),
    ],
)
def test_configuration_follows_the_settings(make: Make, variables: dict[str, str], wanted: dict[str, object]) -> None:
    body = make(**variables).get("/config.json").json
    assert body is not None
    assert {name: body[name] for name in wanted} == wanted
