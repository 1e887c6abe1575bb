"""A live subscription on a socket whose other end the test writes, without Redis."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
import redis

from db.bus import BusError, Subscription, Subscriptions
from db.bus.errors import BusMoved

CHANNEL, WIRE = "price_updates", "tickwire:{u0}:price_updates"
STAMPED = b'{"instrument":"EUR_USD","seq":1,"epoch":"6e50386e1499"}'
FOREIGN = b'{"instrument":"EUR_USD"}'


def array(*words: bytes | int) -> bytes:
    """A push of Redis."""
    parts = (b":%d\r\n" % word if isinstance(word, int) else b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%s" % (len(words), b"".join(parts))


def message(channel: str, body: bytes) -> bytes:
    return array(b"smessage" if channel.startswith("tickwire:{") else b"message", channel.encode(), body)


class Connection:
    """A connection whose server confirms each name at once; `more` comes together with it."""

    def __init__(self, more: bytes = b"") -> None:
        self._sock: socket.socket | None = None
        self.commands: list[tuple[str, ...]] = []
        self._more = more

    def connect(self) -> None:
        self._sock, self.server = socket.socketpair()

    def send_command(self, *words: str, check_health: bool) -> None:
        self.commands.append(words)
        kind = words[0].lower().encode()
        self.server.sendall(b"".join(array(kind, name.encode(), number) for number, name in enumerate(words[1:], 1)) + self._more)

    def disconnect(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self.server.close()
        self._sock = None


@pytest.fixture
def connection() -> Iterator[Connection]:
    connection = Connection()
    yield connection
    connection.disconnect()


def ready(subscription: Subscription, count: int) -> list[tuple[str, bytes]]:
    """Return what `receive` gives; the bytes of a socket pair are there at once."""
    found = subscription.receive()
    assert len(found) == count
    return found


def test_messages_that_come_with_the_confirmation_are_the_first_ones() -> None:
    connection = Connection(message(CHANNEL, b"1") + message(CHANNEL, b"2"))
    with closing(Subscription(connection, [CHANNEL])) as subscription:
        assert ready(subscription, 2) == [(CHANNEL, b"1"), (CHANNEL, b"2")]
        assert subscription.receive() == [], "receive never waits"
        connection.server.sendall(message(CHANNEL, b"3")[:10])
        assert subscription.receive() == []
        connection.server.sendall(message(CHANNEL, b"3")[10:])
        assert ready(subscription, 1) == [(CHANNEL, b"3")]


def test_each_slot_has_its_own_command_and_the_classic_names_one(connection: Connection) -> None:
    slots = [{WIRE: CHANNEL, "tickwire:{u0}:candle_updates": "candle_updates"}, {"tickwire:{qp}:price_updates": CHANNEL}]
    subscription = Subscription(connection, [CHANNEL, "data_ready"], slots)
    assert connection.commands == [("SUBSCRIBE", CHANNEL, "data_ready"), *(("SSUBSCRIBE", *slot) for slot in slots)]
    connection.server.sendall(message(WIRE, STAMPED) + message("tickwire:{qp}:price_updates", b"2") + message(CHANNEL, FOREIGN))
    assert ready(subscription, 3) == [(CHANNEL, STAMPED), (CHANNEL, b"2"), (CHANNEL, FOREIGN)]


def test_stamped_messages_of_a_classic_name_are_dropped_if_they_come_by_a_shard_channel(connection: Connection) -> None:
    subscription = Subscription(connection, [CHANNEL, "data_ready"], [{WIRE: CHANNEL}], foreign_only=[CHANNEL])
    connection.server.sendall(
        message(CHANNEL, STAMPED) + message(WIRE, STAMPED) + message(CHANNEL, FOREIGN) + message("data_ready", STAMPED)
    )
    assert ready(subscription, 3) == [(CHANNEL, STAMPED), (CHANNEL, FOREIGN), ("data_ready", STAMPED)]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (array(b"sunsubscribe", WIRE.encode(), 0), BusMoved),
        (b"-MOVED 511 127.0.0.1:7001\r\n", BusMoved),
        (b"-CLUSTERDOWN The cluster is down\r\n", BusMoved),
        (b"-ERR unknown command\r\n", BusError),
        (b"?no protocol\r\n", BusError),
        (None, BusError),
    ],
    ids=["sunsubscribe", "moved", "down", "error", "protocol", "closed"],
)
@pytest.mark.parametrize("way", ["receive", "read"])
def test_loss_raises_and_is_reported(connection: Connection, answer: bytes | None, error: type[BusError], way: str) -> None:
    failed: list[redis.RedisError] = []
    subscription = Subscription(connection, [CHANNEL], [{WIRE: CHANNEL}], failed=failed.append)
    if answer is None:
        connection.server.close()
    else:
        connection.server.sendall(answer)
    with pytest.raises(error):
        subscription.receive() if way == "receive" else subscription.read(5)
    assert len(failed) == 1
    subscription.close()
    subscription.close()
    with pytest.raises(BusError):
        subscription.receive()


def test_refused_subscription_raises() -> None:
    connection = Connection(b"-MOVED 511 127.0.0.1:7001\r\n")
    with pytest.raises(BusMoved):
        Subscription(connection, [CHANNEL])
    connection.disconnect()


def test_ping_of_a_full_socket_is_no_error_and_is_sent_whole(connection: Connection) -> None:
    subscription = Subscription(connection, [CHANNEL])
    assert subscription.receive() == []
    sock = connection._sock
    assert sock is not None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for _ in range(10_000):
        subscription.ping()
    connection.server.setblocking(False)
    data = b""
    for _ in range(3):
        data += drained(connection.server)
        subscription.ping()
    data += drained(connection.server)
    assert data.endswith(b"*1\r\n$4\r\nPING\r\n")
    assert data == b"*1\r\n$4\r\nPING\r\n" * (len(data) // 14)
    connection.server.sendall(array(b"pong", b""))
    assert subscription.receive() == []


def drained(sock: socket.socket) -> bytes:
    data = b""
    try:
        while part := sock.recv(2**20):
            data += part
    except BlockingIOError:
        return data
    return data


class Records:
    """A TLS socket: each `recv` returns one record, and the rest stays `pending`."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self.records = list(records)

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def pending(self) -> int:
        return len(self.records[0]) if self.records else 0

    def recv(self, size: int) -> bytes:
        if not self.records:
            raise BlockingIOError
        return self.records.pop(0)


