"""Events take tokens by the work that they cause: the table of the documentation."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api.access.model import Handshake, OpenAuthenticator
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import RuleIndex
from api.hub.events import CLIENT_EVENTS, Events
from api.hub.fanout import Fanout
from api.hub.topic_log import TopicLog
from api.hub.transport.limits.bucket import Allowance, Bucket
from api.hub.transport.outbox import Outbox
from tests.support.hub_books import no_books
from tests.unit.test_missed_prices import Owner

PAIRS = tuple(f"P{number:02}" for number in range(31))
INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
SERIES = [{"pair": pair, "interval": interval} for pair in PAIRS for interval in INTERVALS]
BOOKS = [{"pair": pair, "depth": depth} for pair in PAIRS for depth in (5, 10, 20, 50)]
# event, payload, tokens
TABLE: list[tuple[str, dict[str, Any], int]] = [
    ("subscribe", {"pairs": ["P01"]}, 1),
    ("subscribe", {"pairs": "P01"}, 1),
    ("subscribe", {"pairs": ["P01"] * 49}, 1),
    ("subscribe", {"pairs": ["P01"] * 50}, 2),
    ("subscribe", {"pairs": ["P01"] * 99}, 2),
    ("subscribe", {"pairs": ["P01"] * 25, "candles": SERIES[:25]}, 2),
    ("subscribe", {"pairs": "all"}, 1),
    ("subscribe", {"pairs": [{}] * 1000}, 21),
    ("subscribe", {"pairs": "all", "candles": SERIES}, 5),
    ("subscribe", {"books": BOOKS[:49]}, 1),
    ("subscribe", {"books": BOOKS[:50]}, 2),
    ("subscribe", {"pairs": "all", "candles": SERIES, "books": BOOKS}, 7),
    ("unsubscribe", {"books": "all"}, 3),
    ("unsubscribe", {"pairs": "all", "candles": "all", "books": "all", "heartbeat": True}, 7),
    ("subscribe", {"heartbeat": True}, 1),
    ("unsubscribe", {"pairs": "all", "candles": "all"}, 5),
    ("unsubscribe", {"pairs": ["P01"] * 1000}, 21),
    ("get_server_stats", {}, 5),
    ("ping", {}, 1),
    ("request_all_prices", {}, 1),
    ("get_subscriptions", {}, 1),
    ("list_alerts", {}, 1),
]


class Client:
    """A client of a hub without time: no token comes back."""

    def __init__(self, tokens: float) -> None:
        fanout = Fanout(lambda: 0.0, lambda seconds, function: None)
        alerts = AlertRequests(RuleIndex(), set(PAIRS), lambda series: None, "abc")
        self.events = Events(
            {"/": fanout}, TopicLog(), PAIRS, alerts, OpenAuthenticator(),
            books=no_books(), max_clients=1, ping_interval=25, ping_timeout=5, timestamp=lambda: "2025-11-18T12:00:00.000000Z", stats=dict,
        )  # fmt: skip
        self.bucket = Bucket(Allowance(50.0, tokens, lambda: 0.0))
        self.events.admit("client", Handshake("websocket", "127.0.0.1", {}))
        self.events.connected("client", Outbox(Owner(), 2**24), self.bucket)

    def ask(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        self.bucket.pay()
        data = self.events.answer("client", event, [payload])
        assert isinstance(data, bytes)
        answer: dict[str, Any] = orjson.loads(data)
        return answer


@pytest.mark.parametrize(("event", "payload", "tokens"), TABLE, ids=range(len(TABLE)))
def test_event_takes_its_tokens(event: str, payload: dict[str, Any], tokens: int) -> None:
    client = Client(tokens + 0.5)
    assert "code" not in client.ask(event, payload)
    assert client.ask("ping", {})["code"] == "too_many_requests"


@pytest.mark.parametrize(("event", "payload", "tokens"), [row for row in TABLE if row[2] > 1])
def test_event_without_its_tokens_is_refused_and_not_served(event: str, payload: dict[str, Any], tokens: int) -> None:
    client = Client(tokens - 0.5)
    answer = client.ask(event, payload)
    assert (answer["code"], answer["event"]) == ("too_many_requests", event)
    assert answer["details"]["retry_after"] >= 1
    assert client.events._fanouts["/"].rooms("client") == {}


def test_every_event_is_in_the_table_or_costs_one() -> None:
    large = {"pairs": ["P01"] * 1000, "candles": [], "books": [], "reports": [{}] * 500}
    dear = {row.name for row in CLIENT_EVENTS.values() if row.cost(large, 31) > 1}
    assert dear == {event for event, _, tokens in TABLE if tokens > 1} | {"report"}


@pytest.mark.parametrize(("reports", "tokens"), [(1, 1), (99, 1), (100, 2), (500, 6)])
def test_reports_cost_a_token_per_hundred(reports: int, tokens: int) -> None:
    assert CLIENT_EVENTS["/metrics", "report"].cost({"reports": [{}] * reports}, 31) == tokens


def test_refused_payload_takes_one_token() -> None:
    client = Client(2.5)
    assert client.ask("subscribe", {"pairs": ["P01"] * 1001})["code"] == "invalid_payload"
    assert "code" not in client.ask("ping", {})


def test_small_request_has_no_large_answer() -> None:
    """1,000 bad items show 20 of them, with a bounded part of each."""
    answer = Client(200).ask("subscribe", {"pairs": [{}] * 1000})
    assert (len(answer["rejected"]), answer["rejected_count"]) == (20, 1000)
    assert len(orjson.dumps(answer)) < 3000
