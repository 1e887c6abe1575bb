"""A seeded generator of malformed input: requests, frames, packets, bodies, messages of the bus.

Each input begins as a valid one, of which `Mutator` changes some bytes, or is made of parts that
are wrong in a known way.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections import Counter
from collections.abc import Callable

from tests.conformance.websocket_client import frame

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_TIMEOUT_SECONDS = 60.0
_FRAMES_PER_CONNECTION = 20

# Parts of requests and packets that parsers disagree about.
NUMBERS = ["-1", "0", "007", "1e3", "2147483648", "9" * 30, "٣", "0x10", "", " 1", "+1", "1_0", "NaN"]
PATHS = ["/socket.io/", "/socket.io", "/hub/health", "/", "//", "/socket.io/%00", "/%ff", "/" + "a" * 3000, "*", "http://x/socket.io/", ""]
VALUES = [
    "NaN", "Infinity", "-Infinity", "1e999", "1e-999", "-0", "0.1234567890123456789", "18446744073709551616", '"\\ud83d"', '"\\u0000"',
    "[" * 17 + "]" * 17, "[" * 500 + "]" * 500, "[" * 3000 + "]" * 3000, '{"a":' * 40 + "1" + "}" * 40, "{}", "[]", "null", "true",
    '{"_placeholder":true,"num":0}', '{"_placeholder":true,"num":-1}', '{"\\ud83d":1}', '"' + "x" * 2000 + '"', "", "[", "{", '"', "'a'",
]  # fmt: skip
EVENTS = [
    "subscribe", "unsubscribe", "get_subscriptions", "request_price", "request_all_prices", "get_server_stats", "ping", "set_alert",
    "list_alerts", "delete_alert", "connect", "disconnect", "*", "", "\\ud83d", "x" * 300, "__init__", "answer",
]  # fmt: skip
FIELDS = ["pairs", "candles", "since", "max_rate", "instrument", "timestamp", "metric", "op", "value", "once", "id", "x", "\\ud83d", ""]
HEADERS = [
    "Host: x", "Host:", "Host: a\r\nHost: b", "Content-Length: -1", "Content-Length: 5, 6", "Content-Length: abc", "Content-Length: ٣",
    "Transfer-Encoding: chunked", "Transfer-Encoding: xchunked\r\nContent-Length: 3", "Origin: null", "Origin:", "Origin: http://[",
    "Origin: http://evil.example", "Upgrade: websocket", "Upgrade: h2c", "Connection: upgrade", "Connection: close", "Expect: 100-continue",
    "Sec-WebSocket-Key: x", "Sec-WebSocket-Key: " + _KEY, "Sec-WebSocket-Version: 12", "X-Forwarded-For: " + "1," * 200, "\x00: y",
    "No colon", " folded", ": no name", "A" * 9000 + ": x", "Cookie: " + "x" * 5000, "Range: bytes=0-", "X: \xff\xfe",
]  # fmt: skip
_MESSAGE = (
    b'{"instrument":"EUR_USD","price":{"bid":"1.1","ask":"1.3","mid":"1.2","time":"2025-11-18T12:00:00Z"},'
    b'"timestamp":"2025-11-18T12:00:00Z","seq":1,"epoch":"malformed"}'
)


class Mutator:
    """Changes bytes at random."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __call__(self, data: bytes) -> bytes:
        """Return the bytes with one to three changes, or unchanged in one of ten cases."""
        if self._rng.random() < 0.1:
            return data
        for _ in range(self._rng.randint(1, 3)):
            at = self._rng.randint(0, len(data))
            end = min(len(data), at + self._rng.randint(0, 8))
            change = self._rng.choice((self._noise, self._nothing, self._twice, self._special))
            data = data[:at] + change(data[at:end]) + data[end:]
        return data

    def _noise(self, part: bytes) -> bytes:
        return self._rng.randbytes(self._rng.randint(1, 8))

    def _nothing(self, part: bytes) -> bytes:
        return b""

    def _twice(self, part: bytes) -> bytes:
        return part * self._rng.choice((2, 3, 50))

    def _special(self, part: bytes) -> bytes:
        return self._rng.choice((b"\r\n", b"\n", b"\0", b"\x1e", b"\xff", b"%", b"\xed\xa0\xbd", b'"', b"[", b"{", b",", b"-", b" "))


