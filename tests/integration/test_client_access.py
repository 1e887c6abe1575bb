"""Our clients against a hub and a REST that require credentials: keys, tokens, rights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, pairwise

import pytest
from tickwire_client import Client, Connected, Gap, Heartbeat, Problem, Refreshed, Refused, Tick, Unauthorized

from config.settings import Settings
from db.bus import Bus
from db.messages import Tick as BusTick
from tests.conftest import until
from tests.support.access import REQUIRED, UNKNOWN_KEY, Keys, jwt_of
from tests.support.clients import FxNode, Rejected
from tests.support.processes import ROOT, Web

DELAYS = (0.05, 0.2)  # seconds between attempts to connect again
TIME = "2025-11-18T12:30:00.000000Z"
LIFE_SECONDS = 3.0  # of a token that is renewed
LEEWAY_SECONDS = 3  # time for the renewal on a busy machine


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {**REQUIRED, "JWT_LEEWAY_SECONDS": str(LEEWAY_SECONDS)}


@pytest.fixture(scope="module")
def rest(shared_settings: Settings, shared_variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web("rest", shared_settings, tmp_path_factory.mktemp("rest") / "rest.log", **shared_variables) as process:
        yield process


@pytest.fixture
def key(keys: Keys, shared_hub: Web, rest: Web) -> str:
    """A key for prices in euros, which the hub and REST have read."""
    text = keys.add(("read", "publish"), ("EUR_*",))
    until(lambda: accepted(shared_hub, rest, text), what="a hub and a REST that have read the key")
    return text


def accepted(hub: Web, rest: Web, key: str) -> bool:
    try:
        with Client(hub.url, rest.url, auth=key) as client:
            return bool(client.symbols())
    except (Unauthorized, Refused):
        return False


@contextmanager
def publishing(bus: Bus, instrument: str) -> Iterator[None]:
    """Publish a price every 10 ms."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.01):
            bus.publish_prices([BusTick(instrument, "1.0945", "1.0947", "1.0946", TIME, "test")])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def breaks(seqs: list[int]) -> list[tuple[int, int]]:
    """Pairs of neighbours that do not follow each other: gaps and repetitions."""
    assert seqs
    return [(before, after) for before, after in pairwise(seqs) if after != before + 1]


def rejected(client: FxNode, method: str, *args: object) -> dict[str, object]:
    with pytest.raises(Rejected) as caught:
        client.call(method, *args)
    return caught.value.error


def test_token_is_renewed_without_a_lost_message(shared_hub: Web, rest: Web, shared_bus: Bus) -> None:
    renewed: list[Refreshed] = []
    connections: list[Connected] = []

    def auth() -> str:
        return jwt_of(life=LIFE_SECONDS)

    tokens = [jwt_of(life=LIFE_SECONDS), jwt_of(life=600)]
    with (
        publishing(shared_bus, "EUR_USD"),
        Client(shared_hub.url, rest.url, auth=auth, reconnect_delay=DELAYS) as client,
        FxNode(shared_hub.url, tokens=tokens) as node,
    ):
        client.on_refreshed(renewed.append)
        client.on_connect(connections.append)
        stream = client.prices("EUR_USD", gaps=True)
        node.call("connect")
        node.call("subscribe", ["EUR_USD"])
        until(lambda: len(renewed) >= 3, 60, "three new tokens")
        assert node.wait("onRefreshed")["scopes"] == ["read"]
        assert client.symbols(), "REST accepts the newest token"
        seen = len(node.seqs())
        until(lambda: len(node.seqs()) > seen + 20)
        items = list(islice(stream, seen))
        assert [item for item in items if isinstance(item, Gap)] == node.bodies("onGap") == []
        assert breaks([item.seq for item in items if isinstance(item, Tick)]) == breaks(node.seqs()) == []  # type: ignore[misc]
        assert (len(connections), len(node.bodies("onConnect"))) == (0, 1)
        assert [each.scopes for each in renewed[:3]] == [("read",)] * 3


