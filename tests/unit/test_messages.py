"""Bytes from the bus are an unchanged message or a `BadMessage` with its kind."""

from __future__ import annotations

import copy
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.hub.channels import CHANNELS, MAX_MESSAGE_BYTES
from api.hub.messages import BadMessage, decode
from api.hub.schemas.quick_checks import is_plain_book, is_plain_candle, is_plain_price, is_plain_price_body, is_plain_snapshot
from db import topics
from db.intervals import INTERVALS
from db.timestamps import parse_time
from tests.support import hub_books

KNOWN = frozenset({"EUR_USD", "GBP_USD"})
PRICE = {"bid": "1.0945", "ask": "1.0947", "mid": "1.0946", "time": "2025-11-18T12:30:00Z"}
CANDLE = {
    "start_time": "2025-11-18T12:30:00Z", "end_time": "2025-11-18T12:31:00Z",
    "open": "1.0945", "high": "1.0947", "low": "1.0944", "close": "1.0946", "volume": "12", "complete": False,
}  # fmt: skip
BOOK = {**hub_books.snapshot(4, 5, "EUR_USD"), "timestamp": "2025-11-18T12:30:00Z", "seq": 7, "epoch": "e"}
BOOK_UPDATE = {name: value for name, value in BOOK.items() if name not in ("state", "reason", "complete")}
DECIMALS = ("open", "high", "low", "close", "volume")
# channel -> a message with the required fields only
LEAST: dict[str, dict[str, Any]] = {
    topics.PRICES: {"instrument": "EUR_USD", "price": PRICE},
    topics.VOLATILITY_ALERTS: {"instrument": "EUR_USD", "volatility": 0.03, "severity": "warning"},
    topics.CORRELATION_ALERTS: {"instrument1": "EUR_USD", "instrument2": "GBP_USD", "correlation": -0.5},
    topics.DATA_READY: {"data_type": "volatility"},
    topics.CANDLES: {"instrument": "EUR_USD", "interval": "1m", "candle": CANDLE},
    topics.METRICS: {
        "timestamp": "2025-11-18T12:30:00Z", "seq": 3, "epoch": "f", "numbers": {"strategy": '{"a":1.0}'}, "strings": {"strategy": "{}"},
    },
    topics.OBSERVABILITY_EVENTS: {
        "event_id": "1", "event_type": "trade_executed", "timestamp": "2025-11-18T12:30:00Z", "source": "mm-1", "metadata": {},
    },
    topics.BOOKS: {"update": BOOK_UPDATE, "snapshot": BOOK, "meta": {}},
    topics.BOOK_STATES: {**hub_books.state("EUR_USD", "gap", "live", "missing_update"), "timestamp": "2025-11-18T12:30:00Z"},
    topics.HEARTBEATS: {**hub_books.heartbeat({"EUR_USD": "live"}), "timestamp": "2025-11-18T12:30:00Z"},
    topics.SCENARIO_CHANGES: {"previous_scenario": "stable-mode", "current_scenario": "burst-mode", "run_id": "1"},
}  # fmt: skip
# channel -> topic and rooms of that message
GOES_TO = {
    topics.PRICES: ("EUR_USD", ("price_EUR_USD",)),
    topics.VOLATILITY_ALERTS: ("EUR_USD", ("price_EUR_USD", "alerts")),
    topics.CORRELATION_ALERTS: ("EUR_USD|GBP_USD", ("price_EUR_USD", "price_GBP_USD", "alerts")),
    topics.DATA_READY: ("volatility", ()),
    topics.CANDLES: ("EUR_USD|1m", ("candle_EUR_USD_1m",)),
    topics.METRICS: ("", ("metrics",)),
    topics.OBSERVABILITY_EVENTS: ("events", ("events",)),
    topics.BOOKS: ("EUR_USD|5", ("book_EUR_USD_5",)),
    topics.BOOK_STATES: ("EUR_USD", tuple(f"book_EUR_USD_{depth}" for depth in (5, 10, 20, 50))),
    topics.HEARTBEATS: ("heartbeat", ("heartbeat",)),
    topics.SCENARIO_CHANGES: ("scenario", ("heartbeat",)),
}
POSITIONLESS = topics.METRICS  # its `seq` and `epoch` are those of the observer
MAY_BE_EMPTY = ("metadata", "numbers", "strings", "meta", "books")
MAY_BE_NULL = ("update", "previous", "update_id", "expected_id", "received_id", "previous_scenario")
# Messages of books are cut as bytes, and their bodies have the position.
FLAT = [channel for channel in topics.relayed() if channel != topics.BOOKS]
NO_DECIMALS = (1.5, 1, None, "", "-1", "+1", "1e3", " 1", "1 ", "1.", ".5", "NaN", "1,5", "٣", "1" * 25)
channels = st.sampled_from(topics.relayed())
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def kind(channel: str, body: object) -> str:
    """Return the kind of the `BadMessage`; fail if the message is good."""
    refused = None
    try:
        decode(channel, body if isinstance(body, bytes) else orjson.dumps(body), KNOWN)
    except BadMessage as error:
        refused = error
    assert refused is not None, f"{channel} accepts {body!r:.300}"
    assert str(refused)
    return refused.kind


