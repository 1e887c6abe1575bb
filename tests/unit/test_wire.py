"""The module `wire` against wsproto, in both directions and with bytes cut anywhere."""

from __future__ import annotations

import base64
import binascii
import itertools

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.hub.transport import wire
from api.hub.transport.wire import Opcode, Reader, WireError, frame, unmask
from tests.conformance.websocket_client import frame as client_frame
from tests.unit.oracle import Opcode as TheirOpcode
from tests.unit.oracle import ParseFailed, as_client, read_by_client, read_by_server

LIMIT = 1000
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70000)
CLOSE_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)

Sent = tuple[Opcode, list[bytes]]  # a message in its fragments, or a control frame in one

texts = st.lists(st.text(max_size=40).map(str.encode), min_size=1, max_size=4).map(lambda parts: (Opcode.TEXT, parts))
binaries = st.lists(st.binary(max_size=200), min_size=1, max_size=4).map(lambda parts: (Opcode.BINARY, parts))
controls = st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.lists(st.binary(max_size=125), min_size=1, max_size=1))
conversations = st.lists(st.one_of(texts, binaries, controls), max_size=8)
cuts = st.lists(st.integers(0, 5000), max_size=12)


def client_bytes(conversation: list[Sent]) -> bytes:
    """Return the bytes that wsproto sends as a client."""
    client = as_client()
    data = b""
    for opcode, parts in conversation:
        if opcode is Opcode.PING:
            data += client.ping(parts[0])
        elif opcode is Opcode.PONG:
            data += client.pong(parts[0])
        else:
            for at, part in enumerate(parts, 1):
                data += client.send_data(part.decode() if opcode is Opcode.TEXT else part, fin=at == len(parts))
    return data


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(each, len(data)) for each in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def read(data: bytes, limit: int = LIMIT, at: list[int] | None = None) -> list[tuple[Opcode, bytes]]:
    reader = Reader(limit)
    return [message for piece in cut(data, at or []) for message in reader.feed(piece)]


def refused(data: bytes, limit: int = LIMIT) -> int:
    """Return the code of the error; it is the same if the bytes arrive one by one."""
    codes = set()
    for at in ([], list(range(min(len(data), 3000)))):
        with pytest.raises(WireError) as caught:
            read(data, limit, at)
        codes.add(caught.value.code)
    (code,) = codes
    return code


@given(conversations, cuts)
@settings(deadline=None)
def test_client_bytes_in_any_cut_give_the_same_messages(conversation: list[Sent], at: list[int]) -> None:
    said = [(opcode, b"".join(parts)) for opcode, parts in conversation]
    data = client_bytes(conversation)
    assert read(data, 100_000, at) == said
    assert read_by_server(data) == said


@given(conversations)
@settings(deadline=None, max_examples=30)
def test_client_bytes_one_by_one_give_the_same_messages(conversation: list[Sent]) -> None:
    data = client_bytes(conversation)
    assert read(data, 100_000, list(range(len(data)))) == read(data, 100_000)


@given(st.lists(st.binary(max_size=30), min_size=2, max_size=5), st.lists(st.binary(max_size=20), min_size=1, max_size=5), cuts)
def test_control_frames_between_fragments_are_read(parts: list[bytes], pings: list[bytes], at: list[int]) -> None:
    data, expected = b"", []
    for number, part in enumerate(parts):
        kind = Opcode.BINARY if number == 0 else Opcode.CONTINUATION
        data += client_frame(kind, part, fin=number == len(parts) - 1)
        if number < len(parts) - 1 and number < len(pings):
            data += client_frame(Opcode.PING, pings[number])
            expected.append((Opcode.PING, pings[number]))
    assert read(data, at=at) == [*expected, (Opcode.BINARY, b"".join(parts))]


@given(st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG]), st.integers(0, 125))
def test_frame_is_read_by_a_client(opcode: Opcode, size: int) -> None:
    assert read_by_client(frame(opcode, b"x" * size)) == [(opcode, b"x" * size)]


