"""The credential of our clients: values and functions, renewal, refusals, limits, and no leak."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Any

import pytest
from tickwire_client import AsyncClient, Client, ConnectionFailed, Disconnected, Gap, Problem, Refreshed, Refused, Tick, Unauthorized

from tests.conformance.conftest import application
from tests.conftest import until
from tests.support.clients import FxNode, Rejected
from tests.support.clients import node as node_program
from tests.support.processes import ROOT

DELAYS = (0.05, 0.2)  # seconds between attempts to connect again
KEY = "tw_abcdefgh_" + "s" * 43
NEW_KEY = "tw_abcdefgi_" + "r" * 43
OLD, NEW = "eyJhbGciOiJub25lIn0.old.signature", "eyJhbGciOiJub25lIn0.new.signature"
NOTHING: dict[str, Any] = {"accept": [KEY, NEW_KEY, OLD, NEW], "removed": [], "refuse": {"times": 0}, "connects": {"times": 0}}


class GuardedHub:
    """The stand-in as a process."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._before = 0  # number of credentials that earlier tests have sent

    def control(self, **commands: Any) -> None:
        data = json.dumps(commands).encode()
        request = urllib.request.Request(f"{self.url}/control", data, {"Content-Type": "application/json"})  # noqa: S310
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310

    def reset(self) -> None:
        self.control(**NOTHING)
        self._before = len(self._all())

    def seen(self, *kinds: str) -> list[str | None]:
        """The credentials that the hub has received in this test, of these kinds."""
        return [text for kind, text in self._all()[self._before :] if kind in kinds]

    def _all(self) -> list[tuple[str, str | None]]:
        with urllib.request.urlopen(f"{self.url}/seen", timeout=60) as answer:  # noqa: S310
            return [(kind, text) for kind, text in json.load(answer)]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedHub]:
    log = tmp_path_factory.mktemp("guarded") / "hub.log"
    with application(log, "tests.standins.guarded_hub:create()", "/socket.io/") as server:
        yield GuardedHub(f"http://{server.host}:{server.port}")
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


@pytest.fixture
def hub(process: GuardedHub) -> GuardedHub:
    process.reset()
    return process


def python(hub: GuardedHub, auth: Any = None, **options: Any) -> Client:
    return Client(hub.url, hub.url, reconnect_delay=DELAYS, auth=auth, **options)


def node(hub: GuardedHub, **options: Any) -> FxNode:
    return FxNode(hub.url, restUrl=hub.url, **options)