@pytest.mark.parametrize("channel", topics.relayed())
def test_minimal_message_goes_to_its_rooms(channel: str) -> None:
    body, row = orjson.dumps(LEAST[channel]), CHANNELS[channel]
    message = decode(channel, body, KNOWN)
    assert (message.channel, message.topic, message.rooms) == (channel, *GOES_TO[channel])
    assert (message.epoch, message.seq) == (("f", 3) if channel == POSITIONLESS else (None, 0))
    space = b"" if row.namespace == "/" else row.namespace.encode() + b","
    assert message.frame.packet == (b'42%s["%s",%s]' % (space, row.event.encode(), body) if row.broadcast else b"")
    conflates = channel in (topics.PRICES, topics.CANDLES, topics.HEARTBEATS)  # alerts are never conflated
    assert message.frame.key == (message.topic if conflates else None)


@pytest.mark.parametrize("channel", FLAT)
def test_seq_and_epoch_are_read_and_unknown_fields_are_kept(channel: str) -> None:
    body = orjson.dumps({**LEAST[channel], "seq": 7, "epoch": "e", "timestamp": "2025-11-18T12:30:00Z", "mine": [1, {"x": None}]})
    message = decode(channel, body, KNOWN)
    assert (message.seq, message.epoch, message.body) == (7, "e", body)


def test_bytes_of_a_message_are_unchanged() -> None:
    body = (
        b' {"price" : {"time":"2025-11-18T12:30:00Z","mid":"1.0","ask":"1.0","bid":"1.00","x":1e2},\n"instrument":"EUR_USD","y":"\\u00e9"} '
    )
    assert decode(topics.PRICES, body, KNOWN).body is body


MALFORMED = [
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
]


@pytest.mark.parametrize("channel", topics.relayed())
def test_malformed_message_is_refused_with_its_kind(channel: str) -> None:
    for body, expected in MALFORMED:
        assert kind(channel, body) == expected, body[:20]
    assert kind(channel, b" " * (CHANNELS[channel].max_bytes + 1)) == "too_large"


def test_message_of_the_maximum_size_is_accepted() -> None:
    body = orjson.dumps(LEAST[topics.PRICES])
    assert decode(topics.PRICES, body.ljust(MAX_MESSAGE_BYTES), KNOWN).topic == "EUR_USD"
    assert kind(topics.PRICES, body.ljust(MAX_MESSAGE_BYTES + 1)) == "too_large"


@pytest.mark.parametrize("channel", topics.relayed())
def test_message_without_a_required_field_is_refused(channel: str) -> None:
    for name in LEAST[channel]:
        assert kind(channel, {key: value for key, value in LEAST[channel].items() if key != name}) == "schema"
        wrong: object
        for wrong in (None, [], {}, True):
            if (wrong == {} and name in MAY_BE_EMPTY) or (wrong is None and name in MAY_BE_NULL):
                continue
            assert kind(channel, {**LEAST[channel], name: wrong}) == "schema"