@pytest.mark.parametrize("size", SIZES)
def test_length_of_every_form_is_read_and_written(size: int) -> None:
    payload = b"y" * size
    assert read_by_client(frame(Opcode.BINARY, payload) + frame(Opcode.TEXT, payload)) == [(Opcode.BINARY, payload), (Opcode.TEXT, payload)]
    assert read(bytes(as_client().send_data(payload)), 10**6) == [(Opcode.BINARY, payload)]


@pytest.mark.parametrize("code", CLOSE_CODES)
def test_close_is_read_and_written(code: int) -> None:
    assert read_by_client(wire.close_frame(code)) == [(Opcode.CLOSE, code.to_bytes(2))]
    assert read(bytes(as_client().close(code, "schön"))) == [(Opcode.CLOSE, code.to_bytes(2) + "schön".encode())]
    assert read(client_frame(Opcode.CLOSE, b"")) == [(Opcode.CLOSE, b"")]


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=300))
@example(b"\0\0\0\0", b"")
@example(b"\xff\xff\xff\xff", b"\xff")
def test_unmask_equals_the_loop_of_the_rfc(mask: bytes, payload: bytes) -> None:
    assert unmask(mask, payload) == bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def masked_head(first: int, second: int, *rest: bytes) -> bytes:
    return bytes((first, 0x80 | second)) + b"".join(rest) + b"\0\0\0\0"


