"""Events with any values, through the decoding of both transports: answered, and the session stays.

The oracles are Python's json module and its decimal module; the hub reads with orjson first.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import product
from typing import Any

import orjson
import pytest
from flask import Flask
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from api.access.model import OpenAuthenticator
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import RuleIndex
from api.hub.assembly.transport import register_handlers
from api.hub.events import CLIENT_EVENTS, MAIN, Events
from api.hub.fanout import Fanout
from api.hub.topic_log import TopicLog
from api.hub.transport.eventlet_loop import make_socketio
from api.hub.transport.host import Limits
from api.hub.transport.socketio_server import ClientManager
from api.hub.transport.web.opening import opening_of
from api.hub.transport.wire import Opcode, Reader, WireError
from tests.conformance.websocket_client import frame
from tests.support.hub_books import no_books
from tests.support.payloads import PAYLOADS

NOON = "2025-11-18T12:00:00.000000Z"
PAIRS = ("EUR_USD", "GBP_USD")
HALF, PLACEHOLDER = "\ud83d", {"_placeholder": True, "num": 0}
TRANSPORTS = ["websocket", "polling"]
MAX_DEPTH = 16
# event -> a payload with every field that the event may have
FULL: dict[str, dict[str, Any]] = {
    **PAYLOADS,
    "unsubscribe": {"pairs": ["EUR_USD"], "candles": [{"pair": "EUR_USD", "interval": "1m"}]},
}
FIELDS = [(event, field) for event, payload in FULL.items() for field in payload or ("payload",)]


class _Hub:
    """The hub's own server without sockets: a client is a session whose outbox is read."""

    def __init__(self) -> None:
        manager = ClientManager(lambda client, _: self.connected(client))
        socketio = make_socketio(Flask(__name__), manager, Limits(ping_interval=25, ping_timeout=20, outbox_bytes=2**24))
        self.server, self.engine = socketio.server, socketio.server.eio
        fanout = Fanout(lambda: 0.0, lambda seconds, function: None)
        self.events = Events(
            {MAIN: fanout}, TopicLog(), PAIRS, AlertRequests(RuleIndex(), set(PAIRS), lambda series: None, "abc"), OpenAuthenticator(),
            books=no_books(), max_clients=10**6, ping_interval=25, ping_timeout=5, timestamp=lambda: NOON, stats=dict,
        )  # fmt: skip
        register_handlers(socketio, self.events, {MAIN: fanout})

    def connected(self, client: str) -> None:
        session = self.server.session_of(client, MAIN)
        self.events.connected(client, session.outbox, session.bucket)


@cache
def hub() -> _Hub:
    """The hub of all tests, made when the first one needs it: it starts a clock."""
    return _Hub()


class _Client:
    """One joined session, to which packets go as the bytes of its transport."""

    def __init__(self, transport: str) -> None:
        self.session = hub().engine.open_session(opening_of({}, transport))
        self._reader = Reader(2**20) if transport == "websocket" else None
        self.send("40")
        self.answers()

    def send(self, *packets: str | bytes) -> None:
        """Pass packets of Engine.IO to the session. Raises `WireError`."""
        if self._reader is None:
            parts = [b"b" + packet if isinstance(packet, bytes) else packet.encode() for packet in packets]
            self.session.receive_payload(b"\x1e".join(parts))
            return
        for packet in packets:
            opcode = Opcode.BINARY if isinstance(packet, bytes) else Opcode.TEXT
            for kind, payload in self._reader.feed(frame(opcode, packet if isinstance(packet, bytes) else packet.encode())):
                self.session.message(payload, kind is Opcode.BINARY)

    def answers(self) -> list[tuple[str, Any]]:
        """Return (type, body) of each waiting packet: an event's name, or `ack`."""
        return [_parsed(frame.packet.decode()) for frame in iter_frames(self.session.outbox)]

    def ask(self, text: str, *attachments: bytes) -> tuple[str, Any]:
        """Send an event with an ack; return the answer's event and body, which the ack repeats."""
        kind = f"45{len(attachments)}-" if attachments else "42"
        self.send(f"{kind}7{text}", *(attachment if self._reader else b"AQ==" for attachment in attachments))
        answers = self.answers()
        (ack,) = [body for name, body in answers if name == "ack"]
        (name, body), *_ = [(name, body) for name, body in answers if name != "ack"]
        assert [body] == ack
        assert not self.session.closed
        return name, body