VIOLATIONS: list[tuple[str, dict[str, Any]]] = [
    *((topics.PRICES, {"price": {**PRICE, name: bad}}) for name in ("bid", "ask", "mid") for bad in NO_DECIMALS),
    *((topics.PRICES, {"price": {**PRICE, "time": bad}}) for bad in ("yesterday", 5, "", "0001-01-01T00:00:00+01:00")),
    *((topics.METRICS, {"strings": {"strategy": bad}}) for bad in ("", "[]", "{", '{"a":NaN}', 5, None)),
    (topics.METRICS, {"seq": -1}),
    (topics.OBSERVABILITY_EVENTS, {"timestamp": "now"}),
    (topics.VOLATILITY_ALERTS, {"severity": "mild"}),
    (topics.VOLATILITY_ALERTS, {"volatility": "high"}),
    (topics.CORRELATION_ALERTS, {"correlation": None}),
    (topics.DATA_READY, {"data_type": ""}),
    (topics.DATA_READY, {"instruments": "EUR_USD"}),
    (topics.DATA_READY, {"as_of": "soon"}),
    *((topics.DATA_READY, {"timestamp": bad}) for bad in (5, "", None)),
    *((topics.PRICES, {"epoch": "e", "seq": bad}) for bad in (0, -1, 1.5, "1", True, 2**53 + 1)),
    *((topics.PRICES, {"epoch": bad, "seq": 1}) for bad in ("", 5, "x" * 65)),
    *((topics.CANDLES, {"interval": bad}) for bad in ("2m", "", "1M", 60, ["1m"])),
    *((topics.CANDLES, {"candle": {**CANDLE, name: bad}}) for name in DECIMALS for bad in NO_DECIMALS),
    *((topics.CANDLES, {"candle": {**CANDLE, name: bad}}) for name in ("start_time", "end_time") for bad in ("soon", 5, None)),
    *((topics.CANDLES, {"candle": {**CANDLE, "complete": bad}}) for bad in (0, 1, "true", None)),
    *((topics.CANDLES, {"candle": {**CANDLE, "trades": bad}}) for bad in (-1, 1.5, "1", True)),
    *((topics.CANDLES, {"candle": {key: value for key, value in CANDLE.items() if key != name}}) for name in CANDLE),
    (topics.PRICES, {"seq": 1}),  # one without the other has no position
    (topics.PRICES, {"epoch": "e"}),
]


def test_field_that_violates_the_schema_is_refused() -> None:
    for channel, change in VIOLATIONS:
        assert kind(channel, {**LEAST[channel], **change}) == "schema", (channel, change)


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("more", [{}, {"trades": 0}, {"trades": None}, {"complete": True, "vwap": "1.0946"}])
def test_candle_of_any_interval_goes_to_its_room(interval: str, more: dict[str, object]) -> None:
    body = orjson.dumps({"instrument": "GBP_USD", "interval": interval, "candle": {**CANDLE, **more}, "seq": 3, "epoch": "e"})
    message = decode(topics.CANDLES, body, KNOWN)
    assert (message.topic, message.rooms) == (f"GBP_USD|{interval}", (f"candle_GBP_USD_{interval}",))
    assert (message.body, message.seq) == (body, 3)
    assert message.starts == parse_time("2025-11-18T12:30:00Z")


@pytest.mark.parametrize("name", ["instrument", "instrument1", "instrument2"])
def test_unknown_instrument_is_refused(name: str) -> None:
    for channel, least in LEAST.items():
        if name in least:
            assert kind(channel, {**least, name: "XXX_YYY"}) == "unknown_instrument"


@given(channels, st.binary() | anything.map(orjson.dumps))
def test_arbitrary_bytes_are_a_message_or_bad(channel: str, body: bytes) -> None:
    try:
        decode(channel, body, KNOWN)
    except BadMessage as error:
        assert error.kind in {"too_large", "not_json", "not_an_object", "schema", "unknown_instrument"}  # noqa: PT017 - both are correct


@given(st.data(), channels)
def test_message_with_one_arbitrary_field_is_a_message_or_bad(data: st.DataObject, channel: str) -> None:
    """Replace or add one field at any depth, which random bytes never achieve."""
    more = {"seq": 1, "epoch": "e", "timestamp": "2025-11-18T12:30:00Z", "as_of": "2025-11-18T12:30:00Z"}
    body = copy.deepcopy(LEAST[channel]) | (more if channel in FLAT else {})
    target = data.draw(st.sampled_from([body, *(value for value in body.values() if isinstance(value, dict) and value)]))
    target[data.draw(st.sampled_from(sorted(target)) | st.text())] = data.draw(anything)
    raw = orjson.dumps(body)
    try:
        message = decode(channel, raw, KNOWN)
    except BadMessage:
        return
    assert message.body == raw
    prefix = {topics.CANDLES: "candle", topics.BOOKS: "book", topics.BOOK_STATES: "book"}.get(channel, "price")
    others = ("metrics", "events", "heartbeat", "alerts")
    assert all(room.startswith((f"{prefix}_EUR_USD", f"{prefix}_GBP_USD", *others)) for room in message.rooms)
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
            "2025-W47-2T12:00:00Z",
            "20251118T123000Z",
            "2025-11-18T12Z",
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
def test_price_accepted_by_the_fast_path_is_valid(price: object, rest: dict[str, object]) -> None:
    good_price = {"bid": "1", "ask": "1", "mid": "1", "time": "2025-11-18T12:30:00Z"}
    good = {"instrument": "EUR_USD", "timestamp": "2025-11-18T12:30:00Z", "seq": 1, "epoch": "e"}
    assert is_plain_price({**good, "price": good_price})
    data = {**good, **rest, "price": {**good_price, **price} if isinstance(price, dict) else price}
    if is_plain_price(data):
        assert CHANNELS[topics.PRICES].schema.validate(data) == {}