class Tokens:
    """The function `auth`: each call returns the next credential, and the last one stays."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)

    def __call__(self) -> str:
        return self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]


def breaks(seqs: list[int]) -> list[tuple[int, int]]:
    """Pairs of neighbours that do not follow each other: gaps and repetitions."""
    assert seqs
    return [(before, after) for before, after in pairwise(seqs) if after != before + 1]


# values and functions


@pytest.mark.parametrize("auth", [KEY, {"api_key": KEY}, {"token": OLD}, f" {OLD}\n"], ids=["key", "api_key", "token", "padded"])
def test_value_is_sent_to_the_hub_and_to_rest(hub: GuardedHub, auth: Any) -> None:
    with node(hub, auth=auth) as client, python(hub, auth) as other:
        hello = client.call("connect")
        assert (hello["key_id"], hello["scopes"]) == ("abcdefgh", ["read"])
        assert client.call("publish", {"instrument": "EUR_USD", "mid": "1"})["accepted"] == 1
        assert (other.symbols(), other.publish("EUR_USD", mid="1").accepted) == ([], 1)
    text = KEY if KEY in str(auth) else OLD
    assert hub.seen("connect", "/prices", "/symbols") == [text] * 5


def test_function_is_called_on_each_connect(hub: GuardedHub) -> None:
    connections: list[Any] = []
    with node(hub, tokens=[OLD, NEW]) as client, python(hub, Tokens(OLD, NEW)) as other:
        other.on_connect(connections.append)
        client.call("connect")
        assert hub.seen("connect") == [OLD, OLD]
        hub.control(drop=True)
        until(lambda: hub.seen("connect") == [OLD, OLD, NEW, NEW], what="connections with the second token")
        client.wait("onConnect", 2)
        assert client.call("getSubscriptions")["pairs"] == other.get_subscriptions()["pairs"] == []
        assert other.symbols() == []
        assert hub.seen("/symbols") == [NEW]


def test_coroutine_function_of_asyncio_is_called_in_its_event_loop(hub: GuardedHub) -> None:
    loops = []
    tokens = Tokens(OLD, NEW)

    async def auth() -> str:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return tokens()

    async def run() -> None:
        client = AsyncClient(hub.url, hub.url, reconnect_delay=DELAYS, auth=auth)
        assert await client.symbols() == []  # before the first connection
        async with client:
            assert (await client.get_subscriptions())["pairs"] == []
        assert set(loops) == {asyncio.get_running_loop()}

    asyncio.run(run())
    assert (hub.seen("/symbols"), hub.seen("connect")) == ([OLD], [NEW])


def test_failing_function_is_called_again(hub: GuardedHub) -> None:
    with node(hub, tokens=[f"!no answer to {OLD}.", NEW]) as client:
        client.call("connect")
        error = client.wait("onError", code="auth_failed")
        assert error["message"] == "The function `auth` failed: no answer to ***."
    with pytest.raises(ConnectionFailed) as failed:
        python(hub, lambda: {}[OLD]).connect()  # type: ignore[index]
    assert (failed.value.code, str(failed.value)) == ("auth_failed", "the function auth failed: '***'")


# renewal


def test_token_is_renewed_on_the_open_connection(hub: GuardedHub) -> None:
    given: list[Any] = []
    with node(hub, tokens=[OLD, OLD, NEW]) as client, python(hub, Tokens(OLD, OLD, NEW)) as other:
        for register in (other.on_refreshed, other.on_credentials_expiring):
            register(given.append)
        client.call("connect")
        client.call("subscribe", ["EUR_USD", "GBP_USD"])
        stream = other.prices("EUR_USD", gaps=True)
        other.subscribe("GBP_USD")
        hub.control(expire=3, removed=["price_GBP_USD"])
        assert client.wait("onRefreshed")["removed"] == ["price_GBP_USD"]
        until(lambda: len(given) == 2, what="both events of the Python client")
        assert isinstance(given[1], Refreshed)
        assert (given[0].in_seconds, given[1].scopes, given[1].removed) == (3.0, ("read",), ("price_GBP_USD",))
        assert (hub.seen("connect"), hub.seen("refresh")) == ([OLD, OLD], [NEW, NEW])
        hub.control(drop=True)  # the client does not subscribe to the removed room again
        client.wait("onConnect", 2)
        assert client.call("getSubscriptions")["pairs"] == ["EUR_USD"]
        assert until(lambda: other.connected)
        assert other.get_subscriptions()["pairs"] == ["EUR_USD"]
        assert breaks([tick.seq for tick in islice(stream, 20) if isinstance(tick, Tick)]) == []  # type: ignore[misc]
        until(lambda: len(client.seqs()) > 20)
        assert breaks(client.seqs()) == []
        assert client.bodies("onGap") == []


def test_new_key_takes_a_new_connection_without_a_lost_message(hub: GuardedHub) -> None:
    ends: list[Disconnected] = []
    with node(hub, tokens=[KEY, NEW_KEY]) as client, python(hub, Tokens(KEY, NEW_KEY)) as other:
        other.on_disconnect(ends.append)
        client.call("connect")
        client.call("subscribe", ["EUR_USD"])
        stream = other.prices("EUR_USD", gaps=True)
        hub.control(expire=60)
        until(lambda: hub.seen("connect") == [KEY, KEY, NEW_KEY, NEW_KEY], what="connections with the new key")
        client.wait("onConnect", 2)
        seen = len(client.seqs())
        until(lambda: len(client.seqs()) > seen + 20)
        items = list(islice(stream, seen + 20))
        assert [each for each in items if isinstance(each, Gap)] == client.bodies("onGap") == []
        assert breaks([each.seq for each in items if isinstance(each, Tick)]) == breaks(client.seqs()) == []  # type: ignore[misc]
        assert ends == [Disconnected("connection lost", reconnecting=True)]


def test_refused_token_is_not_sent_again(hub: GuardedHub) -> None:
    with node(hub, tokens=[OLD, NEW]) as client, python(hub, Tokens(OLD, NEW)) as other:
        client.call("connect")
        hub.control(accept=[OLD], expire=1)
        error = client.wait("onError", code="unauthorized")
        assert error["event"] == "refresh"
        until(lambda: len(hub.seen("refresh")) == 2)
        assert other.get_subscriptions()["pairs"] == client.call("getSubscriptions")["pairs"] == []


def test_credential_that_is_a_value_is_not_renewed(hub: GuardedHub) -> None:
    with node(hub, auth=OLD) as client, python(hub, OLD) as other:
        expiring: list[Any] = []
        other.on_credentials_expiring(expiring.append)
        client.call("connect")
        hub.control(expire=1)
        assert client.wait("onCredentialsExpiring")["in_seconds"] == 1
        until(lambda: expiring)
        assert client.call("getSubscriptions")["pairs"] == other.get_subscriptions()["pairs"] == []
    assert hub.seen("refresh") == []


# refusals


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_unknown_credential_is_refused_once(hub: GuardedHub, transport: str) -> None:
    with node(hub, auth="tw_unknown0_x", transports=[transport]) as client:
        with pytest.raises(Rejected) as rejected:
            client.call("connect")
        assert rejected.value.error["code"] == "unauthorized"
        assert client.wait("onError", code="unauthorized")["details"] == {"retry_in_ms": None}
        with pytest.raises(Rejected) as later:
            client.call("getSubscriptions")
        assert later.value.error["code"] == "unauthorized"
    with pytest.raises(Unauthorized) as failed:
        python(hub, transports=[transport]).connect()
    assert (failed.value.code, str(failed.value)) == ("unauthorized", f"no connection to {hub.url}: A valid credential is needed.")
    assert hub.seen("connect") == ["tw_unknown0_x", None]


@pytest.mark.parametrize(("transport", "closing"), [("websocket", "packets"), ("websocket", "code"), ("polling", "packets")])
def test_revoked_credential_ends_the_client(hub: GuardedHub, transport: str, closing: str) -> None:
    problems: list[Problem] = []
    ends: list[Disconnected] = []
    with node(hub, tokens=[KEY], transports=[transport]) as client, python(hub, Tokens(KEY), transports=[transport]) as other:
        other.on_error(problems.append)
        other.on_disconnect(ends.append)
        client.call("connect")
        client.call("subscribe", ["EUR_USD"])
        stream, alerts = other.prices("EUR_USD"), other.alert_updates()
        hub.control(end="revoked", closing=closing)
        assert client.wait("onDisconnect")["reconnecting"] is False
        reason = {"reason": "revoked", "reconnect": False} if closing == "packets" else {}
        for error in (client.wait("onError", code="unauthorized"), rejected(client, "requestAllPrices")):
            assert (error["code"], reason.items() <= error["details"].items()) == ("unauthorized", True)
        with pytest.raises(Unauthorized) as ended:
            for _ in stream:
                pass
        assert ended.value.details == reason
        for call in (lambda: next(alerts), other.get_subscriptions, lambda: next(other.alert_updates()), lambda: other.prices("GBP_USD")):
            with pytest.raises(Unauthorized, match="the hub closed the connection"):
                call()
        until(lambda: len(problems) == len(ends) == 1)
        assert (problems[0].code, problems[0].details, ends[0].reconnecting) == ("unauthorized", reason, False)
        assert (client.get("connected"), other.connected) == (False, False)
        assert hub.seen("connect") == [KEY, KEY]
        assert client.call("connect")["client_id"]  # a program may try again itself
        assert client.call("getSubscriptions")["pairs"] == ["EUR_USD"]


def rejected(client: FxNode, method: str, *args: Any) -> dict[str, Any]:
    with pytest.raises(Rejected) as caught:
        client.call(method, *args)
    return caught.value.error


def test_async_iterator_of_a_revoked_credential_raises(hub: GuardedHub) -> None:
    async def run() -> None:
        async with AsyncClient(hub.url, auth=KEY) as client:
            async for tick in client.prices("EUR_USD"):
                if not tick.snapshot:
                    await asyncio.to_thread(hub.control, end="revoked", closing="packets")

    with pytest.raises(Unauthorized):
        asyncio.run(run())


def test_credential_that_is_refused_after_an_outage_ends_the_client(hub: GuardedHub) -> None:
    with node(hub, auth=KEY) as client, python(hub, KEY) as other:
        client.call("connect")
        stream = other.prices("EUR_USD")
        hub.control(accept=[], drop=True)
        assert client.wait("onError", code="unauthorized")["details"]["retry_in_ms"] is None
        with pytest.raises(Unauthorized):
            for _ in stream:
                pass
        assert hub.seen("connect") == [KEY] * 4


def test_missing_right_at_connect_is_final_and_has_details(hub: GuardedHub) -> None:
    hub.control(connects={"code": "forbidden", "details": {"scope": ["observe"]}, "times": 2})
    with node(hub, auth=KEY) as client:
        error = rejected(client, "connect")
        assert (error["code"], error["details"]["scope"]) == ("forbidden", ["observe"])
    with pytest.raises(ConnectionFailed) as failed:
        python(hub, KEY).connect()
    assert (failed.value.code, failed.value.details) == ("forbidden", {"scope": ["observe"]})
    assert len(hub.seen("connect")) == 2


# limits


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_handshake_that_is_refused_with_429_is_repeated_after_retry_after(hub: GuardedHub, transport: str) -> None:
    refusal = {"path": "/socket.io/", "status": 429, "retry_after": 1, "times": 1}
    hub.control(refuse=refusal)
    with node(hub, auth=KEY, transports=[transport], reconnectionDelay=60_000) as client:
        client.call("connect")
        [error] = client.bodies("onError")
        assert (error["code"], error["details"]["retry_after"]) == ("too_many_requests", 1)
        assert 1000 <= error["details"]["retry_in_ms"] <= 1250
        assert error["message"].startswith(f"The hub at {hub.url} refuses the connection: Too many connections.")
    hub.control(refuse=refusal)
    begun = time.monotonic()
    with python(hub, KEY, transports=[transport]):
        assert time.monotonic() - begun >= 1
    hub.control(refuse={**refusal, "retry_after": 600})
    with pytest.raises(ConnectionFailed) as failed:
        python(hub, KEY, transports=[transport], timeout=60).connect()
    assert (failed.value.code, failed.value.retry_after) == ("too_many_requests", 600.0)
    assert str(failed.value) == f"no connection to {hub.url}: Too many connections"


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
def test_handshake_that_is_refused_for_good_is_not_repeated(hub: GuardedHub, status: int, code: str) -> None:
    body = {"error": {"code": code, "message": "No.", "details": {}}}
    hub.control(refuse={"path": "/socket.io/", "status": status, "times": 9, "body": body})
    with node(hub, auth=KEY) as client:
        assert rejected(client, "connect")["code"] == code
    with pytest.raises(ConnectionFailed) as failed:
        python(hub, KEY, transports=["polling"]).connect()
    assert (failed.value.code, isinstance(failed.value, Unauthorized)) == (code, status == 401)
    assert hub.seen("connect") == []


def test_places_of_a_key_are_waited_for(hub: GuardedHub) -> None:
    hub.control(connects={"code": "too_many_requests", "details": {"max_connections": 1, "retry_after": 0.2}, "times": 2})
    with node(hub, auth=KEY, reconnectionDelay=60_000) as client, python(hub, KEY):
        client.call("connect")
        waits = [error["details"]["retry_in_ms"] for error in client.bodies("onError")]
        assert all(200 <= wait <= 250 for wait in waits)
    assert len(hub.seen("connect")) == 4


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_connection_above_the_limit_of_all_hubs_is_reported_and_opened_again(hub: GuardedHub, transport: str) -> None:
    problems: list[Problem] = []
    options = {"auth": KEY, "transports": [transport]}
    with node(hub, **options, reconnectionDelay=60_000) as client, python(hub, **options) as other:
        other.on_error(problems.append)
        client.call("connect")
        hub.control(end="limit", closing="packets")
        error = client.wait("onError", code="too_many_requests")
        assert (error["event"], error["message"], error["details"]["max_connections"]) == ("disconnect", "More than 1 connections.", 1)
        until(lambda: len(hub.seen("connect")) == 4)
        until(lambda: problems)
    assert (problems[0].code, problems[0].details) == ("too_many_requests", {"max_connections": 1, "retry_after": 0.2})
    assert problems[0].message == "the hub closed the connection: More than 1 connections. (too_many_requests)"


def test_rest_429_is_waited_out_within_the_time_limit(hub: GuardedHub) -> None:
    body = {"error": {"code": "too_many_requests", "message": "Slow down.", "details": {}}}
    refusal = {"path": "/symbols", "status": 429, "body": body, "retry_after": 1, "times": 1}
    hub.control(refuse=refusal)
    begun = time.monotonic()
    assert python(hub, KEY).symbols() == []
    assert time.monotonic() - begun >= 1
    hub.control(refuse={**refusal, "retry_after": 60})
    with pytest.raises(Refused) as refused:
        python(hub, KEY).symbols()
    assert (refused.value.code, refused.value.status, refused.value.details) == ("too_many_requests", 429, {"retry_after": 60.0})
    hub.control(refuse={**refusal, "path": "/prices"})
    with node(hub, auth=KEY) as client:
        assert client.call("publish", {"instrument": "EUR_USD", "mid": "1"})["accepted"] == 1
        hub.control(refuse={**refusal, "path": "/prices", "retry_after": 60})
        error = rejected(client, "publish", {"instrument": "EUR_USD", "mid": "1"})
        assert (error["code"], error["details"], error["event"]) == ("too_many_requests", {"retry_after": 60}, "publish")


def test_rest_refusal_calls_the_function_once(hub: GuardedHub) -> None:
    hub.control(accept=[NEW])
    price = {"instrument": "EUR_USD", "mid": "1"}
    with node(hub, tokens=[OLD, NEW]) as client, node(hub, auth=OLD) as fixed:
        assert client.call("publish", price)["accepted"] == 1
        assert rejected(fixed, "publish", price)["code"] == "unauthorized"
    assert hub.seen("/prices") == [OLD, NEW, OLD]
    assert python(hub, Tokens(OLD, NEW)).symbols() == []
    for auth in (OLD, Tokens(OLD)):
        with pytest.raises(Refused) as refused:
            python(hub, auth).symbols()
        assert (refused.value.code, refused.value.status) == ("unauthorized", 401)
    assert hub.seen("/symbols") == [OLD, NEW, OLD, OLD, OLD]


# no leak


def test_credential_is_in_no_text_of_the_clients(hub: GuardedHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("socketio.client", "engineio.client", "tickwire_client.protocol", "tickwire_client", "urllib3", "websocket"):
        caplog.set_level(logging.DEBUG, name)
    errors: list[BaseException] = []
    with python(hub, Tokens(OLD, NEW)) as client:
        hub.control(expire=60)
        until(lambda: hub.seen("refresh") == [NEW])
        client.symbols()
        shown = [repr(client), repr(vars(client)), repr(client.rest), repr(vars(client.rest)), repr(vars(client._link))]
        hub.control(end="revoked", closing="packets", accept=[])
        for call in (client.get_subscriptions, client.symbols):
            until(lambda call=call: _fails(call, errors), what="an error")  # type: ignore[misc]
    shown += [f"{error!r} {vars(error)}" for error in errors]
    with node(hub, tokens=[OLD, NEW]) as other:
        error = rejected(other, "connect")
        shown += [json.dumps(error), str(other.result(other.begin(inspect=True)))]
        hub.control(accept=[NEW])
        other.call("connect")
        shown += [str(other.result(other.begin(inspect=True))), json.dumps(other.received)]
    text = "\n".join(shown) + caplog.text
    assert "Sending packet MESSAGE" in caplog.text, "the libraries below have logged their packets"
    for secret in (OLD, NEW, OLD.partition(".")[2], NEW.partition(".")[2]):
        assert secret not in text


def _fails(call: Callable[[], Any], errors: list[BaseException]) -> bool:
    try:
        call()
    except (ConnectionFailed, Refused) as error:
        errors.append(error)
        return True
    return False


# the programs


PROGRAMS = {
    "python": [sys.executable, "-m", "tickwire_client", "watch", "EUR_USD", "--json", "--url"],
    "javascript": ["websocket_client_example.js", "--pairs", "EUR_USD", "--json", "--url"],
    "manage.py": [sys.executable, "manage.py", "watch", "EUR_USD", "--json", "--url"],
}


def program(name: str, hub: GuardedHub, key: str) -> subprocess.Popen[str]:
    argv = [*PROGRAMS[name], hub.url]
    folder, environ = ROOT, {**os.environ, "TICKWIRE_API_KEY": key, "PYTHONPATH": str(ROOT / "clients" / "python"), "NO_COLOR": "1"}
    if name == "javascript":
        folder, argv = ROOT / "clients" / "js", [node_program(), *argv]
    return subprocess.Popen(argv, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_sends_the_key_of_the_environment_and_ends_with_it(hub: GuardedHub, name: str) -> None:
    with program(name, hub, KEY) as running:
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["instrument"] == "EUR_USD"
        hub.control(end="revoked", closing="packets")
        _, errors = running.communicate(timeout=60)
    assert (running.returncode, hub.seen("connect")) == (1, [KEY])
    assert errors.count("The credential is no longer valid.") == 1, errors
    assert "Traceback" not in errors
    if name == "manage.py":  # becomes the program of the first case
        return
    with program(name, hub, "tw_unknown0_x") as running:
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert errors.count("A valid credential is needed") == 1, errors
    with program(name, hub, "not a key") as running:
        _, errors = running.communicate(timeout=60)
    assert (running.returncode, "not a key" in errors, "Traceback" in errors) == (2, False, False), errors
