"""`/ws/metrics` and the cases of the Autobahn test suite for RFC 6455, group by group.

The suite itself needs a server that echoes: `tests/conformance/test_official_suites.py` runs it.
Text of Markus Kuhn's "UTF-8 decoder capability and stress test" is in group 6.
"""

from __future__ import annotations

import json

import pytest

from tests.conformance.websocket_client import BINARY, CLOSE, PING, PONG, TEXT, frame
from tests.support.plain import Plain
from tests.support.processes import Web

CONTINUATION = 0
GREEK = "κόσμε"
LAST = "\U0010ffff"


def ends(hub: Web, *pieces: bytes) -> int | None:
    """Send each piece in a write of its own; return the code with which the server closes."""
    with Plain(hub.port, "max_rate=0.1") as client:
        assert client.body()["type"] == "connected"
        for piece in pieces:
            client.send_bytes(piece)
        return client.closed_with()


def stays(hub: Web, data: bytes) -> list[bytes]:
    """Send data; return the Pongs before the answer to a later `ping`."""
    with Plain(hub.port, "max_rate=0.1") as client:
        client.send_bytes(data + frame(TEXT, b"ping"))
        while client.receive() != "pong":
            pass
        return client.pongs


def fragments(opcode: int, *parts: bytes) -> bytes:
    """One message in these parts."""
    last = len(parts) - 1
    return b"".join(frame(CONTINUATION if number else opcode, part, fin=number == last) for number, part in enumerate(parts))


@pytest.mark.parametrize("size", [0, 125, 126, 127, 128, 65535, 65536], ids=[f"1.1.{number}" for number in range(1, 8)])
def test_message_of_each_form_of_length_is_read(shared_hub: Web, size: int) -> None:
    """Groups 1.1 and 1.2, and 1.1.8: the longest one in parts."""
    with Plain(shared_hub.port) as client:
        assert client.body()["type"] == "connected"
        client.send("*" * size, b"\xfe" * size)
        problems = [client.next_but_snapshots()["error"]["details"]["frame"][0] for _ in range(2)]
        assert (problems[0].startswith("One of ping"), problems[1]) == (True, "Binary.")


def test_pings_are_answered_with_their_payload(shared_hub: Web) -> None:
    """Group 2: also byte by byte, many at once, and with Pongs that nobody requested."""
    payloads = [b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125]
    pings = b"".join(frame(PING, payload) for payload in payloads)
    pongs = frame(PONG, b"") + frame(PONG, b"unsolicited")
    assert stays(shared_hub, pongs + pings + pongs) == payloads
    assert stays(shared_hub, b"".join(frame(PING, b"%d" % number) for number in range(10))) == [b"%d" % number for number in range(10)]
    with Plain(shared_hub.port) as client:
        for byte in frame(PING, b"\xfe" * 125) + frame(TEXT, b"ping"):
            client.send_bytes(bytes([byte]))
        while client.receive() != "pong":
            pass
        assert client.pongs == [b"\xfe" * 125]
    assert ends(shared_hub, frame(PING, b"\xfe" * 126)) == 1002


def test_reserved_bits_and_opcodes_are_protocol_errors(shared_hub: Web) -> None:
    """Groups 3 and 4: with an empty payload and with one, after a good frame."""
    bits = [(opcode, reserved) for reserved, opcode in enumerate((TEXT, TEXT, TEXT, TEXT, BINARY, PING, CLOSE), 1)]
    wrong = [*bits, *((opcode, 0) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15))]
    for opcode, reserved in wrong:
        for payload in (b"", b"reserved opcode payload"):
            found = ends(shared_hub, frame(TEXT, b"ping") + frame(opcode, payload, reserved=reserved) + frame(PING, b""))
            assert found == 1002, (opcode, reserved)


def test_fragments_in_order_are_one_message_and_others_are_errors(shared_hub: Web) -> None:
    """Group 5."""
    between = [frame(TEXT, b"p", fin=False), frame(PING, b"1"), frame(CONTINUATION, b"in", fin=False), frame(PING, b"2")]
    assert stays(shared_hub, b"".join([*between, frame(CONTINUATION, b"g")])) == [b"1", b"2"]
    with Plain(shared_hub.port) as client:
        assert client.body()["type"] == "connected"
        for byte in fragments(TEXT, b"p", b"", b"i", b"ng", b""):
            client.send_bytes(bytes([byte]))
        while client.receive() != "pong":
            pass
    for data in (
        frame(PING, b"f", fin=False) + frame(CONTINUATION, b"g"),
        frame(PONG, b"f", fin=False) + frame(CONTINUATION, b"g"),
        frame(CONTINUATION, b"no start"),
        frame(CONTINUATION, b"no start", fin=False),
        fragments(TEXT, b"fragment1", b"fragment2") + frame(CONTINUATION, b"fragment3", fin=False),
        frame(TEXT, b"f", fin=False) + frame(TEXT, b"g"),
        frame(TEXT, b"f", fin=False) + frame(BINARY, b"g", fin=False),
    ):
        assert ends(shared_hub, data) == 1002, data