def test_new_token_with_fewer_rights_leaves_rooms(shared_hub: Web, shared_bus: Bus) -> None:
    tokens = iter([jwt_of(life=LIFE_SECONDS), jwt_of(("read",), ("EUR_*",))])
    renewed: list[Refreshed] = []
    with Client(shared_hub.url, auth=lambda: next(tokens)) as client:
        client.on_refreshed(renewed.append)
        client.subscribe(["EUR_GBP", "GBP_USD"], candles=[("GBP_USD", "1m"), ("EUR_GBP", "1h")])
        until(lambda: renewed, 30, "a new token")
        assert set(renewed[0].removed) == {"price_GBP_USD", "candle_GBP_USD_1m"}
        held = client.get_subscriptions()
        assert (held["pairs"], held["candles"]) == (["EUR_GBP"], [{"pair": "EUR_GBP", "interval": "1h"}])
        assert [name for name, _ in client._session.opening()] == ["subscribe"] * 2
        assert "GBP_USD" not in str(client._session.opening())


def test_token_that_is_not_renewed_ends_the_client(shared_hub: Web) -> None:
    token = jwt_of(life=1)
    problems: list[Problem] = []
    with Client(shared_hub.url, auth=token) as client, FxNode(shared_hub.url, auth=token) as node:
        client.on_error(problems.append)
        node.call("connect")
        with pytest.raises(Unauthorized, match="unauthorized; reason: expired"):
            for _ in client.prices("EUR_CHF"):
                pass
        assert node.wait("onDisconnect")["reconnecting"] is False
        assert node.wait("onError", code="unauthorized")["details"] == {"reason": "expired", "reconnect": False}
        assert rejected(node, "requestAllPrices")["code"] == "unauthorized"
        until(lambda: problems)
        assert problems[0].details == {"reason": "expired", "reconnect": False}


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_revoked_key_ends_the_client(transport: str, key: str, keys: Keys, shared_hub: Web, rest: Web) -> None:
    with (
        Client(shared_hub.url, rest.url, auth=lambda: key, transports=[transport]) as client,
        FxNode(shared_hub.url, tokens=[key], transports=[transport]) as node,
    ):
        hello = node.call("connect")
        assert (hello["key_id"], hello["scopes"], hello["expires_at"]) == (key.split("_")[1], ["read", "publish"], None)
        assert client.symbols()
        keys.revoke(key)
        with pytest.raises(Unauthorized) as ended:
            for _ in client.prices("EUR_CHF"):
                pass
        assert ended.value.details == {"reason": "revoked", "reconnect": False}
        assert node.wait("onError", code="unauthorized")["details"] == {"reason": "revoked", "reconnect": False}
        assert node.wait("onDisconnect")["reconnecting"] is False
        until(lambda: not accepted(shared_hub, rest, key))
        with pytest.raises(Refused) as refused:
            client.symbols()
        assert (refused.value.code, refused.value.status) == ("unauthorized", 401)


def test_missing_rights_are_refused_with_their_details(key: str, shared_hub: Web, rest: Web) -> None:
    with Client(shared_hub.url, rest.url, auth=key) as client, FxNode(shared_hub.url, restUrl=rest.url, auth=key) as node:
        assert {name[:4] for name in node.call("connect")["available_pairs"]} == {"EUR_"}
        answer = node.call("subscribe", ["EUR_USD", "BTCUSDT"])
        assert (answer["added"], [each["code"] for each in answer["rejected"]]) == (["EUR_USD"], ["forbidden"])
        with pytest.raises(Refused) as of_stream:
            client.prices("EUR_USD", "BTCUSDT")
        with pytest.raises(Refused) as of_event:
            client.get_server_stats()
        with pytest.raises(Refused) as of_rest:
            list(client.ticks("BTCUSDT"))
        refusals = [of_stream.value, of_event.value, of_rest.value]
        assert [each.code for each in refusals] == ["forbidden"] * 3
        assert (of_event.value.details, of_rest.value.status) == ({"scope": ["observe"]}, 403)
        assert rejected(node, "getServerStats")["details"] == {"scope": ["observe"]}
        assert "BTCUSDT" in str(of_rest.value)
        assert client.get_subscriptions()["pairs"] == []
        assert client.publish("EUR_USD", bid="1.0", ask="1.2").accepted == 1
        assert node.call("publish", {"instrument": "EUR_USD", "bid": "1.1", "ask": "1.2"})["accepted"] == 1
        assert rejected(node, "publish", {"instrument": "BTCUSDT", "mid": "1"})["code"] == "forbidden"