def test_all_decrypted_bytes_are_read(connection: Connection) -> None:
    subscription = Subscription(connection, [CHANNEL])
    large = message(CHANNEL, b"x" * 16_000)
    connection._sock, plain = Records([large] * 20), connection._sock  # type: ignore[assignment]
    assert len(subscription.receive()) == 20, "320 KB, above the limit of one call"
    assert plain is not None
    connection._sock = plain


def test_subscriptions_are_read_together_and_a_silent_part_is_found() -> None:
    connections = [Connection(), Connection()]
    parts = Subscriptions([Subscription(each, [CHANNEL]) for each in connections])
    connections[1].server.sendall(message(CHANNEL, b"2"))
    assert parts.read(5) == [(CHANNEL, b"2")]
    connections[0].server.sendall(message(CHANNEL, b"1"))
    assert parts.read(5) == [(CHANNEL, b"1")]
    assert parts.read(0.01) == []
    connections[0].server.setblocking(False)
    parts.parts[0].probe(10)
    assert drained(connections[0].server) == b"*1\r\n$4\r\nPING\r\n"
    with pytest.raises(BusError, match="no answer"):
        parts.parts[0].probe(25)
    parts.close()
    assert [each._sock for each in connections] == [None, None]


def test_part_that_answers_pings_only_stays_subscribed_beside_a_busy_one() -> None:
    quiet, busy = Connection(), Connection()
    parts = Subscriptions([Subscription(each, [CHANNEL]) for each in (quiet, busy)])
    with closing(parts):
        for _ in range(20):
            busy.server.sendall(message(CHANNEL, FOREIGN))
            assert parts.read(600.0) == [(CHANNEL, FOREIGN)]  # the wait ends early: it is no silence
        for _ in range(3):
            parts.parts[0].probe(25)
            quiet.server.sendall(array(b"pong", b""))
            assert parts.read(0.01) == []