def iter_frames(outbox: Any) -> Iterator[Any]:
    while frames := outbox.take(2**24):
        yield from frames


def _parsed(packet: str) -> tuple[str, Any]:
    text = packet.lstrip("0123456789")
    body: Any = json.loads(text, parse_float=Decimal, parse_int=Decimal) if text else None
    return ("ack", body) if packet.startswith("43") else (body[0], body[1]) if packet.startswith("42") else (packet[:2], body)


@pytest.fixture(autouse=True)
def no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.fixture(autouse=True)
def end_sessions() -> Iterator[None]:
    yield
    hub().engine.close_all()


def usable(value: Any, depth: int = 2) -> bool:
    """Whether JSON can give the value back, written independently of the hub."""
    if isinstance(value, dict | list):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        return depth <= MAX_DEPTH and all(usable(item, depth + 1) for item in items)
    if isinstance(value, str):
        return value == value.encode("utf-8", "ignore").decode()
    if isinstance(value, int):
        return -(2**63) <= value <= 2**64 - 1
    return value is None or math.isfinite(value)


def decimals(value: Any) -> Any:
    """Return the value with exact numbers."""
    return json.loads(json.dumps(value), parse_float=Decimal, parse_int=Decimal)


def nested(levels: int, brackets: str = "[]") -> str:
    return brackets[0] * levels + brackets[1] * levels


texts = st.text(st.characters(codec=None, exclude_categories=())) | st.sampled_from(
    ["all", "EUR_USD", "GBP_USD", HALF, "\0", "\ud83d\ude00"]
)
bad_names = st.sampled_from([HALF, "", "XXX_YYY", HALF * 99])
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20)


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(value=values)
@example(value=2**64 - 1)
@example(value=-(2**63))
@example(value=2**70)
@example(value=-0.0)
@example(value=1e308)
@example(value=[HALF])
@example(value={HALF: 1})
@example(value=json.loads(nested(MAX_DEPTH - 1)))
@example(value=json.loads(nested(MAX_DEPTH)))
@example(value=json.loads(nested(400)))
def test_timestamp_is_returned_exactly_or_refused(transport: str, value: Any) -> None:
    text = json.dumps(value)
    value = json.loads(text)  # two halves of a pair that meet are one character
    name, body = _Client(transport).ask(f'["ping",{{"timestamp":{text}}}]')
    if usable(value):
        assert (name, body["timestamp"]) == ("pong", decimals(value))
    else:
        assert (name, body["code"], body["event"], list(body["details"])) == ("error", "invalid_payload", "ping", ["timestamp"])


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(number=st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True))
@example(number="1." + "0" * 5000)
@example(number="9" * 5000)
@example(number="1e99999999999999999999")
@example(number="1e-99999999999999999999")
@example(number="0.1234567890123456789")
@example(number="18446744073709551616")
def test_number_is_returned_digit_for_digit_or_refused(transport: str, number: str) -> None:
    name, body = _Client(transport).ask(f'["ping",{{"timestamp":{number}}}]')
    if name == "pong":
        assert body["timestamp"] == Decimal(number)
    else:
        assert (body["code"], list(body["details"])) == ("invalid_payload", ["timestamp"])
    if len(number) <= 15 and "e" not in number.lower():
        assert name == "pong", "every double holds 15 digits"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("event", FULL)
@settings(max_examples=30)
@given(data=st.data())
def test_any_payload_has_an_answer_and_no_internal_error(event: str, transport: str, data: st.DataObject) -> None:
    fields = st.sampled_from(sorted(FULL[event])) | texts if FULL[event] else texts
    payload = data.draw(st.dictionaries(fields, values, max_size=4).map(lambda drawn: {**FULL[event], **drawn}) | values)
    name, body = _Client(transport).ask(json.dumps([event, payload]))
    if name == "error":
        assert body["code"] != "internal"
        assert body["event"] == event
        assert body["details"] or body["code"] == "unauthorized"  # this one gives no reason
    else:
        assert name == CLIENT_EVENTS[MAIN, event].answer


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(name=texts, extra=st.lists(values, max_size=3))
def test_any_name_has_an_answer(transport: str, name: str, extra: list[Any]) -> None:
    reserved = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
    assume(name not in reserved)  # these end the session, as the test suites of the protocol require
    answer, body = _Client(transport).ask(json.dumps([name, *extra]))
    assert name in FULL or (answer, body["code"]) == ("error", "invalid_payload")


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(payload=values, cut=st.integers(0, 200), inserted=st.text(st.characters(codec="utf-8"), max_size=3))
def test_damaged_text_is_answered_or_ends_the_session_with_1002(transport: str, payload: Any, cut: int, inserted: str) -> None:
    text = json.dumps(["ping", {"timestamp": payload}])
    client = _Client(transport)
    damaged = (text[:cut] + inserted).replace("\x1e", "")
    closed = None
    try:
        client.send(f"427{damaged}")
    except WireError as error:
        closed = error.code
    assert closed == 1002 or client.answers()