@pytest.mark.parametrize("auth", [None, UNKNOWN_KEY, {"token": "a.b.c"}])
def test_client_without_a_valid_credential_is_refused(auth: object, shared_hub: Web, rest: Web) -> None:
    with FxNode(shared_hub.url, auth=auth) as node:
        assert rejected(node, "connect")["code"] == "unauthorized"
    client = Client(shared_hub.url, rest.url, auth=auth)  # type: ignore[arg-type]
    with pytest.raises(Unauthorized):
        client.connect()
    with pytest.raises(Refused) as refused:
        client.symbols()
    assert (refused.value.code, refused.value.status) == ("unauthorized", 401)


# the namespace /metrics


def test_reports_metrics_and_acknowledgements_need_their_scopes(keys: Keys, shared_hub: Web, rest: Web) -> None:
    reader, reporter, observer = (keys.add(scopes) for scopes in (("read",), ("read", "report"), ("read", "observe")))
    keys.change(reporter, bots=["a"])
    until(lambda: all(accepted(shared_hub, rest, key) for key in (reader, reporter, observer)), what="all keys in the hub")
    beat = Heartbeat(strategy="trend", bot="a")
    with Client(shared_hub.url, auth=reader) as client:
        for call in (lambda: client.report(beat), client.metrics, lambda: client.acknowledge_alert("system:disk:critical:1")):
            with pytest.raises(Refused) as caught:
                call()
            assert caught.value.code == "forbidden"
        assert client.unacknowledged == []
    with Client(shared_hub.url, auth=reporter) as client:
        until(lambda: client.report(beat, Heartbeat(strategy="trend", bot="b")).rejected[0]["code"] == "forbidden")
        with pytest.raises(Refused, match="observe"):
            client.metrics()
    with Client(shared_hub.url, auth=observer) as client:
        client.metrics("system").close()
        with pytest.raises(Refused, match="report"):
            client.report(beat)
    report = {"kind": "heartbeat", "strategy": "trend", "bot": "b"}
    for key, method, argument in ((reader, "report", report), (observer, "report", report), (observer, "acknowledgeAlert", "x")):
        with FxNode(shared_hub.url, auth=key) as node:
            node.call("connect")
            assert rejected(node, method, argument)["code"] == "forbidden"
            assert node.wait("onError")["code"] == "forbidden"
    with FxNode(shared_hub.url, auth=reporter, bot="b") as node:
        node.call("connect")
        assert node.call("report", report)["rejected"][0]["code"] == "forbidden"
        assert node.call("report", {**report, "bot": "a"})["accepted"] == 1


def watch(hub: Web, key: str, *names: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "manage.py", "watch", "--url", hub.url, "--json", *names]
    with subprocess.Popen(
        argv, cwd=ROOT, env={**os.environ, "TICKWIRE_API_KEY": key}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(argv, process.returncode, first, errors)


def test_watch_without_names_shows_the_instruments_that_the_key_permits(shared_hub: Web, shared_bus: Bus, keys: Keys, key: str) -> None:
    with publishing(shared_bus, "EUR_GBP"):
        done = watch(shared_hub, key)
        assert (done.returncode, json.loads(done.stdout)["instrument"], done.stderr) == (0, "EUR_GBP", "")
        done = watch(shared_hub, key, "EUR_USD", "GBP_USD")
        assert (done.returncode, done.stdout) == (1, "")
        assert "(forbidden; pair: GBP_USD)" in done.stderr
    nothing = keys.add(("read",), ("XYZ",))
    until(lambda: connects(shared_hub, nothing), what="a hub that has read the key")
    done = watch(shared_hub, nothing)
    assert (done.returncode, done.stderr) == (1, "The hub has no instrument that this credential may read.\n")


def connects(hub: Web, key: str) -> bool:
    try:
        with Client(hub.url, auth=key) as client:
            return client.available_pairs == ()
    except Unauthorized:
        return False
