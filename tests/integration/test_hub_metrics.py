"""`/hub/metrics` of a real hub: its access, its forms, and its figures against what clients did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import redis as redis_client
from prometheus_client.parser import text_string_to_metric_families
from socketio.exceptions import ConnectionError as ConnectError

from config.metrics import METRICS
from db import topics
from db.bus import Bus
from tests.conformance.http_client import Answer, Server
from tests.conftest import until
from tests.support.access import REQUIRED, Keys, read_by
from tests.support.clients import PythonClient
from tests.support.plain import Plain
from tests.support.processes import Web

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
Figures = Callable[..., float]


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {**REQUIRED, "WEBSOCKET_MAX_CLIENTS": "40"}


@pytest.fixture
def observer(keys: Keys, server: Server) -> str:
    return read_by(server, keys.add(["observe", "read"]))


@pytest.fixture
def figure(server: Server, observer: str) -> Figures:
    """Returns one present value: by name of the sample and labels."""

    def value(name: str, **labels: str) -> float:
        [found] = [each.value for each in samples(scrape(server, observer)) if each.name == name and each.labels == labels]
        return float(found)

    return value


def scrape(server: Server, key: str | None, query: str = "", **headers: str) -> Answer:
    sent = {} if key is None else {"X-API-Key": key}
    return server.request("GET", f"/hub/metrics{query}", headers={**sent, **headers})


def samples(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.body
    return [sample for family in text_string_to_metric_families(answer.body.decode()) for sample in family.samples]


@contextmanager
def connected(hub: Web, key: str, transport: str = "websocket") -> Iterator[PythonClient]:
    client = PythonClient(hub.url, [transport])
    client.connect({"token": key})
    try:
        client.wait("connection_established")
        yield client
    finally:
        client.__exit__(None, None, None)


def publish(bus: Bus, *pairs: str) -> None:
    for pair in pairs:
        bus.cache_price(pair, bid="1.1", ask="1.3", mid="1.2", time=NOON)


# access and forms


def test_metrics_need_observe(server: Server, keys: Keys, observer: str) -> None:
    assert scrape(server, None).status == 401
    reader = read_by(server, keys.add(["read"]))
    answer = scrape(server, reader)
    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (403, "forbidden")
    assert scrape(server, observer).status == 200


def test_forms_follow_accept_and_format(server: Server, observer: str) -> None:
    plain = scrape(server, observer)
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert (plain.headers["vary"], plain.headers["cache-control"]) == ("Accept", "no-store")
    for query, headers in (("?format=openmetrics", {}), ("", {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})):
        answer = scrape(server, observer, query, **headers)
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.body.endswith(b"# EOF\n")
    refused = scrape(server, observer, "?format=json")
    assert (refused.status, orjson.loads(refused.body)["error"]["code"]) == (422, "invalid_payload")
    head = server.request("HEAD", "/hub/metrics", headers={"X-API-Key": observer})
    assert (head.status, head.body) == (200, b"")


def test_host_is_checked_for_metrics_and_not_for_live(server: Server, observer: str) -> None:
    assert scrape(server, observer, Host="evil.example").status == 403
    answer = server.request("GET", "/hub/live", headers={"Host": "evil.example"})
    assert (answer.status, orjson.loads(answer.body)) == (200, {"status": "alive"})


def test_every_row_of_the_hub_is_there_with_few_series(server: Server, observer: str) -> None:
    found = samples(scrape(server, observer))
    families = {family.name for family in text_string_to_metric_families(scrape(server, observer).body.decode())}
    rows = {name.removesuffix("_total") for name, row in METRICS.items() if not row.services or "hub" in row.services}
    assert rows == families
    assert sum(sample.name.startswith("tickwire_hub_") for sample in found) <= 100
    names = {(sample.name, *sorted(sample.labels.items())) for sample in found}
    assert len(names) == len(found), "a series is there twice"
    channels = {sample.labels["channel"] for sample in found if sample.name == "tickwire_hub_relayed_total"}
    assert channels == {sample.labels["channel"] for sample in found if sample.name == "tickwire_hub_skipped_total"}
    assert topics.PRICES in channels


# figures


def test_clients_count_by_transport_and_their_ends_by_reason(shared_hub: Web, server: Server, observer: str, figure: Figures) -> None:
    def ends(reason: str) -> float:
        return figure("tickwire_hub_disconnects_total", reason=reason)

    opened, left, unauthorized = figure("tickwire_hub_connections_total"), ends("client"), ends("unauthorized")
    with (
        connected(shared_hub, observer) as first,
        connected(shared_hub, observer, "polling"),
        Plain(shared_hub.port, headers={"X-API-Key": observer}) as plain,
    ):
        assert plain.body()["type"]
        for transport in ("websocket", "polling", "plain"):
            assert figure("tickwire_hub_clients", transport=transport) == 1
        assert figure("tickwire_hub_sessions", state="websocket") == figure("tickwire_hub_sessions", state="polling") == 1
        assert figure("tickwire_hub_clients_limit") == 40
        assert figure("tickwire_hub_connections_total") == opened + 3
        first.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"], "candles": [{"pair": "EUR_USD", "interval": "1m"}]})
        assert figure("tickwire_hub_subscriptions", kind="price") == 2
        assert figure("tickwire_hub_subscriptions", kind="candle") == 1
        assert figure("tickwire_hub_subscriptions", kind="metrics") == 1
    until(lambda: ends("client") == left + 3, what="three clients that left")
    with pytest.raises(ConnectError), PythonClient(shared_hub.url):
        pass
    until(lambda: ends("unauthorized") == unauthorized + 1, what="a client that was refused and left")
    open_ones = figure("tickwire_hub_connections_total") - sum(
        each.value for each in samples(scrape(server, observer)) if each.name == "tickwire_hub_disconnects_total"
    )
    assert open_ones == 0


def test_messages_count_from_the_bus_to_the_sockets(
    shared_hub: Web, shared_bus: Bus, shared_redis: redis_client.Redis, observer: str, figure: Figures
) -> None:
    def relayed() -> float:
        return figure("tickwire_hub_relayed_total", channel=topics.PRICES)

    publish(shared_bus, "USD_CHF")
    before, skipped = relayed(), figure("tickwire_hub_skipped_total", channel=topics.PRICES)
    delivered, sends, sent = (figure(f"tickwire_hub_{name}_total") for name in ("deliveries", "sends", "sent_bytes"))
    lags = figure("tickwire_hub_relay_lag_seconds_count")
    with connected(shared_hub, observer) as first, connected(shared_hub, observer) as second:
        clients = [first, second]
        for client in clients:
            client.call("subscribe", {"pairs": ["USD_CHF"]})
        publish(shared_bus, "USD_CHF", "USD_CHF", "EUR_GBP")
        for client in clients:
            client.wait("price_update", 2)
        until(lambda: relayed() >= before + 3)
        assert figure("tickwire_hub_deliveries_total") == delivered + 4
        assert sends + 2 <= figure("tickwire_hub_sends_total") <= sends + 4
        bodies = sum(len(orjson.dumps(body)) for client in clients for body in client.bodies("price_update"))
        assert bodies < figure("tickwire_hub_sent_bytes_total") - sent < bodies + 4 * 40, "bodies, names of events and heads of frames"
        assert figure("tickwire_hub_relay_lag_seconds_count") > lags
        shared_redis.publish(topics.PRICES, b"not json")
        until(lambda: figure("tickwire_hub_skipped_total", channel=topics.PRICES) == skipped + 1)
    assert figure("tickwire_hub_bus_connected") == 1
    until(lambda: figure("tickwire_hub_loop_lag_seconds_count") > 2)


def test_recoveries_count_by_success(shared_hub: Web, shared_bus: Bus, observer: str, figure: Figures) -> None:
    publish(shared_bus, "AUD_USD")
    whole, lost = (figure("tickwire_hub_recoveries_total", recovered=each) for each in ("true", "false"))
    with connected(shared_hub, observer) as client:
        body: Any = until(lambda: client.call("subscribe", {"pairs": ["AUD_USD"]})["snapshot"].get("AUD_USD"))
        position = {"epoch": body["epoch"], "seq": body["seq"]}
        client.call("unsubscribe", {"pairs": ["AUD_USD"]})
        answer = client.call("subscribe", {"pairs": ["AUD_USD"], "since": {"AUD_USD": position}})
        assert answer["recovered"] == {"AUD_USD": True}
        client.call("unsubscribe", {"pairs": ["AUD_USD"]})
        client.call("subscribe", {"pairs": ["AUD_USD"], "since": {"AUD_USD": {"epoch": "another", "seq": 1}}})
    assert figure("tickwire_hub_recoveries_total", recovered="true") == whole + 1
    assert figure("tickwire_hub_recoveries_total", recovered="false") == lost + 1


def test_refusals_count_by_reason(shared_hub: Web, server: Server, keys: Keys, observer: str, figure: Figures) -> None:
    def refusals() -> dict[str, float]:
        reasons = ("missing", "invalid", "scope", "instrument", "host", "origin")
        return {reason: figure("tickwire_access_refusals_total", reason=reason) for reason in reasons}

    reader = read_by(server, keys.add(["read"], ["EUR_USD"]))
    before = refusals()
    assert scrape(server, None).status == 401
    assert scrape(server, reader).status == 403
    assert scrape(server, observer, Host="evil.example").status == 403
    assert scrape(server, observer, Origin="https://evil.example").status == 403
    assert scrape(server, "no key").status == 401
    with connected(shared_hub, reader) as client:
        assert client.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"]})["rejected_count"] == 1
        assert client.call("get_server_stats")["code"] == "forbidden"
    after = refusals()
    assert {reason: after[reason] - before[reason] for reason in before} == {
        "missing": 1, "invalid": 1, "scope": 2, "instrument": 1, "host": 1, "origin": 1,
    }  # fmt: skip
