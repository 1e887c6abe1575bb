"""Bytes from the bus: a message, passed on as it is, or a `BadMessage` that says which kind. Never anything else."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.hub.messages import MOST_BYTES, BadMessage, decode, is_plain_price
from api.schemas.bus import SCHEMAS
from db import topics

KNOWN = frozenset({"EUR_USD", "GBP_USD"})
PRICE = {"bid": "1.0945", "ask": "1.0947", "mid": "1.0946", "time": "2025-11-18T12:30:00Z"}
# channel -> a message of it with nothing that could be left out
LEAST: dict[str, dict[str, Any]] = {
    topics.PRICES: {"instrument": "EUR_USD", "price": PRICE},
    topics.VOLATILITY_ALERTS: {"instrument": "EUR_USD", "volatility": 0.03, "severity": "warning"},
    topics.CORRELATION_ALERTS: {"instrument1": "EUR_USD", "instrument2": "GBP_USD", "correlation": -0.5},
    topics.DATA_READY: {"data_type": "volatility"},
}
# channel -> topic and rooms of that message
GOES_TO = {
    topics.PRICES: ("EUR_USD", ("price_EUR_USD",)),
    topics.VOLATILITY_ALERTS: ("EUR_USD", ("price_EUR_USD",)),
    topics.CORRELATION_ALERTS: ("EUR_USD|GBP_USD", ("price_EUR_USD", "price_GBP_USD")),
    topics.DATA_READY: ("volatility", ()),
}
NO_DECIMALS = (1.5, 1, None, "", "-1", "+1", "1e3", " 1", "1 ", "1.", ".5", "NaN", "1,5", "٣", "1" * 25)
channels = st.sampled_from(topics.CHANNELS)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def kind(channel: str, body: object) -> str:
    """The kind of `BadMessage` that this is; fails where it is a good one."""
    with pytest.raises(BadMessage) as caught:
        decode(channel, body if isinstance(body, bytes) else orjson.dumps(body), KNOWN)
    assert str(caught.value)
    return caught.value.kind


@pytest.mark.parametrize("channel", topics.CHANNELS)
def test_the_least_message_goes_to_its_rooms(channel: str) -> None:
    body = orjson.dumps(LEAST[channel])
    message = decode(channel, body, KNOWN)
    assert (message.channel, message.topic, message.rooms, message.epoch, message.seq) == (channel, *GOES_TO[channel], None, 0)
    assert message.frame.packet == b'42["%s",%s]' % (topics.EVENTS[channel].encode(), body)
    assert message.frame.key == (message.topic if channel == topics.PRICES else None)  # prices may conflate, nothing else


@pytest.mark.parametrize("channel", topics.CHANNELS)
def test_seq_and_epoch_are_read_and_unknown_fields_travel_along(channel: str) -> None:
    body = orjson.dumps({**LEAST[channel], "seq": 7, "epoch": "e", "timestamp": "2025-11-18T12:30:00Z", "mine": [1, {"x": None}]})
    message = decode(channel, body, KNOWN)
    assert (message.seq, message.epoch, message.body) == (7, "e", body)


def test_the_bytes_are_not_touched() -> None:
    body = (
        b' {"price" : {"time":"2025-11-18T12:30:00Z","mid":"1.0","ask":"1.0","bid":"1.00","x":1e2},\n"instrument":"EUR_USD","y":"\\u00e9"} '
    )
    assert decode(topics.PRICES, body, KNOWN).body is body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "not_json"),
        (b"hello", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b'{"a":NaN}', "not_json"),
        (b"[" * 60_000, "not_json"),
        (b'{"a":' * 10_000, "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"5", "not_an_object"),
        (b"{}", "schema"),
        (b" " * (MOST_BYTES + 1), "too_large"),
    ],
)
@pytest.mark.parametrize("channel", topics.CHANNELS)
def test_what_is_no_message_of_any_channel(channel: str, body: bytes, expected: str) -> None:
    assert kind(channel, body) == expected


def test_the_largest_message_is_still_one() -> None:
    body = orjson.dumps(LEAST[topics.PRICES])
    assert decode(topics.PRICES, body.ljust(MOST_BYTES), KNOWN).topic == "EUR_USD"
    assert kind(topics.PRICES, body.ljust(MOST_BYTES + 1)) == "too_large"


@pytest.mark.parametrize("channel", topics.CHANNELS)
def test_every_field_of_the_least_message_is_needed(channel: str) -> None:
    for name in LEAST[channel]:
        assert kind(channel, {key: value for key, value in LEAST[channel].items() if key != name}) == "schema"
        wrong: object
        for wrong in (None, [], {}, True):
            assert kind(channel, {**LEAST[channel], name: wrong}) == "schema"


@pytest.mark.parametrize(
    ("channel", "change"),
    [
        *((topics.PRICES, {"price": {**PRICE, name: bad}}) for name in ("bid", "ask", "mid") for bad in NO_DECIMALS),
        *((topics.PRICES, {"price": {**PRICE, "time": bad}}) for bad in ("yesterday", 5, "", "0001-01-01T00:00:00+01:00")),
        (topics.VOLATILITY_ALERTS, {"severity": "mild"}),
        (topics.VOLATILITY_ALERTS, {"volatility": "high"}),
        (topics.CORRELATION_ALERTS, {"correlation": None}),
        (topics.DATA_READY, {"data_type": ""}),
        (topics.DATA_READY, {"instruments": "EUR_USD"}),
        (topics.DATA_READY, {"as_of": "soon"}),
        *((topics.DATA_READY, {"timestamp": bad}) for bad in (5, "", None)),
        *((topics.PRICES, {"epoch": "e", "seq": bad}) for bad in (0, -1, 1.5, "1", True, 2**53 + 1)),
        *((topics.PRICES, {"epoch": bad, "seq": 1}) for bad in ("", 5, "x" * 65)),
        (topics.PRICES, {"seq": 1}),  # one without the other would have no place
        (topics.PRICES, {"epoch": "e"}),
    ],
)  # fmt: skip
def test_fields_that_break_the_schema(channel: str, change: dict[str, Any]) -> None:
    assert kind(channel, {**LEAST[channel], **change}) == "schema"


@pytest.mark.parametrize("name", ["instrument", "instrument1", "instrument2"])
def test_an_instrument_that_nobody_knows(name: str) -> None:
    for channel, least in LEAST.items():
        if name in least:
            assert kind(channel, {**least, name: "XXX_YYY"}) == "unknown_instrument"


@given(channels, st.binary() | anything.map(orjson.dumps))
def test_arbitrary_bytes_are_a_message_or_a_bad_one(channel: str, body: bytes) -> None:
    try:
        decode(channel, body, KNOWN)
    except BadMessage as error:
        assert error.kind in {"too_large", "not_json", "not_an_object", "schema", "unknown_instrument"}  # noqa: PT017 - either will do


@given(st.data(), channels)
def test_a_message_with_anything_in_it_is_a_message_or_a_bad_one(data: st.DataObject, channel: str) -> None:
    """Nearer to the good ones than random bytes ever come: one field, at any depth, is replaced or added."""
    body = copy.deepcopy(LEAST[channel]) | {"seq": 1, "epoch": "e", "timestamp": "2025-11-18T12:30:00Z", "as_of": "2025-11-18T12:30:00Z"}
    target = data.draw(st.sampled_from([body, body["price"]] if channel == topics.PRICES else [body]))
    target[data.draw(st.sampled_from(sorted(target)) | st.text())] = data.draw(anything)
    raw = orjson.dumps(body)
    try:
        message = decode(channel, raw, KNOWN)
    except BadMessage:
        return
    assert message.body == raw
    assert set(message.rooms) <= {"price_EUR_USD", "price_GBP_USD"}
    assert isinstance(message.topic, str)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**60),
    st.floats(allow_nan=False),
    st.text(max_size=70),
    st.sampled_from(
        [
            "1.5",
            "0",
            "1e5",
            "-1",
            "٣",
            "2025-11-18T12:30:00Z",
            "2025-11-18",
            "2025-11-18T25:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "EUR_USD",
            "e",
        ]
    ),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "2025-11-18T12:30:00+01:00", "2025-11-18T12:30:00"]),
    st.lists(st.integers(), max_size=2),
)


@given(
    price=st.fixed_dictionaries({}, optional=dict.fromkeys(("bid", "ask", "mid", "time", "more"), ODD)) | ODD,
    rest=st.fixed_dictionaries({}, optional=dict.fromkeys(("instrument", "timestamp", "seq", "epoch", "more"), ODD)),
)
def test_whatever_the_short_way_accepts_the_schema_accepts(price: object, rest: dict[str, object]) -> None:
    good_price = {"bid": "1", "ask": "1", "mid": "1", "time": "2025-11-18T12:30:00Z"}
    good = {"instrument": "EUR_USD", "timestamp": "2025-11-18T12:30:00Z", "seq": 1, "epoch": "e"}
    assert is_plain_price({**good, "price": good_price})
    data = {**good, **rest, "price": {**good_price, **price} if isinstance(price, dict) else price}
    if is_plain_price(data):
        assert SCHEMAS[topics.PRICES].validate(data) == {}