class Malformed:
    """Sends malformed input to one port. `sent` counts the inputs of each kind."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self._address = host, port
        self._rng = random.Random(seed)
        self._mutate = Mutator(self._rng)
        self._session: socket.socket | None = None
        self._frames = 0  # sent on this session
        self.sent: Counter[str] = Counter()
        self.faults: list[str] = []  # answers that only a fault of the hub gives

    def run(self, count: int) -> None:
        """Send so many inputs, of all kinds in turn."""
        kinds: tuple[Callable[[], None], ...] = (self._request, self._handshake, self._polling, *(self._frame,) * 17)
        while self.sent.total() < count:
            self._rng.choice(kinds)()
        self._end_session()

    # HTTP

    def _request(self) -> None:
        method = self._rng.choice(["GET", "POST", "PUT", "OPTIONS", "HEAD", "get", "CONNECT", "", "G\0T", "X" * 500])
        version = self._rng.choice(["HTTP/1.1", "HTTP/1.0", "HTTP/9.9", "HTTP/1.1.1", "http/1.1", "", "HTTP/", "HTTP/1.x"])
        host = ["Host: 127.0.0.1"] if self._rng.random() < 0.8 else []
        lines = [f"{method} {self._target()} {version}", *host, *self._headers(self._rng.randint(0, 6))]
        self._exchange("request", self._mutate("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"))

    def _handshake(self) -> None:
        valid = ["Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {_KEY}", "Sec-WebSocket-Version: 13"]
        dropped = self._rng.randrange(len(valid))
        lines = [f"GET {self._target()} HTTP/1.1", *(line for at, line in enumerate(valid) if at != dropped), *self._headers(2)]
        self._exchange("handshake", self._mutate("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"))

    def _target(self) -> str:
        pick = self._rng.choice
        names = ["EIO", "transport", "sid", "t", "b64", "%ff", ""]
        values = ["4", "3", "polling", "websocket", "%00", "%F0%9F", "a" * 200, *NUMBERS]
        query = "&".join(f"{pick(names)}={pick(values)}" for _ in range(self._rng.randint(0, 4)))
        good = "EIO=4&transport=" + pick(["polling", "websocket"])
        return f"{pick(PATHS)}?{pick([query, good, good + '&' + query])}".encode("ascii", "replace").decode()

    def _headers(self, count: int) -> list[str]:
        return [self._rng.choice(HEADERS) for _ in range(count)]

    def _polling(self) -> None:
        """A body for a session of its own, which ends with it."""
        answer = self._http(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        begin = answer.find(b'"sid":"')
        sid = answer[begin + 7 : answer.find(b'"', begin + 7)].decode()
        packets = [b"40", *(self._packet() for _ in range(self._rng.randint(1, 4)))]
        body = self._mutate(b"\x1e".join(packets))
        head = f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        length = len(body) if self._rng.random() < 0.9 else self._rng.choice(NUMBERS)
        self._exchange("polling", f"{head}Content-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body)

    def _exchange(self, kind: str, request: bytes) -> None:
        self.sent[kind] += 1
        status = self._http(request).split(b"\r\n", 1)[0]
        if status.startswith(b"HTTP/1.1 5") and b" 503 " not in status and b" 505 " not in status and b" 501 " not in status:
            self.faults.append(f"{status!r} to {request[:300]!r}")

    def _http(self, request: bytes) -> bytes:
        """Send a request and the end of the stream; return the answer."""
        answer = b""
        with contextlib.suppress(OSError), socket.create_connection(self._address, _TIMEOUT_SECONDS) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            while part := sock.recv(65536):
                answer += part
        return answer

    # WebSocket

    def _frame(self) -> None:
        """A frame on a session that has joined; the hub ends the session at the first bad one."""
        if self._session is None or self._frames == _FRAMES_PER_CONNECTION:
            self._begin_session()
        payload, kind = self._packet(), self._rng.random()
        if kind < 0.3:
            data = self._mutate(frame(1, payload))
        elif kind < 0.4:
            data = frame(
                self._rng.choice((0, 1, 2, 3, 8, 9, 10, 11)),
                self._rng.randbytes(self._rng.choice((0, 1, 2, 125, 126, 200))),
                fin=self._rng.random() < 0.7,
                reserved=self._rng.choice((0, 0, 0, 1, 4)),
                masked=self._rng.random() < 0.9,
            )
        else:
            data = frame(self._rng.choice((1, 1, 1, 1, 2)), payload)
        self.sent["frame"] += 1
        self._frames += 1
        assert self._session is not None
        try:
            self._session.sendall(data)
            self._read_answers()
        except OSError:
            self._end_session()

    def _begin_session(self) -> None:
        self._end_session()
        self._session, self._frames = socket.create_connection(self._address, _TIMEOUT_SECONDS), 0
        head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._session.sendall(f"{head}Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        received = b""
        while b"connection_established" not in received and (part := self._session.recv(65536)):
            if b"\r\n\r\n" in part:
                self._session.sendall(frame(1, b"40"))
            received += part
        self._session.setblocking(False)

    def _read_answers(self) -> None:
        """Read the answers that have arrived; a closed session ends."""
        assert self._session is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self._session.recv(65536)
                if b'"internal"' in data or b"\x88\x02\x03\xf3" in data:  # a Close frame with 1011
                    self.faults.append(f"internal error: {data[:300]!r}")
                if not data:
                    raise ConnectionResetError

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    # packets

    def _packet(self) -> bytes:
        pick = self._rng.choice
        payload = "{" + ",".join(f'"{pick(FIELDS)}":{self._value()}' for _ in range(self._rng.randint(0, 3))) + "}"
        text = pick(
            [
                f'42["{pick(EVENTS)}",{payload}]',
                f'42{pick(NUMBERS)}["{pick(EVENTS)}",{payload}]',
                f'42["{pick(EVENTS)}",{self._value()},{payload}]',
                f'45{pick(NUMBERS)}-["{pick(EVENTS)}",{payload}]',
                f"4{pick('0123456789')}{pick(['', '/', '/x,', '/' + 'y' * 300 + ',', '/metrics,'])}{self._value()}",
                f"{pick('0123456789b')}{pick(['', 'probe', self._value()])}",
                f"43{pick(NUMBERS)}{self._value()}",
                json.dumps(self._rng.randbytes(20).decode("latin-1")),
            ]
        )
        data = text.encode("utf-8", "surrogatepass")
        return self._mutate(data) if self._rng.random() < 0.5 else data

    def _value(self) -> str:
        value = self._rng.choice(VALUES)
        return f'["EUR_USD",{value}]' if self._rng.random() < 0.3 else value

    def messages(self, count: int) -> list[bytes]:
        """Return bodies of malformed messages for the channels of the bus."""
        return [self._mutate(self._rng.choice((_MESSAGE, self._value().encode("utf-8", "replace")))) for _ in range(count)]
