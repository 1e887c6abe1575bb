"""The embedded Redis: its socket, the rights of our user, and its memory."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis as redis_client
from redis.exceptions import NoPermissionError

from db import topics
from db.bus import Bus, BusError
from db.bus.processes.checks import received
from db.messages import Tick
from ops import embedded
from ops.embedded.redis import MAX_SOCKET_PATH_BYTES
from ops.embedded.server import Server
from ops.supervisor import Supervisor
from tests.conftest import until
from tests.support.servers import add_operator

MEGABYTE = 1 << 20
FORBIDDEN = (
    "CONFIG GET dir", "MODULE LIST", "DEBUG OBJECT tickwire:epoch", "SAVE", "SHUTDOWN", "FLUSHALL", "SLAVEOF NO ONE", "KEYS *",
    "EVAL return(1) 0", "ACL LIST", "CLIENT LIST", "SCRIPT FLUSH", "XGROUP DESTROY tickwire:stream:trades store",
    "GET other", "SET other 1", "PUBLISH other 1", "SUBSCRIBE other",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Started:
    """A Redis that runs, as `up` starts it, with an operator besides our user."""

    server: Server
    operator_url: str
    pid: int
    folder: Path


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Started]:
    folder.mkdir(exist_ok=True)
    server = embedded.redis(folder)
    operator_url = add_operator(server, folder)
    with Supervisor() as supervisor:
        supervisor.start(server)
        yield Started(server, operator_url, supervisor.pids["redis"], folder)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with started(tmp_path_factory.mktemp("redis")) as one:
        yield one


def path_of(server: Server) -> str:
    return urlsplit(server.url).path


def test_redis_listens_on_a_private_socket_and_on_no_port(redis: Started) -> None:
    path = Path(path_of(redis.server))
    assert path == redis.folder.resolve() / "redis" / "redis.sock"
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o700, 0o700)
    assert psutil.Process(redis.pid).net_connections("inet") == []
    assert (redis.folder / "redis.password").read_text() not in (redis.folder / "redis" / "redis.conf").read_text()


def test_url_with_a_strange_path_reaches_redis(tmp_path: Path) -> None:
    with started(tmp_path / "a b#c?d%41") as one:
        bus = Bus(one.server.url, lambda: datetime.now(UTC))
        bus.claim_leadership("token", "observer")
        assert bus.leader("observer") == "token"
        bus.close()


def test_path_too_long_for_a_socket_means_loopback_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fitting, folder = MAX_SOCKET_PATH_BYTES - len("/redis/redis.sock"), tmp_path.resolve()
    while len(os.fsencode(folder)) + 101 < fitting:
        folder /= "d" * 100
    folder /= "d" * (fitting - len(os.fsencode(folder)) - 1)
    for longer, count in ((folder, 0), (folder.with_name(folder.name + "d"), 1)):
        longer.mkdir(parents=True)
        caplog.clear()
        with caplog.at_level(logging.WARNING), started(longer) as one:
            assert redis_client.Redis.from_url(one.server.url).ping()
            assert one.server.url.startswith("redis://tickwire:" if count else "unix://tickwire:")
            addresses = {each.laddr.ip for each in psutil.Process(one.pid).net_connections("inet")}
        assert addresses == ({"127.0.0.1"} if count else set())
        assert len(caplog.records) == count


def test_data_of_a_redis_with_requirepass_are_kept(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        client = redis_client.Redis.from_url(one.server.url)
        client.hset(topics.LATEST_KEY, "EUR_USD", "kept")
    # as the previous version wrote it
    (tmp_path / "redis" / "redis.conf").write_text(f"bind 127.0.0.1\nport 1\nrequirepass {(tmp_path / 'redis.password').read_text()}\n")
    (tmp_path / "redis").chmod(0o755)
    with started(tmp_path) as one:
        assert redis_client.Redis.from_url(one.server.url).hget(topics.LATEST_KEY, "EUR_USD") == b"kept"
        assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700


@pytest.mark.parametrize("command", FORBIDDEN, ids=[command.replace(" ", "-").replace("*", "all") for command in FORBIDDEN])
def test_command_that_the_bus_does_not_send_is_refused(redis: Started, command: str) -> None:
    with contextlib.closing(redis_client.Redis.from_url(redis.server.url, protocol=2)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split(" "))  # type: ignore[no-untyped-call]


def test_key_and_command_inside_a_script_are_checked_too(redis: Started) -> None:
    with contextlib.closing(redis_client.Redis.from_url(redis.server.url)) as client:
        for script in ("return redis.call('GET', KEYS[1])", "return redis.call('KEYS', '*')"):
            sha = client.script_load(script)
            with pytest.raises(redis_client.ResponseError, match=r"can't run this command or access|permissions"):
                client.evalsha(sha, 1, "other")


def test_refusal_of_redis_is_a_bus_error(redis: Started) -> None:
    bus = Bus(redis.server.url, lambda: datetime.now(UTC))
    with pytest.raises(BusError):
        bus.subscribe(["other"])
    bus.close()


def test_connections_without_a_password_cannot_fill_the_memory(tmp_path: Path) -> None:
    """Two connections send 60 MB of PING each and read nothing; Redis closes both."""
    with started(tmp_path) as one:
        process, peak, ended = psutil.Process(one.pid), 0, [threading.Event() for _ in range(2)]
        threads = [threading.Thread(target=flood, args=(path_of(one.server), event), daemon=True) for event in ended]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            peak = max(peak, process.memory_info().rss)
            for thread in threads:
                thread.join(0.02)
        assert all(event.is_set() for event in ended)
        assert (one.folder / "logs" / "redis.log").read_text().count("output buffer limits") == 2
        assert peak < 160 * MEGABYTE, peak
        assert redis_client.Redis.from_url(one.server.url).ping()


def flood(path: str, closed: threading.Event) -> None:
    """Send PINGs until Redis closes the connection; set `closed` if it does."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        block = b"PING\r\n" * (MEGABYTE // 6)
        with contextlib.suppress(ConnectionError):
            for _ in range(60 * MEGABYTE // len(block) + 1):
                connection.sendall(block)
            # All was taken: read to the end, which comes soon if Redis has dropped the answers.
            while connection.recv(MEGABYTE):
                pass
        closed.set()


def test_whole_bus_sends_no_command_that_is_refused(redis: Started) -> None:
    """ACL LOG lists every refused command of our user."""
    with contextlib.closing(redis_client.Redis.from_url(redis.operator_url, decode_responses=True)) as operator:
        operator.acl_log_reset()
        bus = Bus(redis.server.url, lambda: datetime.now(UTC))
        bus.set_instruments({"EUR_USD": "fx"})
        subscription = bus.subscribe()
        bus.cache_price("EUR_USD", bid="1", ask="2", mid="1.5", time=datetime.now(UTC))
        assert bus.publish_once([Tick("EUR_USD", "1", "2", "1.5", "2025-11-18T12:30:00.000000Z", "test")], [True]) != [None]
        bus.open_group(topics.PRICES)
        entries = bus.read_unstored(topics.PRICES, 10, 0)
        assert bus.acknowledge(topics.PRICES, [entry.id for entry in entries]) == 2
        until(lambda: subscription.read(1), what="the price")
        use_registry_and_checks(bus)
        assert operator.acl_log() == []
        bus.close()


def use_registry_and_checks(bus: Bus) -> None:
    """Send every command of the process registry and of the checks of the bus."""
    assert bus.take_name("jobs@test", b"one")
    assert bus.report_of("jobs@test") == b"one"
    assert bus.replace_report("jobs@test", b"one", b"two")
    assert bus.put_process("jobs@test", 1_000, b"three") == b"two"
    assert [entry.name for entry in bus.processes(1_000)] == ["jobs@test"]
    bus.check_write("jobs@test", "value")
    with contextlib.closing(bus.subscribe_checks()) as checks:
        bus.publish_check(b"check")
        assert received(checks, b"check", 20)
    assert bus.oldest_unstored_seconds(topics.PRICES) is None
    bus.delete_old_keys()
    bus.remove_process("jobs@test")
    assert bus.processes(1_000) == []
