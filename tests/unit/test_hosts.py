"""The rules of hosts and origins: a table of origin, host, setting and application."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client

from api.access.counts import AccessCounts
from api.access.hosts import Hosts, Origins, host_name
from api.hub.transport.web.door import Door
from api.refused_origins import RefusedOrigins
from api.rest import cors, errors

OWN, NAMED, LOCAL = "hub.example", "https://app.example", "192.0.2.9"
HOSTS = Hosts((OWN, "[2001:DB8::0:5]", "0.0.0.0"))  # noqa: S104 - a bind host


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:5000", True),
        ("localhost.", True),
        ("127.0.0.1:80", True),
        ("[::1]:5000", True),
        ("[0:0::1]", True),
        ("hub.example:443", True),
        ("Hub.Example.", True),
        ("[2001:db8::5]:1", True),
        ("192.0.2.9:5000", True),
        ("[::ffff:192.0.2.9]", True),
        ("0.0.0.0:5000", True),
        (None, False),
        ("", False),
        (":5000", False),
        ("evil.example", False),
        ("hub.example.evil.example", False),
        ("evil.example/hub.example", False),
        ("evil.example@hub.example", False),
        ("hub.example, evil.example", False),
        ("localhost:5000:1", False),
        ("192.0.2.10", False),
        ("::1", False),
        ("[::1", False),
        ("[localhost]", False),
        ("127.1", False),
        ("2130706433", False),
        ("hub.example:port", False),
        ("hub.example\x00", False),
    ],
)
def test_host_is_allowed_if_its_name_is_ours(header: str | None, allowed: bool) -> None:
    assert HOSTS.allow(header, lambda: f"::ffff:{LOCAL}") is allowed


@given(st.text(max_size=30))
def test_any_header_has_a_name_or_none(header: str) -> None:
    host_name(header)
    Origins().allow(header, header)


def hub(hosts: Hosts, origins: Origins) -> Client:
    """A hub whose requests all succeed, behind its door."""

    def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    return Client(Door(application, hosts, origins, RefusedOrigins(time.monotonic), AccessCounts()))


def rest(hosts: Hosts, origins: Origins) -> Client:
    """REST with two routes and the same paths."""
    app = Flask(__name__)
    errors.register(app)
    cors.register(app, hosts, origins, RefusedOrigins(time.monotonic), AccessCounts())
    app.add_url_rule("/socket.io/", view_func=lambda: "ok", methods=["GET", "POST"], endpoint="one")
    for path in ("/hub/health", "/health/live", "/health/ready"):
        app.add_url_rule(path, view_func=lambda: "ok", endpoint=path)
    return Client(app)


APPLICATIONS = {"hub": hub, "rest": rest}
SETTINGS = {"none": Origins(), "named": Origins((NAMED,)), "all": Origins(("*",))}
# origin -> settings under which it is allowed, on the host hub.example and on localhost
ORIGINS: dict[str, tuple[set[str], set[str]]] = {
    "http://hub.example:8000": ({"none", "named", "all"}, {"all"}),
    "https://hub.example": ({"none", "named", "all"}, {"all"}),
    "http://localhost:3000": ({"none", "named", "all"}, {"none", "named", "all"}),
    "http://127.0.0.1": ({"none", "named", "all"}, {"none", "named", "all"}),
    "http://[::1]:3000": ({"none", "named", "all"}, {"none", "named", "all"}),
    NAMED: ({"named", "all"}, {"named", "all"}),
    NAMED + ":8443": ({"all"}, {"all"}),
    "http://app.example": ({"all"}, {"all"}),
    "http://evil.example": ({"all"}, {"all"}),
    "http://localhost.evil.example": ({"all"}, {"all"}),
    "ftp://localhost": ({"all"}, {"all"}),
    "http://[": ({"all"}, {"all"}),
    "http://": ({"all"}, {"all"}),
    "null": ({"all"}, {"all"}),
    "": ({"all"}, {"all"}),
}


def ask(client: Client, method: str, host: str, **headers: str) -> Any:
    sent = {"Host": host, **{name.replace("_", "-"): text for name, text in headers.items()}}
    return client.open("/socket.io/", method=method, headers=sent)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("application", APPLICATIONS)
@pytest.mark.parametrize(("host", "column"), [(OWN, 0), ("localhost:5000", 1)])
def test_answer_by_origin_host_setting_and_application(application: str, setting: str, host: str, column: int) -> None:
    client = APPLICATIONS[application](HOSTS, SETTINGS[setting])
    for origin, method in product(ORIGINS, ("GET", "POST")):
        of_case = (origin, method)
        allowed = setting in ORIGINS[origin][column]
        answer = ask(client, method, host, Origin=origin)
        refused = not allowed and (application == "hub" or method == "POST" or origin in ("", "null"))
        assert answer.status_code == (403 if refused else 200), of_case
        expected = (origin if setting != "all" else "*") if allowed else None
        assert answer.headers.get("Access-Control-Allow-Origin") == expected, of_case
        assert "Access-Control-Allow-Credentials" not in answer.headers, of_case
        if refused:
            assert answer.content_type == "application/json", of_case
        elif allowed and setting != "all":
            assert "Origin" in answer.headers["Vary"], of_case


@pytest.mark.parametrize("application", APPLICATIONS)
def test_preflight_allows_our_headers_and_the_declared_methods(application: str) -> None:
    client = APPLICATIONS[application](HOSTS, SETTINGS["named"])
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "x-evil"}
    answer = ask(client, "OPTIONS", OWN, Origin=NAMED, **asked)
    assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, X-API-Key, Content-Type, X-Request-ID, traceparent"
    assert {"GET", "POST", "OPTIONS"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    refused = ask(client, "OPTIONS", OWN, Origin="http://evil.example", **asked)
    assert not {name for name in refused.headers.keys() if name.startswith("Access-Control")}  # noqa: SIM118


def test_rest_lets_pages_read_its_own_headers() -> None:
    answer = ask(rest(HOSTS, SETTINGS["named"]), "GET", OWN, Origin=NAMED)
    readable = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert readable >= {
        "Retry-After",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
        "X-Next-Page-Token",
        "X-Request-ID",
    }


@pytest.mark.parametrize("application", APPLICATIONS)
def test_foreign_host_is_refused_except_on_the_routes_of_load_balancers(application: str) -> None:
    client = APPLICATIONS[application](HOSTS, SETTINGS["all"])
    answer = ask(client, "GET", "evil.example:21301", Origin="http://evil.example")
    assert answer.status_code == 403
    assert "evil" not in answer.text
    assert "Access-Control-Allow-Origin" not in answer.headers or application == "rest"
    for path in ("/hub/health", "/health/live", "/health/ready"):
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 200
