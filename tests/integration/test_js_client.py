"""Our JavaScript client on Node against the real hub: its contract and all failures."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis as redis_client

from config.settings import Settings
from db.bus import Bus
from db.messages import Tick
from tests.conftest import until
from tests.support.clients import FxNode, Rejected
from tests.support.processes import Web, stopped, stopped_group

TIME = "2025-11-18T12:30:00.000000Z"
CANDLE = {
    "start_time": TIME, "end_time": "2025-11-18T12:31:00.000000Z", "open": "1", "high": "3", "low": "1", "close": "2", "volume": "4",
    "trades": 4, "complete": False,
}  # fmt: skip
INSTRUMENTS = ["EUR_USD", "GBP_USD"]  # of the flow of prices
EUR_1M = {"pair": "EUR_USD", "interval": "1m"}


@pytest.fixture
def client(hub: Web) -> Iterator[FxNode]:
    with FxNode(hub.url) as client:
        client.call("connect")
        yield client


@pytest.fixture
def shared_client(shared_hub: Web) -> Iterator[FxNode]:
    with FxNode(shared_hub.url) as client:
        client.call("connect")
        yield client


def publish(bus: Bus, count: int = 1, instrument: str = "EUR_USD", mid: str = "1.0946") -> list[int]:
    """Publish prices and return their seqs."""
    ticks = [Tick(instrument, "1.0945", "1.0947", mid, TIME, "test")] * count
    return [stamp.seq for stamp in bus.publish_prices(ticks)]


def rejected(client: FxNode, method: str, *args: Any) -> dict[str, Any]:
    """The error of the rejected promise of a method."""
    with pytest.raises(Rejected) as caught:
        client.call(method, *args)
    error = caught.value.error
    assert error["isError"]
    return error


def breaks(seqs: list[int]) -> list[tuple[int, int]]:
    """Pairs of neighbours that do not follow each other: gaps and repetitions."""
    assert seqs
    return [(before, after) for before, after in pairwise(seqs) if after != before + 1]


# the contract


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="+".join)
def test_every_method_returns_its_answer_and_calls_its_handler(hub: Web, bus: Bus, transports: list[str]) -> None:
    with FxNode(hub.url, transports=transports) as client:
        hello = client.call("connect")
        assert client.call("connect") == hello == client.wait("onConnectionEstablished")
        assert {"EUR_USD", "BTCUSDT", "AAPL"} <= set(hello["available_pairs"])
        about = client.wait("onConnect")
        assert about["transport"] in transports
        assert about == {"id": hello["client_id"], "transport": about["transport"], "reconnected": False}
        assert client.get("connected") is True

        body = client.call("subscribe", ["EUR_USD", "NOPE", "GBP_USD"])
        assert body == client.wait("onSubscriptionConfirmed")
        assert (set(body["added"]), [item["code"] for item in body["rejected"]]) == ({"EUR_USD", "GBP_USD"}, ["unknown_instrument"])
        assert client.call("getSubscriptions") == client.wait("onSubscriptionsInfo")
        assert client.bodies("onSubscriptionsInfo")[0]["pair_count"] == 2

        publish(bus, 3)
        client.wait("onPriceUpdate", 3)
        assert client.seqs() == [1, 2, 3]
        update = client.bodies("onPriceUpdate")[-1]
        assert update.pop("replayed") is False
        assert client.call("requestPrice", "EUR_USD") == update == client.wait("onPriceResponse")
        everything = client.call("requestAllPrices")
        assert everything == client.wait("onAllPricesResponse")
        assert everything["prices"] == {"EUR_USD": update["price"]}
        assert client.get("prices") == {"EUR_USD": update}
        assert client.get("positions") == {"EUR_USD": {"epoch": update["epoch"], "seq": 3}}
        assert client.call("printPrices").splitlines()[1].split() == ["EUR_USD", "1.0945", "1.0947", "1.0946", TIME]

        stats = client.stats()
        assert stats == client.wait("onServerStats")
        assert (stats["connected_clients"], stats["subscriptions_by_pair"]) == (1, {"EUR_USD": 1, "GBP_USD": 1})
        gone = client.call("unsubscribe", ["GBP_USD", "AUD_USD"])
        assert gone == client.wait("onUnsubscriptionConfirmed")
        assert (gone["removed"], gone["pairs"]) == (["GBP_USD"], ["EUR_USD"])
        assert client.call("subscribe", "all")["pair_count"] == 31
        assert client.call("unsubscribe", "all")["pairs"] == []
        client.call("disconnect")
        assert client.wait("onDisconnect") == {"reason": "io client disconnect", "reconnecting": False, "retryInMs": None}
        assert client.get("connected") is False
        assert client.bodies("onError") == client.bodies("onGap") == []
        assert client.end() == 0  # nothing keeps the process alive


def test_alerts_reach_their_handlers_and_a_bounded_history(shared_hub: Web, shared_bus: Bus) -> None:
    bus = shared_bus
    with FxNode(shared_hub.url, alertHistory=3) as client:
        client.call("connect")
        client.call("subscribe", "EUR_USD")
        for volatility in (0.03, 0.035, 0.05):
            bus.publish_volatility_alert("EUR_USD", volatility, threshold=0.02, severity="warning")
        bus.publish_correlation_alert("EUR_USD", "GBP_USD", 0.1, previous=0.9, threshold=0.2, severity="critical")
        bus.publish_data_ready("volatility", ["EUR_USD"], datetime(2025, 1, 1, tzinfo=UTC))
        assert client.wait("onDataReady")["data_type"] == "volatility"
        assert [body["volatility"] for body in client.bodies("onVolatilityAlert")] == [0.03, 0.035, 0.05]
        assert client.wait("onCorrelationAlert")["severity"] == "critical"
        kept = client.get("alertHistory")
        assert [each["event"] for each in kept] == ["volatility_alert", "volatility_alert", "correlation_alert"]
        assert kept[0]["body"]["volatility"] == 0.035
        assert client.bodies("onGap") == []


def test_latency_after_a_ping_and_a_price_has_all_figures(shared_client: FxNode, shared_bus: Bus) -> None:
    client = shared_client
    assert client.get("latency") == {"roundTrip": None, "price": None, "delivery": None, "clockOffset": None}
    pong = client.call("ping")
    assert pong == client.wait("onPong")
    assert 0 < pong["latency"] < 10_000
    client.call("subscribe", "USD_CHF")
    now = datetime.now(UTC)
    shared_bus.cache_price("USD_CHF", bid="1", ask="1", mid="1", time=now)
    client.wait("onPriceUpdate")
    latency = client.get("latency")
    assert (latency["roundTrip"]["count"], latency["roundTrip"]["last"]) == (1, pong["latency"])
    # Both use one clock, so the offset is the error of the ping. The arrival is less than ten
    # seconds after the price.
    assert abs(latency["clockOffset"]) <= pong["latency"] + 5
    assert -10 - pong["latency"] < latency["price"]["last"] < 10_000
    assert latency["delivery"]["count"] == 1


def test_candles_after_a_restart_come_from_the_snapshot_with_a_gap(client: FxNode, hub: Web, bus: Bus) -> None:
    bus.publish_candles([("EUR_USD", "1m", CANDLE)])
    until(lambda: client.stats()["messages_relayed"] == 1)
    body = client.call("subscribe", None, {"candles": [EUR_1M, {"pair": "EUR_USD", "interval": "2m"}]})
    assert (body["candles"], [item["interval"] for item in body["rejected"]]) == ([EUR_1M], ["2m"])
    assert body["candle_snapshot"][0]["candle"] == CANDLE
    bus.publish_candles([("EUR_USD", "1m", {**CANDLE, "close": "3"})])
    assert client.wait("onCandleUpdate")["candle"]["close"] == "3"
    hub.kill()
    for close in ("4", "5", "6"):
        bus.publish_candles([("EUR_USD", "1m", {**CANDLE, "close": close})])
    hub.start()
    assert client.wait("onCandleUpdate", 2)["candle"]["close"] == "6"
    gap = client.wait("onGap")
    assert (gap["event"], gap["topic"], gap["missed"], gap["reason"]) == ("candle_update", "EUR_USD|1m", 2, "not_recovered")
    bus.publish_candles([("EUR_USD", "1m", {**CANDLE, "close": "7"})])
    assert [body["seq"] for body in (client.wait("onCandleUpdate", 3) and client.bodies("onCandleUpdate"))] == [2, 5, 6]
    assert "candles" not in client.call("unsubscribe", None, {"candles": "all"}) or client.call("getSubscriptions").get("candles", []) == []


def test_own_alerts_after_a_restart_keep_their_ids_and_fire(client: FxNode, hub: Web, bus: Bus) -> None:
    publish(bus, mid="1.5")
    stays = client.call("setAlert", {"instrument": "EUR_USD", "op": ">", "value": "2", "once": False})["alert"]
    goes = client.call("setAlert", {"instrument": "EUR_USD", "op": "<", "value": "1"})["alert"]
    spare = client.call("setAlert", {"instrument": "EUR_USD", "metric": "volatility", "op": ">", "value": 0.5})["alert"]
    assert goes == {"id": goes["id"], "instrument": "EUR_USD", "metric": "price", "op": "<", "value": "1", "once": True}
    publish(bus, mid="0.9")
    client.wait("onAlertTriggered", id=goes["id"])
    hub.kill()
    hub.start()
    client.wait("onConnectionEstablished", 2)
    kept = [stays["id"], spare["id"]]  # a fired alert is not set again
    until(lambda: [alert["id"] for alert in client.call("listAlerts")["alerts"]] == kept, what="the alerts set again")
    publish(bus, mid="2.1")
    assert client.wait("onAlertTriggered", id=stays["id"])["current"] == "2.1"
    assert client.call("deleteAlert", spare["id"])["deleted"] == [spare["id"]]
    assert client.call("deleteAlert", "all")["deleted"] == [stays["id"]]
    assert rejected(client, "deleteAlert", stays["id"])["code"] == "invalid_payload"
    assert [each["event"] for each in client.get("alertHistory")] == ["alert_triggered"] * 2


def test_max_rate_delivers_the_newest_price_without_a_gap(shared_client: FxNode, shared_bus: Bus) -> None:
    client, pair = shared_client, "AUD_USD"
    assert client.call("subscribe", pair, {"maxRate": 7})["max_rate"] == 5
    for _ in range(10):
        publish(shared_bus, 20, pair)
    client.wait("onPriceUpdate", seq=200)
    assert len(client.seqs(pair)) < 100
    assert client.seqs(pair) == sorted(set(client.seqs(pair)))
    assert client.bodies("onGap") == []


def test_foreign_price_between_numbered_ones_causes_no_gap(
    shared_client: FxNode, shared_bus: Bus, shared_redis: redis_client.Redis
) -> None:
    client, pair = shared_client, "USD_CAD"
    client.call("subscribe", pair)
    publish(shared_bus, 2, pair)
    foreign = {"instrument": pair, "price": {"bid": "9.1", "ask": "9.3", "mid": "9.2", "time": "2025-11-18T12:30:00Z"}}
    shared_redis.publish("price_updates", orjson.dumps(foreign))
    until(lambda: len(client.bodies("onPriceUpdate")) == 3)
    publish(shared_bus, 1, pair)
    client.wait("onPriceUpdate", seq=3)
    assert client.seqs(pair) == [1, 2, 3]
    assert {**foreign, "replayed": False} in client.bodies("onPriceUpdate")
    assert client.bodies("onGap") == []


# errors


def test_refused_request_rejects_its_promise_and_calls_on_error(shared_client: FxNode) -> None:
    client = shared_client
    for method, args, code, field in (
        ("requestPrice", ["NOPE"], "unknown_instrument", "instrument"),
        ("requestPrice", ["AUD_NZD"], "no_price", "instrument"),
        ("subscribe", [[]], "invalid_payload", "pairs"),
        ("subscribe", ["all", {"maxRate": 500}], "invalid_payload", "max_rate"),
        ("setAlert", [{"instrument": "EUR_USD", "op": ">=", "value": "1"}], "invalid_payload", "op"),
    ):
        before = len(client.bodies("onError"))
        error = rejected(client, method, *args)
        assert (error["name"], error["code"], set(error["details"])) == ("TickwireError", code, {field})
        assert client.wait("onError", before + 1) == {name: error[name] for name in ("code", "message", "event", "details")}
    assert client.call("subscribe", "EUR_USD")["added"] == ["EUR_USD"]  # answers still match their requests
    numbers = [client.begin(call="getSubscriptions", args=[]) for _ in range(260)]
    codes = {_outcome(client, number) for number in numbers}
    assert codes == {"answered", "too_many_requests"}


def _outcome(client: FxNode, number: int) -> str:
    try:
        client.result(number)
    except Rejected as rejection:
        return str(rejection.error["code"])
    return "answered"


def test_request_on_a_stopped_hub_is_rejected_at_timeout_or_disconnect(hub: Web, bus: Bus) -> None:
    with FxNode(hub.url) as client:
        assert rejected(client, "getSubscriptions")["code"] == "not_connected"
        client.call("connect")
        with stopped_group(hub.pid):
            error = rejected(client, "requestAllPrices", {"timeout": 300})
            assert (error["code"], error["event"]) == ("timeout", "request_all_prices")
            assert client.wait("onError", code="timeout")["event"] == "request_all_prices"
            pending = client.begin(call="getServerStats", args=[{"timeout": 0}])
        assert client.result(pending)["connected_clients"] == 1  # without a limit, the answer arrives when the hub continues
        client.call("subscribe", "EUR_USD")
        publish(bus, 1)
        client.wait("onPriceUpdate", seq=1)  # a client that has no position cannot resume
        with stopped_group(hub.pid):
            pending = client.begin(call="getSubscriptions", args=[])
            client.call("disconnect")
        with pytest.raises(Rejected, match="disconnected"):
            client.result(pending)
        publish(bus, 5)
        client.call("connect")  # resumes
        client.wait("onPriceUpdate", seq=6)
        assert client.seqs()[-5:] == [2, 3, 4, 5, 6]
        assert client.bodies("onGap") == []


def test_unreachable_hub_rejects_connect_with_a_readable_cause() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts connections and never answers
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with FxNode(url, attemptTimeout=300) as client:
            error = rejected(client, "connect", {"timeout": 1500})
            assert (error["code"], error["details"]["cause"]) == ("timeout", "unreachable")
            assert error["message"] == f"No hub answers at {url} within 0.3 s."
            assert len(client.bodies("onError")) > 1
            assert client.end() == 0
    with FxNode(url, reconnection=False) as client:
        error = rejected(client, "connect")
        assert (error["code"], error["message"]) == ("unreachable", f"Cannot reach the hub at {url}: nothing listens there.")
        assert client.wait("onError")["details"]["retry_in_ms"] is None


def test_connect_to_a_full_hub_fails_until_it_has_room(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    with (
        Web("hub", settings, tmp_path / "hub.log", WEBSOCKET_MAX_CLIENTS="1") as hub,
        FxNode(hub.url) as first,
        FxNode(hub.url, transports=["polling"]) as second,
    ):
        first.call("connect")
        error = rejected(second, "connect", {"timeout": 400})
        assert (error["code"], error["details"]["cause"], error["details"]["max_clients"]) == ("timeout", "server_full", 1)
        details = second.wait("onError", code="server_full")["details"]
        assert 5 <= details["retry_after"] <= 15
        assert 1 <= details["retry_in_ms"] / (details["retry_after"] * 1000) <= 1.251  # a quarter of it is jitter
        first.call("disconnect")
        assert second.call("connect")["client_id"]


def test_throwing_handler_loses_no_message(shared_client: FxNode, shared_bus: Bus) -> None:
    client, pair = shared_client, "NZD_USD"
    client.result(client.begin(throw="onPriceUpdate"))
    client.call("subscribe", pair)
    publish(shared_bus, 3, pair)
    client.wait("onPriceUpdate", 3)
    until(lambda: client.bodies("uncaught") == ["onPriceUpdate threw"] * 3)
    assert client.seqs(pair) == [1, 2, 3]
    assert client.bodies("onDisconnect") == []


# losses


class Flow:
    """Publishes `INSTRUMENTS` continuously.

    During an outage, a client misses at most `AWAY` prices of each: the hub can replay that many.
    """

    AWAY = 700

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.last = 0  # last published seq, equal for both
        self._most: float = float("inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Flow:
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            if self.last < self._most:
                for instrument in INSTRUMENTS:
                    self.last = publish(self._bus, 1, instrument)[0]

    @contextmanager
    def away(self, clients: Sequence[FxNode]) -> Iterator[None]:
        """Limit the number of prices that the clients miss during the block, an outage of the hub.

        They begin it with all prices so far: a client that is behind would miss more.
        """
        self._most = self.last
        for client in clients:
            for instrument in INSTRUMENTS:
                until(partial(self._has_all, client, instrument), 60, "a client that is not behind")
        self._most = self.last + self.AWAY
        yield
        self._most = float("inf")

    def _has_all(self, client: FxNode, instrument: str) -> bool:
        return client.seqs(instrument)[-1:] == [self.last]

    def await_more(self, count: int) -> None:
        goal = self.last + count
        until(lambda: self.last >= goal, 60, "more prices")

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_restart_of_the_hub_under_load_loses_no_message(hub: Web, bus: Bus, number: signal.Signals) -> None:
    with FxNode(hub.url) as one, FxNode(hub.url, transports=["polling"]) as two, Flow(bus) as flow:
        clients = [one, two]
        for client in clients:
            client.call("connect")
            client.call("subscribe", INSTRUMENTS)
            client.wait("onPriceUpdate", 20)
        for turn in range(2 if number is signal.SIGKILL else 1):
            with flow.away(clients):
                if number is signal.SIGKILL:
                    hub.kill()
                else:
                    hub.ask_to_stop()
                for client in clients:
                    client.wait("onDisconnect", turn + 1)
                flow.await_more(50)
                hub.start()
                for client in clients:
                    client.wait("onSubscriptionConfirmed", turn + 2)
            flow.await_more(30)
        flow.__exit__()
        for client in clients:
            for instrument in INSTRUMENTS:
                client.wait("onPriceUpdate", instrument=instrument, seq=flow.last)
                assert breaks(client.seqs(instrument)) == []
            assert client.bodies("onGap") == []
            assert sum(body["replayed"] for body in client.bodies("onPriceUpdate")) >= 100
            if number is signal.SIGTERM:
                retry_after = client.wait("onError", code="unavailable")["details"]["retry_after"] * 1000
                # The client waits for the time that the hub requested.
                assert retry_after - 1 <= client.bodies("onDisconnect")[0]["retryInMs"] <= 1.25 * retry_after + 1


def test_request_during_an_outage_is_answered_after_it(client: FxNode, hub: Web, bus: Bus) -> None:
    hub.kill()
    client.wait("onDisconnect")
    asked = [client.begin(call=method, args=args) for method, args in (("subscribe", ["EUR_USD"]), ("getSubscriptions", []), ("ping", []))]
    hub.start()
    confirmed, held, _ = [client.result(number) for number in asked]
    assert confirmed["added"] == held["pairs"] == ["EUR_USD"]
    publish(bus, 1)
    client.wait("onPriceUpdate")


def test_data_loss_of_redis_is_a_gap_live_and_during_an_outage(client: FxNode, hub: Web, bus: Bus, raw_redis: redis_client.Redis) -> None:
    client.call("subscribe", "EUR_USD")
    publish(bus, 5)
    before = client.wait("onPriceUpdate", seq=5)["epoch"]
    raw_redis.flushall()
    publish(bus, 2)
    now = client.wait("onPriceUpdate", seq=2, epoch=client.wait("onGap")["to"]["epoch"])["epoch"]
    assert client.bodies("onGap") == [
        {
            "event": "price_update", "instrument": "EUR_USD", "topic": "EUR_USD", "from": {"epoch": before, "seq": 5},
            "to": {"epoch": now, "seq": 1}, "missed": None, "reason": "epoch",
        }
    ]  # fmt: skip
    hub.kill()
    raw_redis.flushall()
    publish(bus, 3)
    hub.start()
    gap = client.wait("onGap", 2)
    assert (gap["from"], gap["to"]["seq"], gap["reason"]) == ({"epoch": now, "seq": 2}, 3, "epoch")
    publish(bus, 1)
    client.wait("onPriceUpdate", seq=4, epoch=gap["to"]["epoch"])
    assert client.seqs() == [1, 2, 3, 4, 5, 1, 2, 3, 4]  # the snapshot after the gap, then the next price
    order = [name for name, _ in client.received if name in ("onGap", "onPriceUpdate")]
    assert order == ["onPriceUpdate"] * 5 + ["onGap"] + ["onPriceUpdate"] * 2 + ["onGap"] + ["onPriceUpdate"] * 2


def test_outage_longer_than_the_memory_of_the_hub_is_a_gap(client: FxNode, hub: Web, bus: Bus) -> None:
    client.call("subscribe", ["EUR_USD", "GBP_USD"])
    publish(bus, 1)
    client.wait("onPriceUpdate", seq=1)
    hub.kill()
    publish(bus, 1500)
    publish(bus, 5, "GBP_USD")  # which had no price at the subscription
    hub.start()
    gap = client.wait("onGap")
    assert (gap["instrument"], gap["from"]["seq"], gap["to"]["seq"], gap["missed"]) == ("EUR_USD", 1, 1501, 1499)
    assert gap["reason"] == "not_recovered"
    client.wait("onPriceUpdate", instrument="GBP_USD", seq=5)
    assert client.seqs() == [1, 1501]
    assert client.seqs("GBP_USD") == [1, 2, 3, 4, 5]
    assert len(client.bodies("onGap")) == 1


def test_subscribe_since_positions_of_another_client_resumes_after_them(shared_client: FxNode, shared_hub: Web, shared_bus: Bus) -> None:
    client, bus, pair = shared_client, shared_bus, "EUR_GBP"
    client.call("subscribe", pair)
    publish(bus, 4, pair)
    client.wait("onPriceUpdate", seq=4)
    positions = client.get("positions")
    client.call("disconnect")
    publish(bus, 3, pair)
    with FxNode(shared_hub.url) as other:
        other.call("connect")
        until(lambda: other.call("requestPrice", pair)["seq"] == 7)
        assert other.call("subscribe", pair, {"since": positions})["recovered"] == {pair: True}
        assert other.seqs(pair) == [5, 6, 7]  # delivered before the promise resolves
        assert other.call("subscribe", pair, {"since": positions})["added"] == []
        publish(bus, 1, pair)
        other.wait("onPriceUpdate", seq=8)
        assert other.seqs(pair) == [5, 6, 7, 8]


def test_slow_reader_receives_the_exact_number_of_missed_prices(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    small = Web("hub", settings, tmp_path / "hub.log", OUTBOX_LIMIT_BYTES="65536")
    with small as hub, FxNode(hub.url) as client, FxNode(hub.url) as healthy:
        for each in (client, healthy):
            each.call("connect")
        client.call("subscribe", "EUR_USD")
        published = 0
        with stopped(client.pid):
            while healthy.stats()["messages_conflated"] == 0:
                published = publish(bus, 500)[-1]
        client.wait("onPriceUpdate", seq=published, seconds=60)
        notice = client.wait("onGapNotice")
        assert notice["reason"] == "slow_consumer"
        gaps = client.bodies("onGap")
        assert sum(gap["missed"] for gap in gaps) == notice["dropped"]["EUR_USD"] == published - len(client.seqs())
        assert client.seqs() == sorted(set(client.seqs()))
