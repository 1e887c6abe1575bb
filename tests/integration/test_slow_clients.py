"""REST beside clients that send or read slowly, with shorter times of the worker."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.gunicorn.connection import SECONDS, State
from config.gunicorn.request_reader import MAX_BODY_BYTES
from config.settings import Settings
from db.bus import Bus
from db.partitions import make_months
from db.postgres import Store
from tests.conftest import until
from tests.support.hasty_rest import HastyRest
from tests.support.processes import Web
from tests.support.raw_http import Answer, RawConnection, exchange, is_closed_by_peer, request

SLOW_CONNECTIONS = 200
LIVE = request("/health/live")
PRICE = request("/price/latest?symbol=EUR_USD")
PART = LIVE[:-4]  # without the end of the head
HEAD = request("/health/live", "Content-Length: 100", method="POST")


@pytest.fixture(scope="module")
def rest(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with HastyRest(shared_settings, tmp_path_factory.mktemp("rest") / "rest.log") as process:
        yield process
        assert "Traceback" not in process.output()


@pytest.fixture
def price(shared_bus: Bus) -> None:
    shared_bus.cache_price("EUR_USD", bid="1.0945", ask="1.0947", mid="1.0946", time="2025-11-18T12:30:00.000000Z")


def drip(slow: list[RawConnection]) -> None:
    for each in slow:
        each.try_to_send(b"x")


def test_times_of_the_worker_equal_the_documented_ones() -> None:
    assert {State.HEAD: 10, State.BODY: 10, State.SENDING: 30, State.IDLE: 10, State.CLOSING: 2}.items() <= SECONDS.items()
    assert set(SECONDS) == set(State)


def test_slow_requests_leave_every_route_working_and_are_closed(rest: Web, price: None) -> None:
    slow = [RawConnection(rest.port, request("/symbols")[:-2] + b"X-Slow: " if index % 4 else HEAD) for index in range(SLOW_CONNECTIONS)]
    dripping = slow[: SLOW_CONNECTIONS // 2]
    for _ in range(50):
        drip(dripping)
        for path in ("/health/live", "/symbols", "/price/latest?symbol=EUR_USD"):
            assert exchange(rest.port, request(path)).status == 200
    drip_until_closed(slow, dripping)


def drip_until_closed(slow: list[RawConnection], dripping: list[RawConnection]) -> None:
    def all_closed() -> bool:
        drip(dripping)
        return all(is_closed_by_peer(each.sock) for each in slow)

    until(all_closed, what="the end of all slow connections")
    for each in slow:
        each.close()


@pytest.mark.parametrize("sent", [b"", b"G", PART, HEAD, HEAD + b"x" * 99], ids=["nothing", "byte", "head", "no-body", "body"])
def test_incomplete_request_is_answered_with_408(rest: Web, sent: bytes) -> None:
    with RawConnection(rest.port, sent) as connection:
        answer = connection.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert connection.ends()


def test_kept_connection_without_a_further_request_is_closed(rest: Web) -> None:
    with RawConnection(rest.port, LIVE) as connection:
        assert connection.answer().headers["connection"] == "keep-alive"
        assert connection.ends()


def test_pipelined_requests_are_answered_in_order_and_the_last_part_has_its_own_time(rest: Web, price: None) -> None:
    with RawConnection(rest.port, LIVE + PRICE + request("/nowhere") + PART) as connection:
        answers = [connection.answer() for _ in range(4)]
    assert [each.status for each in answers] == [200, 200, 404, 408]
    assert b"1.0946" in answers[1].body


def test_request_in_single_bytes_is_answered(rest: Web, price: None) -> None:
    with RawConnection(rest.port) as connection:
        for index in range(len(PRICE)):
            connection.send(PRICE[index : index + 1])
        assert connection.answer().status == 200


@pytest.mark.parametrize("ending", ["close", "keep-alive"])
def test_bodies_of_get_and_chunked_bodies_are_read_and_dropped(rest: Web, ending: str) -> None:
    chunked = request("/health/live", "Transfer-Encoding: chunked", f"Connection: {ending}", body=b"5\r\nhello\r\n0\r\n\r\n")
    with RawConnection(rest.port, request("/health/live", "Content-Length: 5", body=b"hello") + chunked) as connection:
        assert connection.answer().status == 200
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (200, ending)


def test_expectation_is_met_before_the_body_and_refused_for_one_too_large(rest: Web) -> None:
    with RawConnection(rest.port, request("/health/live", "Content-Length: 5", "Expect: 100-continue")) as connection:
        assert connection.answer().status == 100
        connection.send(b"hello")
        assert connection.answer().status == 200
    length = f"Content-Length: {MAX_BODY_BYTES + 1}"
    answer = exchange(rest.port, request("/health/live", length, "Expect: 100-continue"))
    assert (answer.status, answer.code) == (413, "request_entity_too_large")


def test_refusal_reaches_a_client_that_goes_on_sending(rest: Web) -> None:
    head = request("/symbols", f"Content-Length: {100 * MAX_BODY_BYTES}", method="POST")
    assert exchange(rest.port, head + b"x" * (MAX_BODY_BYTES // 2)).status == 413


def test_head_has_no_body_and_http_1_0_closes(rest: Web) -> None:
    with RawConnection(rest.port, request("/health/live", method="HEAD") + b"GET /health/live HTTP/1.0\r\n\r\n") as connection:
        assert connection.answer(head_only=True).status == 200
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert connection.ends()


def test_clients_that_read_nothing_leave_every_route_working(rest: Web) -> None:
    """Each of them asks for an answer that its socket does not take, ten times in a row."""
    readers = [RawConnection(rest.port, request("/openapi.json") * 10, receive_buffer=2048) for _ in range(20)]
    for path in ("/health/live", "/symbols", "/openapi.json"):
        assert exchange(rest.port, request(path)).status == 200
    until(lambda: all(is_reset(each) for each in readers), what="the end of the connections that read nothing")
    for each in readers:
        each.close()


@pytest.fixture(scope="module")
def many_prices(shared_settings: Settings) -> Iterator[None]:
    """120,000 prices of one instrument: more than the sockets and the worker keep unsent."""
    store = Store(str(shared_settings.database_url))
    with store.transaction() as cursor:
        make_months(cursor, "prices", ["2025-03"])
        cursor.execute(
            "INSERT INTO prices SELECT 'EUR_USD', timestamptz '2025-03-01Z' + n * interval '1 second', timestamptz '2025-03-01Z',"
            " 1.0945, 1.0947, 1.0946, NULL, 'test', 'e', n FROM generate_series(1, 120000) AS n"
        )
    yield
    store.close()


def test_exports_that_are_not_read_are_closed_and_their_places_released(rest: Web, many_prices: None) -> None:
    export = request("/ticks?symbol=EUR_USD&format=csv")
    readers = [RawConnection(rest.port, export, receive_buffer=2048) for _ in range(3)]
    assert [first_bytes(each) for each in readers] == [b"HTTP/1.1 200"] * 3
    assert exchange(rest.port, export).status == 429
    assert exchange(rest.port, LIVE).status == 200
    answer = until(lambda: (found := exchange(rest.port, export)).status == 200 and found, what="an export after the deadline")
    assert isinstance(answer, Answer)
    assert answer.body.count(b"\n") == 120_001
    with pytest.raises((OSError, EOFError, ValueError)):
        readers[0].answer()  # incomplete: its last chunk is missing
    for each in readers:
        each.close()


def test_address_behind_a_trusted_proxy_has_two_exports(shared_settings: Settings, tmp_path: Path, many_prices: None) -> None:
    export = "/ticks?symbol=EUR_USD&format=csv"
    with HastyRest(shared_settings, tmp_path / "rest.log", AUTH="off", TRUSTED_PROXIES="127.0.0.1") as proxied:
        mine = request(export, "X-Forwarded-For: 198.51.100.7")
        readers = [RawConnection(proxied.port, mine, receive_buffer=2048) for _ in range(2)]
        assert [first_bytes(each) for each in readers] == [b"HTTP/1.1 200"] * 2
        refused = exchange(proxied.port, mine)
        assert (refused.status, refused.code) == (429, "too_many_requests")
        assert exchange(proxied.port, request(export, "X-Forwarded-For: 198.51.100.8")).status == 200
        for each in readers:
            each.close()


def first_bytes(reader: RawConnection) -> bytes:
    """Wait for the first bytes of the answer and leave them unread."""
    return reader.sock.recv(12, socket.MSG_PEEK)


def is_reset(reader: RawConnection) -> bool:
    """Return True if the server has closed the connection; reads nothing of its answers."""
    return not reader.try_to_send(b"x") or bool(reader.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def test_connections_beyond_the_limit_close_the_oldest_and_are_served(shared_settings: Settings, tmp_path: Path) -> None:
    with HastyRest(shared_settings, tmp_path / "rest.log", "--worker-connections", "50") as few:
        silent = [RawConnection(few.port, PART) for _ in range(60)]
        assert exchange(few.port, LIVE).status == 200
        closed = [is_closed_by_peer(each.sock) for each in silent]
        assert closed == sorted(closed, reverse=True)
        assert sum(closed) >= 60 - 50
        for each in silent:
            each.close()


def test_stop_does_not_wait_for_unfinished_requests(shared_settings: Settings, tmp_path: Path) -> None:
    with HastyRest(shared_settings, tmp_path / "rest.log") as stopped:
        unfinished = [RawConnection(stopped.port, sent) for sent in (b"", PART, HEAD, LIVE)]
        assert unfinished[-1].answer().status == 200  # kept alive
        assert stopped.ask_to_stop() == 0
        assert all(each.ends() for each in unfinished)
        assert "Traceback" not in stopped.output()
        for each in unfinished:
            each.close()
