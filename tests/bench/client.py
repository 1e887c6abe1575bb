"""One client of the load generator: a raw socket and the packets up to its subscription."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from tests.bench.frames import FrameError, Inflate, Walker, client_frame

# bytes, as of a remote client; with the window of the loopback, the kernel would buffer megabytes
SMALL_WINDOW, SMALL_SEGMENT = 4096, 1448
MOST_PAIRS = 1000  # of one request to the hub
_READ_BYTES = 1 << 18
SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"


@dataclass(frozen=True, slots=True)
class Plan:
    """The behaviour of a client.

    `protocol` is `socketio`; `plain`: a WebSocket whose address names the instruments; or `raw`:
    frames of the content of Socket.IO over TCP, without a handshake.
    """

    port: int
    protocol: str
    pairs: tuple[str, ...] = ()
    since: tuple[tuple[str, str, int], ...] = ()  # (pair, epoch, seq) of the last price that the client has
    books: tuple[str, ...] = ()  # instruments
    depth: int = 20  # of the books
    greeting: bool = False  # the server sends `connection_established`
    deflate: bool = False  # offer permessage-deflate as a browser does
    stalls: bool = False  # stops reading on the command `stall`
    visits: bool = False  # comes and goes, so that it misses messages
    host: str = "127.0.0.1"
    path: str = SOCKET_IO  # `{ids}` is replaced by the instruments
    credential: str = ""  # in the header Authorization of the handshake

    def steps(self) -> list[tuple[bytes, bytes]]:
        """Return (packet to send, prefix of its response), in order."""
        confirmed = b'42["subscription_confirmed"'
        if self.protocol == "plain":
            return []
        if self.protocol == "raw":
            return [(orjson.dumps(self._subscriptions()[0]) + b"\n", confirmed)]
        greeted = [(b"", b'42["connection_established"')] if self.greeting else []
        subscriptions = self._subscriptions() if self.pairs or self.books else []
        subscribed = [(b'42["subscribe",' + orjson.dumps(each) + b"]", confirmed) for each in subscriptions]
        return [(b"", b"0{"), (b"40", b"40{"), *greeted, *subscribed]

    def _subscriptions(self) -> list[dict[str, object]]:
        if self.books and not self.pairs:
            return [{"books": [{"pair": each, "depth": self.depth} for each in self.books]}]
        requests = [self.pairs[start : start + MOST_PAIRS] for start in range(0, len(self.pairs) or 1, MOST_PAIRS)]
        return [self._subscription(pairs) for pairs in requests]

    def _subscription(self, pairs: Sequence[str]) -> dict[str, object]:
        since = {pair: {"epoch": epoch, "seq": seq} for pair, epoch, seq in self.since if pair in pairs}
        return {"pairs": pairs, "since": since} if since else {"pairs": pairs}


class Client:
    """The connection: the upgrade, the steps of the plan, then prices."""

    __slots__ = ("_steps", "done", "fd", "following", "inflate", "number", "plan", "recv", "rest", "socket", "upgraded")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if plan.stalls:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
        self.socket.connect_ex((plan.host, plan.port))
        self.fd = self.socket.fileno()
        self.recv = self.socket.recv
        self.rest = b""  # the first bytes of an incomplete frame
        self.following: dict[str, int] = {}  # topic -> next expected seq
        self.upgraded = plan.protocol == "raw"
        self.inflate: Inflate | None = None
        self.number: int | None = None  # in the reader in C
        self._steps = plan.steps()
        self.done = False

    def begin(self) -> None:
        """Send the first packet. Raises `OSError` if the connection failed."""
        if error := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "connect")
        self.socket.send(self._steps[0][0] if self.upgraded else self._request())

    def read_head(self, data: bytes) -> bytes:
        """Read the response to the upgrade; return the bytes after it (none if incomplete)."""
        head, end, behind = data.partition(b"\r\n\r\n")
        if not end:
            self.rest = data
            return b""
        if not head.startswith(b"HTTP/1.1 101"):
            raise FrameError(f"no upgrade: {data[:600]!r}")
        self.upgraded = True
        if b"permessage-deflate" in head.lower():
            self.inflate = Inflate()
        return behind

    def advance(self, packet: bytes) -> bool:
        """Send the next step if the packet is the expected one; return whether it was the last."""
        if not packet.startswith(self._steps[0][1]):
            raise FrameError(f"{packet[:200]!r} instead of {self._steps[0][1]!r}")
        del self._steps[0]
        if self._steps and self._steps[0][0]:
            self.send(self._steps[0][0])
        self.done = not self._steps
        return self.done

    def receive(self, walker: Walker) -> int:
        """Read once, answer pings and take the next steps of the plan; return the number of prices.

        Raises `OSError` or `FrameError`, also for a hole or a repetition in a topic.
        """
        if not (data := self.recv(_READ_BYTES)):
            raise FrameError("closed by the server")
        data, self.rest = self.rest + data, b""
        if not self.upgraded and not (data := self.read_head(data)):
            return 0
        chunk = walker.walk(data)
        self.rest = chunk.rest
        for topic, first, last in chunk.runs:
            if self.following.setdefault(topic, first) != first:
                raise FrameError(f"{topic} {first} instead of {self.following[topic]}")
            self.following[topic] = last + 1
        for packet in chunk.others:
            if packet == b"2":
                self.send(b"3")
            elif not self.done:
                self.advance(packet)
        return chunk.prices

    def send(self, packet: bytes) -> None:
        """Send one packet to the server."""
        self.socket.send(packet if self.plan.protocol == "raw" else client_frame(packet))

    def _request(self) -> bytes:
        """Return the upgrade request of a browser: servers keep its headers in memory."""
        host = f"{self.plan.host}:{self.plan.port}"
        headers = {
            "Host": host,
            "Connection": "Upgrade",
            "Pragma": "no-cache",
            "Cache-Control": "no-cache",
            "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
            "Upgrade": "websocket",
            "Origin": f"http://{host}",
            "Sec-WebSocket-Version": "13",
            "Accept-Encoding": "gzip, deflate, br, zstd",
            "Accept-Language": "en-GB,en;q=0.9",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            **({"Authorization": f"Bearer {self.plan.credential}"} if self.plan.credential else {}),
            **({"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"} if self.plan.deflate else {}),
        }
        path = self.plan.path.replace("{ids}", ",".join(self.plan.pairs))
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode()