VIOLATIONS = {
    "unmasked": (client_frame(1, b"4", masked=False), 1002),
    "rsv1": (client_frame(1, b"4", reserved=4), 1002),
    "rsv2": (client_frame(1, b"4", reserved=2), 1002),
    "rsv3": (client_frame(1, b"4", reserved=1), 1002),
    **{f"opcode {opcode}": (client_frame(opcode, b""), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "nothing to continue": (client_frame(0, b"4"), 1002),
    "text in a text": (client_frame(1, b"4", fin=False) + client_frame(1, b"4"), 1002),
    "binary in a text": (client_frame(1, b"4", fin=False) + client_frame(2, b"4"), 1002),
    "continued after the end": (client_frame(1, b"4", fin=False) + client_frame(0, b"") + client_frame(0, b""), 1002),
    "fragmented ping": (client_frame(9, b"", fin=False), 1002),
    "fragmented close": (client_frame(8, b"", fin=False), 1002),
    "long ping": (client_frame(9, b"x" * 126), 1002),
    "long close": (client_frame(8, (1000).to_bytes(2) + b"x" * 124), 1002),
    "half a close code": (client_frame(8, b"\x03"), 1002),
    **{f"close {code}": (client_frame(8, code.to_bytes(2)), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)},
    "close reason": (client_frame(8, (1000).to_bytes(2) + b"\xff"), 1007),
    "latin-1": (client_frame(1, b"4\xe9"), 1007),
    "surrogate": (client_frame(1, b"4\xed\xa0\x80"), 1007),
    "overlong": (client_frame(1, b"4\xc0\xaf"), 1007),
    "beyond Unicode": (client_frame(1, b"4\xf4\x90\x80\x80"), 1007),
    "half a character": (client_frame(1, b"4\xe2\x82", fin=False) + client_frame(0, b"x"), 1007),
    "length in two bytes": (masked_head(0x82, 126, (125).to_bytes(2)) + b"x" * 125, 1002),
    "length in eight bytes": (masked_head(0x82, 127, (300).to_bytes(8)) + b"x" * 300, 1002),
    "too big": (client_frame(2, b"x" * (LIMIT + 1)), 1009),
    "too big in fragments": (client_frame(2, b"x" * LIMIT, fin=False) + client_frame(0, b"x"), 1009),
    "negative length": (masked_head(0x82, 127, b"\xff" * 8), 1009),
}


@pytest.mark.parametrize(("data", "code"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_violation_is_refused_with_its_code(data: bytes, code: int) -> None:
    assert refused(data) == code
    assert refused(client_bytes([(Opcode.TEXT, [b"4good"])]) + data) == code


def test_protocol_error_is_refused_by_wsproto_too() -> None:
    for name, (data, code) in VIOLATIONS.items():
        if code == 1009 or name == "close 1016":
            continue  # wsproto has other limits
        with pytest.raises(ParseFailed):
            read_by_server(data)


def test_message_above_the_limit_is_refused_by_its_head() -> None:
    payload = b"x" * LIMIT
    assert read(client_frame(2, payload)) == [(Opcode.BINARY, payload)]
    assert read(client_frame(2, payload[:600], fin=False) + client_frame(0, payload[600:])) == [(Opcode.BINARY, payload)]
    assert refused(masked_head(0x82, 126, (LIMIT + 1).to_bytes(2))[:4]) == 1009
    assert refused(masked_head(0x82, 127, (2**40).to_bytes(8))[:10]) == 1009


def test_limit_counts_each_message_anew() -> None:
    fragments = client_frame(2, b"x" * 600, fin=False) + client_frame(0, b"x" * 400)
    assert len(read(fragments * 5)) == 5


def test_fragments_without_end_are_refused() -> None:
    """Empty fragments never reach the limit of the size."""
    reader = Reader(LIMIT)
    reader.feed(client_frame(2, b"", fin=False))
    with pytest.raises(WireError) as caught:
        reader.feed(client_frame(0, b"", fin=False) * 100_000)
    assert caught.value.code == 1009


def test_reader_holds_at_most_one_message() -> None:
    reader = Reader(LIMIT)
    for piece in cut(
        client_bytes([(Opcode.BINARY, [b"x" * 500, b"y" * 500]), (Opcode.TEXT, [b"4hello"])]) * 20, list(range(0, 22_000, 77))
    ):
        reader.feed(piece)
        assert len(reader._buffer) + sum(map(len, reader._parts)) <= LIMIT + 14
    assert reader._buffer == b""
    assert reader._parts == []


def test_half_a_frame_waits_for_its_rest() -> None:
    data = client_frame(1, b"4hello")
    for at in range(len(data)):
        reader = Reader(LIMIT)
        assert reader.feed(data[:at]) == []
        assert reader.feed(data[at:]) == [(Opcode.TEXT, b"4hello")]


@given(st.text(max_size=50), st.sampled_from(["price_update", "volatility_alert"]))
def test_event_is_the_body_s_own_bytes_in_one_frame(content: str, name: str) -> None:
    body = orjson.dumps({"instrument": content})
    made = wire.event(name, body, key="EUR_USD")
    assert made.packet == b'42["' + name.encode() + b'",' + body + b"]"
    assert (made.key, wire.event(name, body).key) == ("EUR_USD", None)
    assert read_by_client(made.wire) == [(TheirOpcode.TEXT, made.packet)]
    assert orjson.loads(made.packet[2:]) == [name, {"instrument": content}]


def test_event_of_another_namespace_names_it_before_the_body() -> None:
    # https://socket.io/docs/v4/socket-io-protocol/#sending-and-receiving-data: 42/admin,["baz"]
    assert wire.event("baz", b"1", namespace="/admin").packet == b'42/admin,["baz",1]'


@given(st.binary(max_size=300))
def test_binary_has_a_form_for_polling_and_one_for_websocket(data: bytes) -> None:
    made = wire.binary(data)
    assert read_by_client(made.wire) == [(Opcode.BINARY, data)]
    assert made.packet[:1] == b"b"
    assert base64.b64decode(made.packet[1:]) == wire.unbase64(made.packet[1:]) == data
    assert wire.SEPARATOR not in made.packet
    assert made.key is None


@pytest.mark.parametrize("packet", [b"A", b"AAA", b"A===", b"AA A=", b"\xff\xff\xff\xff", b"AA\n==", "ÄÄ==".encode()])
def test_packet_that_is_not_base64_is_refused(packet: bytes) -> None:
    with pytest.raises(binascii.Error):
        wire.unbase64(packet)


@given(st.lists(st.binary(max_size=20).filter(lambda data: wire.SEPARATOR not in data), min_size=1, max_size=6))
def test_payload_splits_into_its_packets(packets: list[bytes]) -> None:
    assert list(wire.split_payload(wire.SEPARATOR.join(packets))) == packets
