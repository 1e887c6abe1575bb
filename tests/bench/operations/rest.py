"""The cost of metrics, request ids and the access log: two REST processes, one without them.

Both answer requests at the same time, so that everything else on the machine slows both down. The
requests of one second of CPU are those that a process can answer per second.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from statistics import median

from db.bus import Bus
from tests.bench.access.credentials import UNLIMITED
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.reads import SYMBOL, web
from tests.bench.servers import BenchError

RATIO = Bar("`/price/latest` requests/s with metrics, request id and access log ÷ without, median of pairs", 0.95, at_least=True)
_PATH = f"/price/latest?symbol={SYMBOL}"
_SIDES = ("without", "tickwire")
_CONNECTIONS = 1  # to each process
_PAIRS, _SECONDS, _QUICK_SECONDS, _WARM_SECONDS = 7, 6.0, 3.0, 1.0
_CPU_CLOCK = 2  # of another process, as clock_getcpuclockid(3) makes it


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
        bus.cache_price(SYMBOL, bid="1.0945", ask="1.0947", time=datetime.now(UTC))
    pairs = []
    for number in range(1 if quick else _PAIRS):
        with ExitStack() as stack:
            sides = _SIDES if number % 2 else _SIDES[::-1]
            logs = {side: {**UNLIMITED, "LOG_FILE": str(place.folder / f"{side}.json")} for side in sides}
            servers = {side: stack.enter_context(web(place, side, logs[side])) for side in sides}
            _load(servers, _WARM_SECONDS)
            pairs.append(_load(servers, _QUICK_SECONDS if quick else _SECONDS))
    for side, text in zip(_SIDES, ("without", "with"), strict=True):
        yield Measured("/price/latest", median(pair[side] for pair in pairs), text=f"requests per second of CPU {text}")
    yield Measured("/price/latest", median(pair["tickwire"] / pair["without"] for pair in pairs), RATIO)


def _load(servers: dict[str, tuple[int, int]], seconds: float) -> dict[str, float]:
    """Return the requests of each process, given by port and pid, per second of its CPU."""
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    end = time.monotonic() + seconds
    before = {side: _cpu(pid) for side, (_, pid) in servers.items()}

    def read(side: str, port: int) -> None:
        done = _read(port, end)
        with lock:
            counts[side] += done

    threads = [threading.Thread(target=read, args=(side, port)) for side, (port, _) in servers.items() for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(counts[side] for side in servers):
        raise BenchError(f"{_PATH} is not answered: see the errors above")
    return {side: counts[side] / (_cpu(pid) - before[side]) for side, (_, pid) in servers.items()}


def _read(port: int, end: float) -> int:
    """Request until the time `end`; return the number of answers."""
    done = 0
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        while time.monotonic() < end:
            connection.request("GET", _PATH)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise BenchError(f"{_PATH}: {answer.status}: {body[:300]!r}")
            done += 1
    return done


def _cpu(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


PART = Part("REST", _run)