VALID = [
    GREEK, "Hello-µ@ßöäüàá-UTF-8!!", "\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\ufffe", "\uffff",
    "\U00010000", "\U0001ffff", LAST,
]  # fmt: skip
INVALID = [
    GREEK.encode() + b"\xed\xa0\x80edited", GREEK.encode()[:-1],
    b"\x80", b"\xbf", b"\x80\xbf" * 3, b"\xc0 \xc1 ", b"\xe0 ", b"\xf0 ", b"\xf8 ", b"\xfc ",
    b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfe", b"\xff", b"\xfe\xfe\xff\xff",
    b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xc0\x80",
    b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80", b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80",
]  # fmt: skip


def test_text_is_utf_8_also_if_a_character_is_split(shared_hub: Web) -> None:
    """Group 6, valid: in one frame, in a fragment per byte, and byte by byte."""
    with Plain(shared_hub.port, "max_rate=0.1") as client:
        assert client.body()["type"] == "connected"
        for text in VALID:
            client.send_bytes(frame(TEXT, text.encode()))
            assert client.next_but_snapshots()["error"]["code"] == "invalid_payload", text
        for text in (GREEK, LAST):
            data = text.encode()
            client.send_bytes(fragments(TEXT, *(data[at : at + 1] for at in range(len(data)))))
            assert client.next_but_snapshots()["error"]["code"] == "invalid_payload", text
        for byte in frame(TEXT, GREEK.encode()):
            client.send_bytes(bytes([byte]))
        assert client.next_but_snapshots()["error"]["code"] == "invalid_payload"


def test_other_text_closes_with_1007(shared_hub: Web) -> None:
    """Group 6, invalid: in one frame, and in two."""
    for data in INVALID:
        assert ends(shared_hub, frame(TEXT, data)) == 1007, data
        assert ends(shared_hub, fragments(TEXT, data[:1], data[1:])) == 1007, data


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2) + reason)


def test_close_is_answered_once_with_its_code(shared_hub: Web) -> None:
    """Groups 7.1, 7.3, 7.7 and 7.13: what follows a Close is not read."""
    assert ends(shared_hub, frame(CLOSE, b"")) == 1000
    assert ends(shared_hub, close(1000) + close(1000)) == 1000
    assert ends(shared_hub, close(1000) + frame(PING, b"") + frame(TEXT, b"ping")) == 1000
    assert ends(shared_hub, frame(TEXT, b"p", fin=False) + close(1000) + frame(CONTINUATION, b"ing")) == 1000
    assert ends(shared_hub, close(1000, b"x" * 123)) == 1000
    assert ends(shared_hub, close(1000, GREEK.encode())) == 1000
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        assert ends(shared_hub, close(code)) == code


def test_bad_close_is_an_error(shared_hub: Web) -> None:
    """Groups 7.3, 7.5 and 7.9."""
    assert ends(shared_hub, frame(CLOSE, b"a")) == 1002
    assert ends(shared_hub, close(1000, b"x" * 124)) == 1002
    assert ends(shared_hub, close(1000, b"\xed\xa0\x80")) == 1007
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535):
        assert ends(shared_hub, close(code)) == 1002, code


def test_message_beyond_the_limit_closes_with_1009_however_it_is_cut(shared_hub: Web) -> None:
    """Group 9, with the limit of 64 KiB: the whole is never received."""
    for parts in ([b"x" * 65537], [b"x" * 65536, b"x"], [b"x" * 1000] * 66):
        assert ends(shared_hub, fragments(TEXT, *parts)) == 1009
    head = frame(TEXT, b"x" * 65537)[:14]
    assert ends(shared_hub, head) == 1009, "the length alone"
    assert ends(shared_hub, frame(BINARY, b"x" * 65536, fin=False), frame(CONTINUATION, b"x")[:6]) == 1009


def test_message_at_the_limit_is_read_in_any_parts(shared_hub: Web) -> None:
    """Group 9, below the limit."""
    with Plain(shared_hub.port, "max_rate=0.1") as client:
        assert client.body()["type"] == "connected"
        for size in (64, 1024, 65536):
            whole = b"x" * 65536
            parts = [whole[at : at + size] for at in range(0, min(65536, 50 * size), size)]
            client.send_bytes(fragments(TEXT, *parts))
            assert json.loads(client.receive())["error"]["code"] == "invalid_payload"