@given(
    price=st.fixed_dictionaries({}, optional=dict.fromkeys(("bid", "ask", "mid", "time", "more"), ODD)) | ODD,
    rest=st.fixed_dictionaries({}, optional=dict.fromkeys(("timestamp", "seq", "epoch", "more"), ODD)),
    damage=st.none() | st.tuples(st.integers(0, 300), st.integers(0, 3), st.binary(max_size=3)),
)
def test_price_body_accepted_by_the_fast_path_is_valid(
    price: object, rest: dict[str, object], damage: tuple[int, int, bytes] | None
) -> None:
    good_price = {name: PRICE[name] for name in ("bid", "ask", "mid", "time")}
    good = {"instrument": "EUR_USD", "price": good_price, "timestamp": "2025-11-18T12:30:00Z", "seq": 1, "epoch": "e"}
    assert is_plain_price_body(orjson.dumps(good))
    data = {**good, "price": {**good_price, **price} if isinstance(price, dict) else price, **rest}
    body = json.dumps(data, separators=(",", ":")).encode()  # orjson refuses large integers
    if damage is not None:
        at, length, put = damage
        body = body[:at] + put + body[at + length :]
    if is_plain_price_body(body) and body.startswith(b'{"instrument":"EUR_USD"'):
        assert CHANNELS[topics.PRICES].schema.validate(orjson.loads(body)) == {}
        assert list(orjson.loads(body)) == ["instrument", "price", "timestamp", "seq", "epoch"]


@pytest.mark.parametrize("day", ["2025-02-29", "2025-13-01", "0000-01-01"])
@pytest.mark.parametrize("place", ["price", "timestamp"])
def test_price_body_of_a_day_that_does_not_exist_is_not_accepted(day: str, place: str) -> None:
    times = {"price": PRICE["time"], "timestamp": PRICE["time"], place: f"{day}T12:30:00Z"}
    price = {**{name: PRICE[name] for name in ("bid", "ask", "mid")}, "time": times["price"]}
    assert not is_plain_price_body(
        orjson.dumps({"instrument": "EUR_USD", "price": price, "timestamp": times["timestamp"], "seq": 1, "epoch": "e"})
    )


CANDLE_FIELDS = [("candle", name) for name in (*CANDLE, "trades", "more")]
HEAD_FIELDS = [("", name) for name in ("instrument", "interval", "candle", "timestamp", "seq", "epoch", "more")]
GOOD_CANDLE = {"instrument": "EUR_USD", "interval": "1h", "timestamp": "2025-11-18T12:30:00Z", "seq": 1, "epoch": "e", "candle": CANDLE}


def changed(changes: dict[tuple[str, str], object]) -> dict[str, Any]:
    """Return a good candle's message with changed fields, of the candle or of the message."""
    candle = {**CANDLE, **{name: value for (part, name), value in changes.items() if part}}
    return {**GOOD_CANDLE, "candle": candle, **{name: value for (part, name), value in changes.items() if not part}}


@given(st.dictionaries(st.sampled_from([*CANDLE_FIELDS, *HEAD_FIELDS]), ODD, max_size=2))
@settings(max_examples=150)
def test_candle_accepted_by_the_fast_path_is_valid(changes: dict[tuple[str, str], object]) -> None:
    data = changed(changes)
    if is_plain_candle(data):
        assert CHANNELS[topics.CANDLES].schema.validate(data) == {}


def test_fast_path_accepts_published_candles_and_refuses_each_fault() -> None:
    assert is_plain_candle(GOOD_CANDLE)
    for trades in (None, 0, 5):
        assert is_plain_candle(changed({("candle", "trades"): trades}))
    bad: dict[str, tuple[object, ...]] = {
        **dict.fromkeys(DECIMALS, NO_DECIMALS),
        **dict.fromkeys(("start_time", "end_time"), ("soon", 5, None, "")),
        "complete": (0, 1, "true", None),
        "trades": (-1, 1.5, "1", True),
    }
    for name, values in bad.items():
        assert not any(is_plain_candle(changed({("candle", name): value})) for value in values), name
    for name in CANDLE:
        assert not is_plain_candle({**GOOD_CANDLE, "candle": {key: value for key, value in CANDLE.items() if key != name}})


