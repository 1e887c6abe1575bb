"""Unknown fields of requests are refused by name, in an answer that every client can read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api.errors import ErrorCode, Refusal
from api.hub.events import CLIENT_EVENTS, ClientEvent
from api.hub.schemas.requests import MAX_NAMED_FIELDS, load
from api.hub.transport.client_json import MAX_QUOTE_LENGTH
from tests.support.payloads import METRICS_PAYLOADS, PAYLOADS, payload_of

ROWS = list(CLIENT_EVENTS.values())


def refusal(row: ClientEvent, payload: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        load(row.request, [payload])
    assert caught.value.code == ErrorCode.INVALID_PAYLOAD
    return caught.value


def test_every_event_has_a_payload() -> None:
    assert {(row.namespace, row.name) for row in ROWS} == {
        *(("/", name) for name in PAYLOADS),
        *(("/metrics", name) for name in METRICS_PAYLOADS),
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_all_fields_of_the_contract_are_accepted(row: ClientEvent) -> None:
    payload = payload_of(row.namespace, row.name)
    assert set(payload) == set(row.request.fields)
    load(row.request, [payload])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_unknown_field_is_refused_with_the_known_names(row: ClientEvent) -> None:
    accepted = f"use {', '.join(row.request.fields)}" if row.request.fields else "this event takes none"
    for name in ("Pairs", "instruments", "_", ""):
        found = refusal(row, {**payload_of(row.namespace, row.name), name: 1})
        assert (str(found), found.details) == (f"Invalid {name}.", {name: [f"Unknown field: {accepted}."]})


def test_unknown_field_of_a_position_is_refused() -> None:
    row = CLIENT_EVENTS["/", "subscribe"]
    since = {"EUR_USD": {"epoch": "e", "seq": 1, "time": 5}}
    details = {"since": {"EUR_USD": {"value": {"time": ["Unknown field: use epoch, seq."]}}}}
    assert refusal(row, {"pairs": "all", "since": since}).details == details


@pytest.mark.parametrize("name", ["\ud83d", "x" * 100_000, "\0"])
def test_name_of_an_unknown_field_is_short_and_can_be_sent(name: str) -> None:
    found = refusal(CLIENT_EVENTS["/", "ping"], {name: 1})
    (shown,) = orjson.loads(orjson.dumps({"message": str(found), "details": found.details}))["details"]
    assert len(shown) <= MAX_QUOTE_LENGTH


def test_refusal_names_few_of_many_unknown_fields() -> None:
    found = refusal(CLIENT_EVENTS["/", "ping"], {f"field{number}": number for number in range(5000)})
    assert len(found.details) == MAX_NAMED_FIELDS


SINCE = {"EUR_USD": {"epoch": "e", "seq": 1}}


def test_equal_usual_subscriptions_are_checked_once() -> None:
    schema = CLIENT_EVENTS["/", "subscribe"].request
    first = load(schema, [{"pairs": ["EUR_USD"], "since": SINCE}])
    assert load(schema, [{"pairs": ["EUR_USD"], "since": SINCE}]) is first
    assert (first["pairs"], first["since"], first["candles"], first["max_rate"]) == (["EUR_USD"], SINCE, [], None)
    assert load(schema, [{"pairs": "EUR_USD", "since": SINCE}])["pairs"] == ["EUR_USD"]
    for number in range(200):  # more than are kept
        assert (
            load(schema, [{"pairs": ["EUR_USD"], "since": {"EUR_USD": {"epoch": "e", "seq": number}}}])["since"]["EUR_USD"]["seq"] == number
        )


@pytest.mark.parametrize(
    "other",
    [
        {"pairs": ["EUR_USD"], "since": {"EUR_USD": {"epoch": "e", "seq": 1.0}}},
        {"pairs": ["EUR_USD"], "since": {"EUR_USD": {"epoch": "e", "seq": True}}},
        {"pairs": ["EUR_USD"], "since": {"EUR_USD": {"epoch": "e", "seq": float("nan")}}},
        {"pairs": ["EUR_USD"], "since": {"EUR_USD": {"epoch": "e", "seq": 2**64}}},
        {"pairs": ["EUR_USD"], "since": {"EUR_USD": {"epoch": b"e", "seq": 1}}},
        {"pairs": ["EUR_USD"], "since": None},
        {"pairs": ["EUR_USD"], "since": SINCE, "max_rate": float("nan")},
        {"pairs": ["EUR_USD"], "since": SINCE, "x": 1},
        {"pairs": [], "since": SINCE},
        {"since": SINCE},
    ],
    ids=range(10),
)
def test_refused_subscription_is_no_known_one(other: dict[str, Any]) -> None:
    row = CLIENT_EVENTS["/", "subscribe"]
    load(row.request, [{"pairs": ["EUR_USD"], "since": SINCE}])
    refusal(row, other)


def test_pairs_of_another_type_are_judged_item_by_item() -> None:
    schema = CLIENT_EVENTS["/", "subscribe"].request
    for pairs in ([None], [float("nan")], ["EUR_USD", 1], ["EUR_USD", {"a": 1}]):
        assert load(schema, [{"pairs": pairs}])["pairs"] is pairs