@pytest.mark.parametrize(("event", "field"), FIELDS)
def test_deep_value_of_any_field_is_refused(event: str, field: str) -> None:
    for transport, levels in product(TRANSPORTS, (16, 300, 400, 1500, 2000, 9000)):
        for deep in (nested(levels), '{"a":' * levels + "1" + "}" * levels):
            name, body = _Client(transport).ask(f'[ "{event}" , {{"{field}":{deep}}} ]')
            assert (name, body["code"], body["event"]) == ("error", "invalid_payload", event), (transport, levels, deep[0])
            assert body["details"] == {field: ["Nested deeper than 16 levels."]}, (transport, levels, deep[0])


@pytest.mark.parametrize(("event", "field"), FIELDS)
def test_attachment_in_any_field_is_refused(event: str, field: str) -> None:
    for transport, value in product(TRANSPORTS, (PLACEHOLDER, [PLACEHOLDER])):
        of_case = (transport, value)
        name, body = _Client(transport).ask(json.dumps([event, {**FULL[event], field: value}]), b"\x01")
        assert (name, body["code"], body["event"], list(body["details"])) == ("error", "invalid_payload", event, [field]), of_case
        name, body = _Client(transport).ask(json.dumps([event, value]), b"\x01")
        assert (name, body["code"], list(body["details"])) == ("error", "invalid_payload", ["payload"]), of_case


@pytest.mark.parametrize("transport", TRANSPORTS)
@given(
    bad=st.lists(st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from([HALF, "", "XXX_YYY", HALF * 99]), max_size=60)
)
def test_bad_item_of_a_list_is_rejected_by_itself(transport: str, bad: list[Any]) -> None:
    client = _Client(transport)
    name, body = client.ask(json.dumps(["subscribe", {"pairs": ["EUR_USD", *bad, "GBP_USD"]}]))
    assert (name, body["pairs"], body["rejected_count"]) == ("subscription_confirmed", list(PAIRS), len(bad))
    assert len(body["rejected"]) == min(len(bad), 20)
    for asked, item in zip(bad, body["rejected"], strict=False):
        if isinstance(asked, str):
            assert item["pair"] == asked[:64].replace(HALF, "\ufffd")
        else:
            assert item["pair"] == (decimals(asked) if usable(asked) else None)
        assert item["code"] in ("invalid_payload", "unknown_instrument")


def test_long_rejected_value_is_cut_and_many_are_counted() -> None:
    client = _Client("websocket")
    series = [{"pair": "X" * 1000, "interval": {"a": "y" * 1000}}] * 500
    _, body = client.ask(json.dumps(["subscribe", {"pairs": [{}] * 1000, "candles": series}]))
    assert (len(body["rejected"]), body["rejected_count"]) == (20, 1500)
    assert len(orjson.dumps(body["rejected"], default=str)) < 2500
    _, body = client.ask(json.dumps(["subscribe", {"candles": series}]))
    assert {(item["pair"], item["interval"]) for item in body["rejected"]} == {("X" * 64, '{"a":"' + "y" * 58)}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("auth", ['{"token":NaN}', '{"token":"\\ud83d"}', f'{{"token":{nested(2000)}}}', f'{{"token":{nested(400)}}}'])
def test_connect_with_unusable_auth_is_refused(auth: str, transport: str) -> None:
    client = _Client(transport)
    client.send("41", f"40{auth}")
    ((kind, body),) = client.answers()
    assert (kind, body["data"]["code"], list(body["data"]["details"])) == ("44", "invalid_payload", ["auth"])
    client.send("40")
    assert [kind for kind, _ in client.answers()] == ["40", "connection_established"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ack_with_any_value_is_ignored(transport: str) -> None:
    client = _Client(transport)
    client.send("431[NaN]", f"432{nested(2000)}", '433["\\ud83d"]')
    assert client.ask('["ping"]')[0] == "pong"
