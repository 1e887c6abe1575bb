"""The rights of a client are effective at every event of the table of client events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from api.access.model import OBSERVE, OPEN, OPERATE, READ, REPORT, Handshake, OpenAuthenticator
from api.errors import ErrorCode, Refusal
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import RuleIndex
from api.hub.books.feed import BookFeed
from api.hub.events import CLIENT_EVENTS, MAIN, ClientEvent, Events
from api.hub.fanout import Fanout
from api.hub.messages import decode
from api.hub.topic_log import TopicLog
from api.hub.transport.limits.bucket import Allowance, Bucket
from api.hub.transport.outbox import Outbox
from db import topics
from tests.support import hub_books
from tests.support.hub_variants import RightsOfPayload
from tests.support.payloads import METRICS_PAYLOADS

NOON = "2025-11-18T12:00:00.000000Z"
PAIRS = ("EUR_USD", "GBP_USD")
FORBIDDEN, SECRET = "GBP_USD", "7.654321"  # an instrument that the client may not see, and its price
ALL_SCOPES, METRICS_SCOPES = {READ, OBSERVE}, {OBSERVE, REPORT, OPERATE}
SERIES = [{"pair": pair, "interval": "1m"} for pair in PAIRS]
BOOKS = [{"pair": pair, "depth": 20} for pair in PAIRS]
ALERT = {"instrument": FORBIDDEN, "metric": "price", "op": ">", "value": "1"}
# event -> payloads that name the forbidden instrument, or all of them
PAYLOADS: dict[str, list[dict[str, Any]]] = {
    "subscribe": [
        {"pairs": list(PAIRS), "since": {FORBIDDEN: {"epoch": "one", "seq": 0}}},
        {"pairs": "all", "candles": SERIES},
        {"pairs": FORBIDDEN, "max_rate": 1},
        {"books": BOOKS, "max_rate": 1},
    ],
    "unsubscribe": [{"pairs": list(PAIRS), "candles": SERIES}, {"pairs": "all", "candles": "all"}, {"books": BOOKS}],
    "get_subscriptions": [{}],
    "request_price": [{"instrument": FORBIDDEN}],
    "request_book": [{"instrument": FORBIDDEN, "depth": 20}],
    "request_all_prices": [{}],
    "get_server_stats": [{}],
    "ping": [{"timestamp": 1}],
    "set_alert": [ALERT],
    "list_alerts": [{}],
    "delete_alert": [{"id": "all"}],
    "refresh": [],  # tests/integration/test_live_rights.py: these authenticators know no caller
}
CASES = [(row, payload) for row in CLIENT_EVENTS.values() if row.namespace == MAIN for payload in PAYLOADS[row.name]]
IDS = [f"{row.name}-{number}" for number, (row, _) in enumerate(CASES)]


class Owner:
    def blocked(self) -> None:
        raise AssertionError

    queued = overflowed = broken = blocked


class Hub:
    """The hub's own parts with one client, and the bytes that the client received."""

    def __init__(
        self,
        authenticator: RightsOfPayload | OpenAuthenticator,
        auth: Mapping[str, Any] | None,
        stats: Callable[[], dict[str, Any]] = dict,
        namespace: str = MAIN,
    ) -> None:
        fanouts = {each: Fanout(lambda: 0.0, lambda seconds, function: function(), each) for each in (MAIN, "/metrics")}
        self.fanout = fanouts[namespace]
        self.log = TopicLog()
        alerts = AlertRequests(RuleIndex(), set(PAIRS), lambda series: None, "abc")
        self.books = BookFeed(hub_books.Kept(), PAIRS, 1.0, lambda: hub_books.BEGIN, lambda: 0.0)
        self.events = Events(
            fanouts, self.log, PAIRS, alerts, authenticator,
            books=self.books, max_clients=9, ping_interval=25, ping_timeout=5, timestamp=lambda: NOON, stats=stats,
        )  # fmt: skip
        for pair, mid in zip(PAIRS, ("1.1", SECRET), strict=True):
            self.price(pair, mid)
            self.candle(pair, mid)
            self.book(pair, mid)
        self.received = b""
        self.events.admit("client", Handshake("websocket", "127.0.0.1", {}, namespace, auth))
        box = Outbox(Owner(), 2**20)
        box.open(self._take)
        self.events.connected("client", box, Bucket(Allowance(50, 200, lambda: 0.0)))

    def _take(self, data: bytes) -> int:
        self.received += data
        return len(data)

    def relay(self, channel: str, body: dict[str, Any]) -> None:
        message = decode(channel, orjson.dumps({**body, "seq": 1, "epoch": "one"}), set(PAIRS))
        self.log.append(message, self.log.continuity(message))
        self.fanout.broadcast(message.rooms, message.frame)
        self.fanout.flush()

    def price(self, pair: str, mid: str) -> None:
        self.relay(topics.PRICES, {"instrument": pair, "price": {"bid": mid, "ask": mid, "mid": mid, "time": NOON}})

    def candle(self, pair: str, price: str) -> None:
        prices = dict.fromkeys(("open", "high", "low", "close"), price)
        candle = {"start_time": NOON, "end_time": "2025-11-18T12:01:00Z", **prices, "volume": "1", "complete": False}
        self.relay(topics.CANDLES, {"instrument": pair, "interval": "1m", "candle": candle})

    def book(self, pair: str, quantity: str) -> None:
        body = hub_books.raw(hub_books.message(1, 20, pair, starts=True, reason=quantity), 1)
        self.books.book(decode(topics.BOOKS, body, PAIRS))
        self.fanout.flush()

    def request(self, event: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        data = self.events.answer("client", event, [payload])
        assert isinstance(data, bytes)
        answer: dict[str, Any] = orjson.loads(data)
        return answer


def rights(scopes: set[str] = ALL_SCOPES, instruments: tuple[str, ...] = PAIRS[:1]) -> dict[str, Any]:
    return {"scopes": sorted(scopes), "instruments": list(instruments)}


def test_client_event_has_a_case_and_a_scope() -> None:
    assert set(PAYLOADS) == {name for namespace, name in CLIENT_EVENTS if namespace == MAIN}
    assert {key: row.scope for key, row in CLIENT_EVENTS.items() if row.scope != READ} == {
        (MAIN, "get_server_stats"): OBSERVE,
        (MAIN, "ping"): OPEN,
        (MAIN, "refresh"): OPEN,
        ("/metrics", "subscribe"): OBSERVE,
        ("/metrics", "unsubscribe"): OBSERVE,
        ("/metrics", "get_subscriptions"): OBSERVE,
        ("/metrics", "report"): REPORT,
        ("/metrics", "acknowledge_alert"): OPERATE,
        ("/metrics", "ping"): OPEN,
    }


@pytest.mark.parametrize("row", [row for row in CLIENT_EVENTS.values() if row.namespace != MAIN], ids=lambda row: row.name)
def test_request_in_metrics_without_the_scope_is_forbidden(row: ClientEvent) -> None:
    hub = Hub(RightsOfPayload(), rights(METRICS_SCOPES - {row.scope}), namespace="/metrics")
    answer = hub.request(row.name, METRICS_PAYLOADS[row.name])
    if row.scope == OPEN:
        assert "code" not in answer
    else:
        assert (answer["code"], answer["event"], answer["details"]) == ("forbidden", row.name, {"scope": [row.scope]})
        assert b'42/metrics,["error",' in hub.received
        assert hub.fanout.rooms("client") == {}


@pytest.mark.parametrize("scopes", [set(), {READ}])
def test_metrics_needs_one_of_its_scopes(scopes: set[str]) -> None:
    with pytest.raises(Refusal) as refusal:
        Hub(RightsOfPayload(), rights(scopes), namespace="/metrics")
    assert (refusal.value.code, refusal.value.details) == (ErrorCode.FORBIDDEN, {"scope": [OBSERVE, REPORT, OPERATE]})


@pytest.mark.parametrize("scope", sorted(METRICS_SCOPES))
def test_metrics_accepts_a_client_with_one_of_its_scopes(scope: str) -> None:
    hub = Hub(RightsOfPayload(), rights({scope}), namespace="/metrics")
    assert hub.received == b"", "there is no greeting"
    assert "code" not in hub.request("ping", {})


@pytest.mark.parametrize(("row", "payload"), CASES, ids=IDS)
def test_request_without_the_scope_is_forbidden(row: ClientEvent, payload: dict[str, Any]) -> None:
    hub = Hub(RightsOfPayload(), rights(ALL_SCOPES - {row.scope}, PAIRS))
    answer = hub.request(row.name, payload)
    if row.scope == OPEN:
        assert "code" not in answer
    else:
        assert (answer["code"], answer["event"], answer["details"]) == ("forbidden", row.name, {"scope": [row.scope]})
        assert b'42["%s"' % row.answer.encode() not in hub.received
        assert hub.fanout.rooms("client") == {}


@pytest.mark.parametrize(("row", "payload"), CASES, ids=IDS)
def test_forbidden_instrument_never_reaches_the_client(row: ClientEvent, payload: dict[str, Any]) -> None:
    hub = Hub(RightsOfPayload(), rights())
    answer = hub.request(row.name, payload)
    hub.price(FORBIDDEN, SECRET)
    hub.candle(FORBIDDEN, SECRET)
    hub.book(FORBIDDEN, SECRET)
    assert SECRET.encode() not in hub.received
    assert [room for room in hub.fanout.rooms("client") if FORBIDDEN in room] == []
    if row.name in ("request_price", "request_book", "set_alert"):
        assert (answer["code"], answer["details"]) == ("forbidden", {"instrument": ["No access."]})


@pytest.mark.parametrize(("row", "payload"), CASES, ids=IDS)
def test_request_with_all_rights_has_the_same_answer(row: ClientEvent, payload: dict[str, Any]) -> None:
    answer = Hub(OpenAuthenticator(), None).request(row.name, payload)
    assert "code" not in answer
    assert answer == Hub(RightsOfPayload(), rights(ALL_SCOPES, PAIRS)).request(row.name, payload)


def test_forbidden_instrument_of_a_list_is_rejected_alone() -> None:
    hub = Hub(RightsOfPayload(), rights())
    answer = hub.request("subscribe", {"pairs": [*PAIRS, "XXX_YYY"], "candles": SERIES})
    assert answer["added"] == ["EUR_USD"]
    assert answer["candles"] == SERIES[:1]
    message = f"You have no access to the instrument {FORBIDDEN!r}."
    assert answer["rejected"] == [
        {"pair": FORBIDDEN, "code": "forbidden", "message": message},
        {"pair": "XXX_YYY", "code": "unknown_instrument", "message": "There is no instrument 'XXX_YYY'."},
        {"pair": FORBIDDEN, "interval": "1m", "code": "forbidden", "message": message},
    ]
    assert hub.request("request_all_prices", {})["count"] == 1
    assert hub.request("subscribe", {"pairs": "all"})["pairs"] == ["EUR_USD"]


def test_bad_books_are_rejected_one_by_one() -> None:
    hub = Hub(RightsOfPayload(), rights(instruments=("EUR_*", "*_CHF")))
    bad: list[Any] = [
        {"pair": "EUR_USD", "depth": 7}, {"pair": "EUR_USD", "depth": "20"}, {"pair": "EUR_USD", "depth": True}, {"pair": "EUR_USD"},
        {"depth": 20}, {"pair": "EUR_USD", "depth": 20, "levels": 1}, "EUR_USD", None,
        {"pair": FORBIDDEN, "depth": 20}, {"pair": "XXX_YYY", "depth": 20},
    ]  # fmt: skip
    answer = hub.request("subscribe", {"books": [*bad, BOOKS[0], BOOKS[0]]})
    assert (answer["books"], answer["heartbeat"], answer["pairs"], answer["added"]) == (BOOKS[:1], False, [], [])
    assert [each["seq"] for each in answer["book_snapshot"]] == [1]
    rejected = answer["rejected"]
    assert [each["code"] for each in rejected] == ["invalid_payload"] * 8 + ["forbidden", "unknown_instrument"]
    assert rejected[0] == {"pair": "EUR_USD", "depth": 7, "code": "invalid_payload", "message": "A depth is one of 5, 10, 20, 50."}
    assert rejected[3]["depth"] is None
    assert rejected[6]["pair"] == "EUR_USD"
    assert hub.request("subscribe", {"books": [BOOKS[0]] * 1001})["code"] == "invalid_payload"
    assert hub.request("subscribe", {"books": []})["code"] == "invalid_payload"
    assert hub.request("unsubscribe", {"books": [*bad[:4], *bad[6:], BOOKS[0]]})["books"] == []


def test_instrument_without_a_book_is_no_book() -> None:
    hub = Hub(OpenAuthenticator(), None)
    hub.books.heartbeat(hub_books.heartbeat_message({"GBP_USD": "live"}))
    answer = hub.request("subscribe", {"books": BOOKS})
    assert [(each["pair"], each["depth"], each["code"]) for each in answer["rejected"]] == [("EUR_USD", 20, "no_book")]
    assert hub.request("request_book", {"instrument": "EUR_USD", "depth": 20})["code"] == "no_book"
    assert hub.request("request_book", {"instrument": "GBP_USD", "depth": 5})["code"] == "no_book", "this depth was not published yet"
    assert hub.request("request_book", {"instrument": "GBP_USD", "depth": 20})["seq"] == 1
    assert hub.request("request_book", {"instrument": "XXX_YYY", "depth": 20})["code"] == "unknown_instrument"
    for depth in (7, "20", True, None):
        answer = hub.request("request_book", {"instrument": "GBP_USD", "depth": depth})
        assert (answer["code"], list(answer["details"])) == ("invalid_payload", ["depth"])


@pytest.mark.parametrize(
    ("scopes", "payload", "needed"),
    [
        ({READ}, {"heartbeat": True}, "observe"),
        ({READ}, {"pairs": "all", "heartbeat": True}, "observe"),
        ({OBSERVE}, {"heartbeat": True}, None),
        ({OBSERVE}, {"books": BOOKS, "heartbeat": True}, "read"),
        ({READ}, {"books": BOOKS, "heartbeat": False}, None),
        (set(), {"heartbeat": False}, "read"),
    ],
)
def test_heartbeat_needs_observe_and_books_need_read(scopes: set[str], payload: dict[str, Any], needed: str | None) -> None:
    hub = Hub(RightsOfPayload(), rights(scopes, PAIRS))
    for event in ("subscribe", "unsubscribe"):
        answer = hub.request(event, payload)
        if needed is None:
            assert answer["heartbeat"] is (payload["heartbeat"] and event == "subscribe")
        else:
            assert (answer["code"], answer["event"], answer["details"]) == ("forbidden", event, {"scope": [needed]})
            assert hub.fanout.rooms("client") == {}


def test_unserialisable_answer_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours. Its second occurrence within a minute is counted and not logged."""
    hub = Hub(OpenAuthenticator(), None, stats=lambda: {"uptime_seconds": object()})
    for _ in range(2):
        assert hub.request("get_server_stats", {})["code"] == "internal"
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert "code" not in hub.request("ping", {"timestamp": 1})


def test_greeting_lists_the_permitted_instruments() -> None:
    assert b'"available_pairs":["EUR_USD"]' in Hub(RightsOfPayload(), rights()).received


def test_refused_client_is_not_admitted() -> None:
    hub = Hub(RightsOfPayload(), rights())
    with pytest.raises(Refusal) as refusal:
        hub.events.admit("second", Handshake("websocket", "127.0.0.1", {}))
    assert refusal.value.code is ErrorCode.UNAUTHORIZED
    with pytest.raises(KeyError):
        hub.events.answer("second", "ping", [])
