"""The relay's connection on eventlet: TCP, TLS and the Unix socket, with a Redis of Debian."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis as redis_client

from tests.conftest import until
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.processes import ROOT, Running

REDIS = shutil.which("redis-server")

pytestmark = pytest.mark.skipif(REDIS is None, reason="redis-server with TLS is not installed")

# Lone messages, then bursts of many TLS records.
LONE, BURST, BODY_BYTES = 20, 3_000, 400

SCRIPT = """
import sys
import warnings

warnings.simplefilter("ignore")
import eventlet

eventlet.monkey_patch()
from api.hub.relay.link import Link
from api.hub.transport.eventlet_loop import Eventlet
from db.bus import Bus
from db.timestamps import utc_now


class Printer:
    def catch_up(self):
        print("subscribed", flush=True)

    def take(self, messages):
        for _, body in messages:
            number = int(body.split()[0])
            if number < {lone} or number % 100 == 0:
                print(number, len(body), flush=True)
        return []

    take_with_reads = take


bus = Bus(sys.argv[1], utc_now)
link = Link(lambda: bus.subscribe(["price_updates"]), Printer(), Eventlet())
link.begin()
while True:
    eventlet.sleep(60)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redis")


@pytest.fixture(scope="module")
def urls(folder: Path) -> Iterator[dict[str, str]]:
    """Kind of connection -> its URL, of one server."""
    tcp, tls = free_port(), free_port()
    authority = Authority(folder, "authority")
    server = authority.sign("server", "127.0.0.1")
    argv = [str(REDIS), "--port", str(tcp), "--tls-port", str(tls), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    argv += ["--tls-cert-file", str(server.certificate), "--tls-key-file", str(server.key), "--tls-auth-clients", "no"]
    argv += ["--tls-ca-cert-file", str(authority.file), "--unixsocket", str(folder / "redis.sock")]
    urls = {
        "tcp": f"redis://127.0.0.1:{tcp}/0",
        "tls": f"rediss://127.0.0.1:{tls}/0?ssl_ca_certs={authority.file}",
        "unix": f"unix://{folder / 'redis.sock'}?db=0",
    }
    with Running(argv, {}, folder / "redis.log"), redis_client.Redis.from_url(urls["tcp"]) as client:
        until(lambda: _answers(client), 20, "Redis")
        yield urls


def _answers(client: redis_client.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis_client.RedisError:
        return False


def test_lone_messages_and_bursts_arrive_over_every_kind_of_connection(urls: dict[str, str], folder: Path) -> None:
    argv, environ = [sys.executable, "-c", SCRIPT.format(lone=LONE)], {"PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        client = stack.enter_context(redis_client.Redis.from_url(urls["tcp"]))
        relays = [stack.enter_context(Running([*argv, url], environ, folder / f"{kind}.log")) for kind, url in urls.items()]
        expected = "subscribed\n"
        await_output(relays, expected)
        for number in range(LONE):
            client.publish("price_updates", body(number))
            expected += f"{number} {BODY_BYTES}\n"
            await_output(relays, expected)
        for first in (2_000, 2_000 + BURST):
            numbers = range(first, first + BURST)
            with client.pipeline(transaction=False) as pipe:
                for number in numbers:
                    pipe.publish("price_updates", body(number))
                pipe.execute()
            expected += "".join(f"{number} {BODY_BYTES}\n" for number in numbers if number % 100 == 0)
            await_output(relays, expected)


def body(number: int) -> str:
    return f"{number} ".ljust(BODY_BYTES, "x")


def await_output(relays: Sequence[Running], expected: str) -> None:
    for relay in relays:
        until(lambda relay=relay: relay.output() == expected, 30, f"the output in {relay.log}")  # type: ignore[misc]