GOOD_SNAPSHOT = {
    "timestamp": "2025-11-18T12:30:00.000000Z",
    "seq": 1,
    "epoch": "e",
    "numbers": {"system": "{}"},
    "strings": {"system": "{}"},
}
SECTION_TEXTS = st.dictionaries(
    st.text(max_size=5), st.sampled_from(["{}", '{"a":1.10}', "[]", "", "{", '{"a":NaN}', "null", 1, None]), max_size=3
)


@given(st.dictionaries(st.sampled_from([*GOOD_SNAPSHOT, "more"]), ODD | SECTION_TEXTS, max_size=2))
@settings(max_examples=150)
def test_snapshot_accepted_by_the_fast_path_is_valid(changes: dict[str, object]) -> None:
    assert is_plain_snapshot(GOOD_SNAPSHOT)
    data = {**GOOD_SNAPSHOT, **changes}
    if is_plain_snapshot(data):
        assert CHANNELS[topics.METRICS].schema.validate(data) == {}


BOOK_TEXTS = st.sampled_from(["1.5", "0", "", ".", "1.", ".5", "1.2.3", "1e5", "-1", "٣", "1" * 25, "1," * 3, '1"', " 1"])
BOOK_LEVELS = st.lists(st.lists(BOOK_TEXTS | ODD, max_size=3) | BOOK_TEXTS | ODD, max_size=3)
WINDOWS = st.fixed_dictionaries({}, optional=dict.fromkeys(("bids", "asks", "from", "to", "more"), ODD | BOOK_TEXTS))


@given(
    st.dictionaries(st.sampled_from([*BOOK, "more"]), ODD | BOOK_LEVELS | WINDOWS, max_size=2),
    st.dictionaries(st.sampled_from([*BOOK_UPDATE, "more"]), ODD | BOOK_LEVELS, max_size=2) | ODD,
    st.booleans(),
)
@settings(max_examples=150)
def test_book_accepted_by_the_fast_path_is_valid(snapshot: dict[str, object], update: object, both: bool) -> None:
    body = {**BOOK_UPDATE, **(snapshot if both else {}), **update} if isinstance(update, dict) else update
    data = {"update": body, "snapshot": {**BOOK, **snapshot}, "meta": {}}
    if is_plain_book(data):
        assert CHANNELS[topics.BOOKS].schema.validate(data) == {}


def test_fast_path_accepts_published_books_and_refuses_each_fault() -> None:
    for depth in topics.BOOK_DEPTHS:
        good = {**hub_books.snapshot(4, depth, "EUR_USD"), "timestamp": "2025-11-18T12:30:00Z", "seq": 7, "epoch": "e"}
        update = {name: value for name, value in good.items() if name not in ("state", "reason", "complete")}
        for each in (None, update, {**update, "bids": [], "asks": [["1", "0"]]}):
            assert is_plain_book({"update": each, "snapshot": good, "meta": {}})
    no_levels: tuple[object, ...] = ([], "12", ["1"], ["1", "2", "3"], [1, "2"], *([bad, "1"] for bad in NO_DECIMALS))
    no_sides: tuple[object, ...] = (None, {}, "", *([level] for level in no_levels))
    wrong: dict[str, tuple[object, ...]] = {
        **dict.fromkeys(("bids", "asks"), no_sides),
        **dict.fromkeys(("time", "timestamp"), ("soon", 5, None, "", "2025-02-30T12:00:00Z")),
        "depth": (7, 5.0, "5", None), "state": ("dead", None, 1), "reason": (None, 1), "update_id": (-1, 1.5, "1", None, True, 2**63),
        "checksum": (-1, 2**32, 1.0, None), "lag_ms": ("1", None, True), "seq": (0, 1.5, None), "epoch": ("", None, 5),
        "complete": (None, {}, {"bids": -1, "asks": 1, "from": None, "to": None}, {"bids": 1, "asks": 1, "from": "1e5", "to": None}),
    }  # fmt: skip
    for name, values in wrong.items():
        for value in values:
            assert not is_plain_book({"update": None, "snapshot": {**BOOK, name: value}, "meta": {}}), (name, value)
            if name in BOOK_UPDATE:
                assert not is_plain_book({"update": {**BOOK_UPDATE, name: value}, "snapshot": BOOK, "meta": {}}), (name, value)
    for name in BOOK:
        assert not is_plain_book({"update": None, "snapshot": {key: value for key, value in BOOK.items() if key != name}, "meta": {}})
