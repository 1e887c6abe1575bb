"""The AsyncAPI document is valid, and it describes the events of the hub."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from marshmallow import ValidationError

from api.asyncapi import answers, broadcasts, document, requests
from api.hub.channels import CHANNELS
from api.hub.events import CLIENT_EVENTS
from db import topics
from tests.examples.example import numbers, read_all

_SPECIFICATION = Path(__file__).parent.parent / "data" / "asyncapi" / "3.0.0.json.gz"
DOCUMENT = document("1.2.3", "127.0.0.1:5001")
SPACES = {"/": "", "/metrics": "metrics."}  # namespace -> prefix of its names
REQUESTS = {prefix + event: schema for space, prefix in SPACES.items() for event, schema in requests(space).items()}
ANSWERS = {prefix + event: schema for space, prefix in SPACES.items() for event, schema in answers(space).items()}
BROADCASTS = {prefix + event: receivers for space, prefix in SPACES.items() for event, receivers in broadcasts(space).items()}
# (file, message) of every captured message of the hub
CAPTURED = [
    (name, message)
    for name, example in read_all().items()
    if isinstance(example, list)
    for message in numbers(example)
    if message["event"] != "connect_error"
]
PRICE = {"instrument": "EUR_USD", "price": {"bid": "1.1", "ask": "1.2", "mid": "1.15", "time": "2025-11-18T12:30:00Z"}}
AT = {"EUR_USD": {"epoch": "b02494e1c361", "seq": 12}}
ALERT = {"instrument": "EUR_USD", "metric": "price", "op": ">", "value": "1.0945"}
GOOD: list[tuple[str, Any]] = [
    ("subscribe", {"pairs": "all"}),
    ("subscribe", {"pairs": ["EUR_USD", "NOPE"], "since": AT, "max_rate": 5}),
    ("subscribe", {"pairs": "EUR_USD", "max_rate": None}),
    ("subscribe", {"candles": [{"pair": "EUR_USD", "interval": "1m"}]}),
    ("unsubscribe", {"candles": "all"}),
    ("unsubscribe", {"pairs": ["EUR_USD"]}),
    ("get_subscriptions", {}),
    ("ping", {"timestamp": [1, None]}),
    ("set_alert", {**ALERT, "once": False}),
    ("set_alert", {**ALERT, "metric": "volatility", "value": 0.02}),
    ("delete_alert", {"id": "all"}),
    ("metrics.subscribe", {"channels": "all"}),
    ("metrics.subscribe", {"channels": ["strategy", "alerts", "events"], "max_rate": 2}),
    ("metrics.unsubscribe", {"channels": ["all"]}),
    ("metrics.get_subscriptions", {}),
    ("metrics.report", {"reports": [{"kind": "fill", "later": 1}]}),
    ("metrics.acknowledge_alert", {"alert_id": "system:disk:critical:1", "by": "ada", "comment": None}),
    ("metrics.ping", {}),
]
BAD: list[tuple[str, Any]] = [
    ("subscribe", {}),
    ("subscribe", {"pairs": []}),
    ("subscribe", {"pairs": 5}),
    ("subscribe", {"pairs": "all", "max_rate": 51}),
    ("subscribe", {"pairs": "all", "max_rate": "5"}),
    ("subscribe", {"pairs": "all", "since": {"EUR_USD": {"epoch": "e"}}}),
    ("subscribe", {"pairs": "all", "since": {"EUR_USD": {"epoch": "e", "seq": -1}}}),
    ("subscribe", {"pairs": "all", "since": {f"P{n}": {"epoch": "e", "seq": 1} for n in range(1001)}}),
    ("subscribe", {"candles": "all"}),
    ("subscribe", {"candles": []}),
    ("unsubscribe", {}),
    ("request_price", {}),
    ("request_price", {"instrument": 5}),
    ("set_alert", {**ALERT, "value": "-1"}),
    ("set_alert", {**ALERT, "value": 0}),
    ("set_alert", {**ALERT, "op": ">="}),
    ("set_alert", {**ALERT, "once": "yes"}),
    ("delete_alert", {}),
    ("subscribe", {"pairs": "all", "maxrate": 5}),
    ("subscribe", {"pairs": "all", "since": {"EUR_USD": {"epoch": "e", "seq": 1, "time": 1}}}),
    ("unsubscribe", {"pairs": "all", "pair": "EUR_USD"}),
    ("get_subscriptions", {"pairs": "all"}),
    ("request_price", {"instrument": "EUR_USD", "pair": "EUR_USD"}),
    ("request_all_prices", {"instrument": "EUR_USD"}),
    ("get_server_stats", {"verbose": True}),
    ("ping", {"time": 1}),
    ("set_alert", {**ALERT, "colour": "green"}),
    ("list_alerts", {"instrument": "EUR_USD"}),
    ("delete_alert", {"id": "all", "instrument": "EUR_USD"}),
    ("metrics.subscribe", {}),
    ("metrics.subscribe", {"channels": []}),
    ("metrics.subscribe", {"channels": ["prices"]}),
    ("metrics.subscribe", {"channels": "all", "max_rate": 0}),
    ("metrics.unsubscribe", {"channels": "all", "max_rate": 1}),
    ("metrics.report", {"reports": []}),
    ("metrics.report", {"reports": [{}] * 501}),
    ("metrics.report", {"reports": {}}),
    ("metrics.acknowledge_alert", {}),
    ("metrics.acknowledge_alert", {"alert_id": "", "by": "ada"}),
    ("metrics.acknowledge_alert", {"alert_id": "a", "by": "a" * 65}),
]


def of_document(event: str) -> Any:
    """Return the validator of the document for bodies of `event`."""
    name = DOCUMENT["components"]["messages"][event]["payload"]["$ref"]
    return jsonschema_rs.Draft7Validator({"$ref": name, "components": DOCUMENT["components"]})


def loads(event: str, body: Any) -> bool:
    """Return whether the marshmallow schema accepts the body."""
    schema = REQUESTS[event] if event in REQUESTS else ANSWERS[event]
    try:
        schema().load(body)
    except ValidationError:
        return False
    return True


def test_document_is_valid_by_the_specification() -> None:
    specification = jsonschema_rs.validator_for(json.loads(gzip.decompress(_SPECIFICATION.read_bytes())))
    assert [str(error) for error in specification.iter_errors(DOCUMENT)] == []
    wrong = [
        {**DOCUMENT, "asyncapi": "3"},
        {**DOCUMENT, "paths": {}},
        {**DOCUMENT, "operations": {"ping": {"action": "publish", "channel": {"$ref": "#/channels/hub"}}}},
    ]
    assert not any(specification.is_valid(each) for each in wrong)


def test_reference_of_the_document_has_a_target() -> None:
    found = list(references(DOCUMENT))
    assert len(found) > 100
    for reference in found:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for item in value.values() for each in references(item)]
    return [each for item in value for each in references(item)] if isinstance(value, list) else []


def test_tables_equal_those_of_the_hub() -> None:
    assert {SPACES[space] + name: type(row.request) for (space, name), row in CLIENT_EVENTS.items()} == REQUESTS
    assert {SPACES[row.namespace] + row.event for row in CHANNELS.values()} <= set(BROADCASTS)
    assert {SPACES[row.namespace] + row.answer for row in CLIENT_EVENTS.values()} | set(BROADCASTS) == set(ANSWERS)
    assert set(CHANNELS) == set(topics.relayed())


def test_event_is_an_operation_or_its_reply() -> None:
    operations = {name: each for name, each in DOCUMENT["operations"].items() if not name.startswith("books.")}
    assert {event: each["action"] for event, each in operations.items()} == {
        **dict.fromkeys(REQUESTS, "receive"),
        **dict.fromkeys(BROADCASTS, "send"),
    }
    for row in CLIENT_EVENTS.values():
        replies = [each["$ref"].rsplit("/", 1)[1] for each in operations[SPACES[row.namespace] + row.name]["reply"]["messages"]]
        assert replies == [row.answer, "error"]
    channels = {"/": "hub", "/metrics": "metrics"}
    described = {prefix + event for space, prefix in SPACES.items() for event in DOCUMENT["channels"][channels[space]]["messages"]}
    assert described == set(REQUESTS) | set(ANSWERS)


def test_messages_of_the_plain_socket_have_the_scopes_of_the_page() -> None:
    operations = {name: each for name, each in DOCUMENT["operations"].items() if name.startswith("books.")}
    assert {name.removeprefix("books."): each.get("x-scope") for name, each in operations.items() if each["action"] == "send"} == {
        "orderbook": "read", "heartbeat": "observe", "status": "observe", "alert": "observe", "gap_notice": "read", "error": None,
    }  # fmt: skip
    assert set(DOCUMENT["channels"]["books"]["messages"]) == {each.removeprefix("books.") for each in operations} | {"pong"}
    names = {"OrderbookLevel", "InternalOrderbook", "HeartbeatMessage", "ServerStatus", "WebSocketMessage"}
    assert names <= set(DOCUMENT["components"]["schemas"])


def test_field_of_the_document_has_a_description() -> None:
    """apispec describes a field of an unknown class as `{}`; only the echo of `ping` may be so."""
    empty = [
        f"{name}.{field}"
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for field, described in schema["properties"].items()
        if not described
    ]
    assert empty == ["Ping.timestamp"]


@pytest.mark.parametrize(("event", "body"), GOOD + BAD)
def test_request_is_valid_in_the_document_if_the_hub_accepts_it(event: str, body: Any) -> None:
    good = (event, body) in GOOD
    assert loads(event, body) is good
    assert of_document(event).is_valid(body) is good


def test_event_has_a_captured_message() -> None:
    captured = {key_of(message) for name, message in CAPTURED if name != "unknown_event"}
    assert captured == (set(REQUESTS) | set(ANSWERS)) - {"metrics.gap_notice"}, "this one is as in the main namespace"


def key_of(message: dict[str, Any]) -> str:
    return str(SPACES[message.get("namespace", "/")] + message["event"])


@pytest.mark.parametrize(("name", "message"), CAPTURED, ids=[f"{name}-{message['event']}" for name, message in CAPTURED])
def test_captured_message_is_valid_in_the_document(name: str, message: dict[str, Any]) -> None:
    event, body = key_of(message), message["body"]
    if message["from"] == "client" and name in ("invalid_payload", "unknown_event", "candles", "subscribe_books"):  # invalid on purpose
        assert event not in REQUESTS or not of_document(event).is_valid(body)
        return
    assert loads(event, body)
    assert of_document(event).is_valid(body)
    schema = DOCUMENT["components"]["messages"][event]["payload"]["$ref"].rsplit("/", 1)[1]
    for field in DOCUMENT["components"]["schemas"][schema].get("required", []):
        without = {key: value for key, value in body.items() if key != field}
        assert not loads(event, without)
        assert not of_document(event).is_valid(without)


def test_answer_with_new_fields_is_valid_and_numeric_price_is_not() -> None:
    assert of_document("pong").is_valid({"timestamp": 1, "server_time": "2025-11-18T12:30:00Z", "later": True})
    assert of_document("price_update").is_valid(PRICE)
    for wrong in (1.1, "-1.1", "1e3", "1.", ""):
        assert not of_document("price_update").is_valid({**PRICE, "price": {**PRICE["price"], "bid": wrong}})  # type: ignore[dict-item]
