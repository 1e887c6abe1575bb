"""Reports of bots, from the request to the commit of the observer, against a bare COPY loop.

The client, the servers and the processes of the product share all CPUs, as on a small machine.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import orjson
import psycopg2

from db.bus import Bus
from db.timestamps import format_time
from tests.bench.access.credentials import UNLIMITED
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.frames import client_frame
from tests.bench.metrics_clients import PATHS, Client, expect, handshake
from tests.bench.observability.exchange import converse, exchange
from tests.bench.observability.publisher import observer, prepare
from tests.bench.reads import web
from tests.bench.servers import PEERS, BenchError

HUNDREDS = Bar("committed reports/s in hundreds ÷ bare COPY loop", 0.5, at_least=True)
SINGLE_REST = Bar("single reports/s by REST", 1000, at_least=True)
SINGLE_HUB = Bar("single reports/s by `/metrics`", 1000, at_least=True)
_BATCH = 100
_BATCHES, _QUICK_BATCHES = 80, 20  # of each connection
_SECONDS, _QUICK_SECONDS = 4.0, 1.0
_CONNECTIONS, _SINGLE_CONNECTIONS = 4, 16  # each is one bot, which reports in the order of time
_STRATEGIES, _SYMBOLS, _FILLS_PER_ORDER = 2, 5, 4
_DEADLINE_SECONDS = 120.0
_LIMITS = {**UNLIMITED, "REPORTS_RATE": "1000000", "RATE_EVENTS": "100000/s"}
_COLUMNS = "bot, fill_id, time, received, seq, strategy, order_id, symbol, side, quantity, price, fee, fee_currency, currency, multiplier"


class Fills:
    """Fills of one bot in the order of time, each with an id of its own."""

    def __init__(self, place: Ground, bot: str) -> None:
        self._bot = bot
        self._symbols = place.instruments[:_SYMBOLS]
        self._begin = datetime.now(UTC) - timedelta(hours=1)
        self._number = 0

    def batch(self, size: int) -> list[dict[str, str]]:
        """Return the next fills, as clients send them."""
        return [self._next() for _ in range(size)]

    def _next(self) -> dict[str, str]:
        self._number += 1
        number = self._number
        return {
            "kind": "fill",
            "bot": self._bot,
            "strategy": f"strategy-{number % _STRATEGIES}",
            "id": f"f-{number}",
            "fill_id": f"f-{number}",
            "order_id": f"o-{number // _FILLS_PER_ORDER}",
            "symbol": self._symbols[number // _FILLS_PER_ORDER % _SYMBOLS],
            "side": "buy" if number // _FILLS_PER_ORDER % 3 else "sell",
            "quantity": str(1000 + number % 7),
            "price": f"1.09{number % 1000:03}",
            "fee": "0.02",
            "time": format_time(self._begin + timedelta(milliseconds=number)),
        }


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    batches, seconds = (_QUICK_BATCHES, _QUICK_SECONDS) if quick else (_BATCHES, _SECONDS)
    prepare(place)
    with place.cores.released(), ExitStack() as stack:
        case = f"{_BATCH} reports a request"
        bare = _copied(place, seconds)
        yield Measured(case, bare, text="bare COPY loop: rows/s")
        port, _ = stack.enter_context(web(place, "tickwire", _LIMITS))
        hub = stack.enter_context(place.server(PEERS["tickwire"], _LIMITS))
        stack.enter_context(observer(place, _LIMITS))
        bots = [Fills(place, f"rest-{number}") for number in range(_CONNECTIONS)]
        _hundreds(place, port, bots, 3)
        accepted, committed = _hundreds(place, port, bots, batches)
        yield Measured(case, accepted, text="accepted: reports/s")
        yield Measured(case, committed, text="committed: reports/s")
        yield Measured(case, committed / bare, HUNDREDS)
        case = f"{_SINGLE_CONNECTIONS} connections, one report a request"
        yield Measured(case, _singles(place, port, seconds), SINGLE_REST)
        yield Measured(case, _events(place, hub.port, seconds), SINGLE_HUB)


def _copied(place: Ground, seconds: float) -> float:
    """Return the rows per second of COPY and commit in hundreds, into a table like `fills`."""
    rows = [_row(each) for each in Fills(place, "bare").batch(_BATCH * 50)]
    texts = ["".join(rows[at : at + _BATCH]) for at in range(0, len(rows), _BATCH)]
    with closing(psycopg2.connect(place.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench_fills")
        cursor.execute("CREATE TABLE bench_fills (LIKE fills INCLUDING ALL)")
        connection.commit()
        done, began = 0, time.monotonic()
        while time.monotonic() < began + seconds:
            lap, number = divmod(done, len(texts))
            text = texts[number].replace("bare\t", f"bare-{lap}\t")  # a row is inserted once
            cursor.copy_expert(f"COPY bench_fills ({_COLUMNS}) FROM STDIN", io.StringIO(text))
            connection.commit()
            done += 1
        rate = done * _BATCH / (time.monotonic() - began)
        cursor.execute("DROP TABLE bench_fills")
        connection.commit()
    return rate


def _row(fill: dict[str, str]) -> str:
    names = ("bot", "fill_id", "time", "time", "id", "strategy", "order_id", "symbol", "side", "quantity", "price", "fee")
    values = [fill[name] for name in names]
    values[4] = values[4].removeprefix("f-")
    return "\t".join([*values, "USD", "USD", "1"]) + "\n"


def _hundreds(place: Ground, port: int, bots: list[Fills], batches: int) -> tuple[float, float]:
    """Return the reports per second that are accepted, and that are committed."""
    requests = [[_request(port, fills.batch(_BATCH)) for _ in range(batches)] for fills in bots]
    began = time.monotonic()
    accepted = exchange(port, requests)
    _until_stored(place)
    count = len(bots) * batches * _BATCH
    return count / accepted.seconds, count / (time.monotonic() - began)


def _request(port: int, reports: list[dict[str, str]]) -> bytes:
    body = orjson.dumps({"reports": reports})
    head = f"POST /reports HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _singles(place: Ground, port: int, seconds: float) -> float:
    """Post single reports for some seconds; return the accepted ones per second."""
    bots = [Fills(place, f"single-{number}") for number in range(_SINGLE_CONNECTIONS)]
    return exchange(port, [_single_requests(port, fills) for fills in bots], seconds).rate


def _single_requests(port: int, fills: Fills) -> Iterator[bytes]:
    while True:
        yield _request(port, fills.batch(1))


def _single_events(fills: Fills) -> Iterator[bytes]:
    while True:
        yield client_frame(b'42/metrics,1["report",' + orjson.dumps({"reports": fills.batch(1)}) + b"]")


def _events(place: Ground, port: int, seconds: float) -> float:
    """Send single reports on several sockets; return the acknowledged ones per second."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(_SINGLE_CONNECTIONS)]
        clients = {sock: Client(sock) for sock in sockets}
        for sock, client in clients.items():
            client.rest = handshake(sock, port, PATHS["socketio"])
            expect(client, b"0{")
            sock.sendall(client_frame(b"40/metrics,"))
            expect(client, b"40/metrics,{")
        requests = [_single_events(Fills(place, f"event-{number}")) for number in range(_SINGLE_CONNECTIONS)]
        return converse(sockets, requests, lambda sock: expect(clients[sock], b'43/metrics,1[{"accepted":1,'), seconds).rate


def _until_stored(place: Ground) -> None:
    """Wait until the observer has committed all reports: it removes them from the bus then."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        while bus.unprocessed_reports():
            if time.monotonic() > deadline:
                raise BenchError("the observer does not store the reports")
            time.sleep(0.02)


PART = Part("Reports", _run)
