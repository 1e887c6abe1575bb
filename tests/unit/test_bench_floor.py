"""The floor in C and the load generator: a scripted Redis sends replies, clients get the frames."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from tests.bench.client import Plan
from tests.bench.compiler import NoCompiler, compiled
from tests.bench.control import LoadGenerator
from tests.bench.frames import PRICE_PREFIX, server_frame
from tests.support.polling import until
from tests.support.ports import free_port

CONFIRMED = server_frame(b'42["subscription_confirmed",{}]')


@pytest.fixture(autouse=True, scope="module")
def program() -> None:
    """Compile the floor, or skip the tests. Only the worker of this file needs it."""
    try:
        compiled("peers/floor.c")
    except NoCompiler as error:
        pytest.skip(str(error))


def reply(body: bytes) -> bytes:
    return b"*3\r\n$7\r\nmessage\r\n$13\r\nprice_updates\r\n$%d\r\n%s\r\n" % (len(body), body)


def body(topic: str, number: int, padding: int = 0) -> bytes:
    return b'{"instrument":"%s","seq":%d,"padding":"%s"}' % (topic.encode(), number, b"x" * padding)


def price(topic: str, seq: int) -> bytes:
    values = {"bid": "1", "ask": "2", "mid": "1.5", "time": "2025-11-18T12:34:56.000000Z"}
    return orjson.dumps({"instrument": topic, "price": values, "timestamp": "2025-11-18T12:34:56.789123Z", "seq": seq, "epoch": "abc"})


def frame(body: bytes) -> bytes:
    return server_frame(PRICE_PREFIX + body + b"]")


@contextlib.contextmanager
def floor(folder: Path, *options: str) -> Iterator[tuple[int, socket.socket]]:
    """A running floor: its port, and the connection that Redis would have."""
    path, port = folder / "r", free_port()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(60)
    environ = {**os.environ, "REDIS_URL": f"unix://user:word@{path}?db=0"}
    with listener, subprocess.Popen([compiled("peers/floor.c"), str(port), *options], env=environ) as popen:
        try:
            redis, _ = listener.accept()
            with redis:
                asked = redis.makefile("rb")
                assert [asked.readline(), asked.readline()] == [b"AUTH user word\r\n", b"SUBSCRIBE price_updates\r\n"]
                redis.sendall(b"+OK\r\n*3\r\n$9\r\nsubscribe\r\n$13\r\nprice_updates\r\n:1\r\n")
                yield port, redis
        finally:
            popen.kill()


def client(port: int, pairs: Sequence[str]) -> socket.socket:
    def connected() -> socket.socket | None:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        return None

    made = until(connected)
    assert isinstance(made, socket.socket)
    made.sendall(b'{"pairs":[%s]}\n' % b",".join(b'"%s"' % pair.encode() for pair in pairs))
    assert received(made, len(CONFIRMED)) == CONFIRMED
    return made


def received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


@pytest.mark.parametrize("options", [(), ("joined",)])
@pytest.mark.parametrize("step", [7, 1000, 1_000_000])
def test_clients_receive_the_frames_of_their_rooms_in_order(tmp_path: Path, options: tuple[str, ...], step: int) -> None:
    bodies = [body(topic, number, padding) for number, padding in enumerate((0, 50, 200, 5000)) for topic in ("A", "B", "C")]
    data = b"".join(map(reply, bodies))
    with floor(tmp_path, *options) as (port, redis), client(port, ["A", "B"]) as both, client(port, ["B"]) as one:
        for start in range(0, len(data), step):
            redis.sendall(data[start : start + step])
        for connection, topics in ((both, ("A", "B")), (one, ("B",))):
            wanted = b"".join(
                frame(each) for each in bodies if each.startswith(tuple(f'{{"instrument":"{name}"'.encode() for name in topics))
            )
            assert received(connection, len(wanted)) == wanted


@pytest.mark.parametrize("native", [True, False])
def test_load_generator_counts_the_prices_of_each_client(tmp_path: Path, native: bool) -> None:
    plans = [Plan(0, "raw", pairs) for pairs in (("A",), ("A", "B"), ("B",))]
    with floor(tmp_path) as (port, redis), LoadGenerator(native=native) as load:
        load.connect([replace(plan, port=port) for plan in plans])
        load.command("begin")
        redis.sendall(b"".join(reply(price(topic, seq)) for seq in range(1, 51) for topic in ("A", "B")))
        assert load.wait(200, 20.0)
        report = load.command("report")
    assert [report[key] for key in ("received", "clients", "problem_count", "unequal")] == [200, 3, 0, 0]
    assert 0 < report["first"] <= report["last"]


def test_load_generator_finds_a_client_without_all_its_messages(tmp_path: Path) -> None:
    with floor(tmp_path) as (port, redis), LoadGenerator(native=True) as load:
        load.connect([Plan(port, "raw", ("A",)), Plan(port, "raw", ("A",), stalls=True)])
        assert load.command("stall") == {"stalled": 1}
        redis.sendall(reply(price("A", 1)))
        assert load.wait(1, 20.0)
        load.command("resume")
        redis.sendall(reply(price("A", 3)))
        assert load.wait(4, 20.0)
        report = load.command("report")
    assert report["problem_count"] == 2
    assert "A 3 instead of 2" in report["problems"][0]


def test_batch_above_the_buffer_of_a_client_is_complete(tmp_path: Path) -> None:
    bodies = [body("A", number, 3000) for number in range(200)]
    wanted = b"".join(map(frame, bodies))
    with floor(tmp_path, "joined") as (port, redis), client(port, ["A"]) as one:
        redis.sendall(b"".join(map(reply, bodies)))
        assert received(one, len(wanted)) == wanted


def test_lost_redis_ends_the_program(tmp_path: Path) -> None:
    with floor(tmp_path) as (port, redis), client(port, ["A"]) as one:
        redis.shutdown(socket.SHUT_RDWR)
        assert one.recv(1) == b""
