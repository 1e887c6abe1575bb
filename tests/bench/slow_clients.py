"""REST beside slow clients: latency of `/health/live`, requests per second of `/price/latest`.

`python -m tests.bench.slow_clients PORT` is the attack, a process of its own: connections that
send a part of a request, and then nothing or one byte a second. A closed connection is replaced.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM

HOST = "127.0.0.1"
SLOW_CONNECTIONS = 200
_PART_OF_A_REQUEST = f"GET /symbols HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ".encode()
_TIMEOUT_SECONDS = 30.0


@contextlib.contextmanager
def slow_connections(port: int, count: int = SLOW_CONNECTIONS) -> Iterator[None]:
    """Keep that many slow connections open during the block, half of them silent."""
    argv = [sys.executable, "-m", "tests.bench.slow_clients", str(port), str(count)]
    with subprocess.Popen(argv, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline().strip() != "open":
                raise RuntimeError("the slow connections do not open")
            yield
        finally:
            process.send_signal(SIGTERM)


def live_latencies(port: int, seconds: float, pause: float = 0.02) -> list[float]:
    """Return the seconds of each request to `/health/live`, each on a connection of its own.

    A request without an answer within 30 s counts with that time.
    """
    latencies, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        with contextlib.suppress(OSError, http.client.HTTPException):
            get(http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_SECONDS), "/health/live", "close")
        latencies.append(time.perf_counter() - begin)
        time.sleep(pause)
    return latencies


def requests_per_second(port: int, path: str, seconds: float, readers: int = 2) -> float:
    """Return the rate of complete answers over persistent connections."""
    done: list[int] = []
    end = time.perf_counter() + seconds

    def read() -> None:
        connection, count = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_SECONDS), 0
        with contextlib.suppress(OSError, http.client.HTTPException):
            while time.perf_counter() < end:
                get(connection, path, "keep-alive")
                count += 1
        connection.close()
        done.append(count)

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def get(connection: http.client.HTTPConnection, path: str, kept: str) -> bytes:
    """Return the body of an answer 200. Raises `http.client.HTTPException` otherwise."""
    connection.request("GET", path, headers={"Connection": kept})
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise http.client.HTTPException(f"{path}: {response.status}")
    if kept == "close":
        connection.close()
    return body


def attack(port: int, count: int) -> None:
    """Hold the slow connections until SIGTERM ends the process."""
    selector = selectors.DefaultSelector()
    opened = [_open(selector, port, silent=bool(index % 2)) for index in range(count)]
    sys.stdout.write("open\n")
    sys.stdout.flush()
    slow = {sock for index, sock in enumerate(opened) if not index % 2}
    parent, next_byte = os.getppid(), time.monotonic() + 1
    while os.getppid() == parent:
        for key, _ in selector.select(max(0.0, next_byte - time.monotonic())):
            if _ended(key.fileobj):  # type: ignore[arg-type]
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                slow.discard(key.fileobj)
                replacement = _open(selector, port, silent=key.data)
                if not key.data:
                    slow.add(replacement)
        if time.monotonic() >= next_byte:
            next_byte += 1
            for sock in slow:
                with contextlib.suppress(OSError):
                    sock.send(b"x")


def _open(selector: selectors.BaseSelector, port: int, silent: bool) -> socket.socket:
    sock = socket.create_connection((HOST, port), timeout=_TIMEOUT_SECONDS)
    sock.sendall(_PART_OF_A_REQUEST)
    sock.setblocking(False)
    selector.register(sock, selectors.EVENT_READ, silent)
    return sock


def _ended(sock: socket.socket) -> bool:
    try:
        return not sock.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True


if __name__ == "__main__":
    attack(int(sys.argv[1]), int(sys.argv[2]))
