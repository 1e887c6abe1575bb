"""The listener of METRICS_PORT: its routes, and clients that are slow, rude or many."""

from __future__ import annotations

import atexit
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from cli.system import processes
from config.exposition import Exposition
from config.loops import Heartbeats
from config.settings import SettingsError, load
from ops import metrics_endpoint
from ops.metrics_endpoint import MAX_CONNECTIONS, MAX_REQUEST_BYTES, Listener, Pages
from tests.support.raw_http import Answer, RawConnection

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Place:
    """A running listener, the clock of its connections and that of its heartbeats."""

    port: int
    clock: Clock
    heartbeats: Heartbeats
    loops_clock: Clock

    def get(self, target: str, accept: str | None = None, method: str = "GET") -> Answer:
        header = "" if accept is None else f"Accept: {accept}\r\n"
        return self.send(f"{method} {target} HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode())

    def send(self, request: bytes) -> Answer:
        with RawConnection(self.port, request) as connection:
            return read_all(connection)


def read_all(connection: RawConnection) -> Answer:
    """The answer up to the end of the connection."""
    text = b""
    while data := connection.sock.recv(65536):
        text += data
    head, _, body = text.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert headers["connection"] == "close"
    return Answer(int(status.split()[1]), headers, body)


def received_or_end(connection: socket.socket) -> bytes:
    """The next bytes; empty at an end in order or by a reset."""
    try:
        return connection.recv(1 << 20)
    except ConnectionResetError:
        return b""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    exposition = Exposition("jobs")
    exposition.register(lambda found: found.add("tickwire_build_info", 1, version="1", python="3"))
    exposition.register(lambda found: found.add("tickwire_bus_epochs_total", 2))
    clock, loops_clock, stop = Clock(), Clock(), threading.Event()
    heartbeats = Heartbeats(loops_clock)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    thread = threading.Thread(target=Listener(listening, Pages(exposition, heartbeats).answer, monotonic=clock).run, args=(stop,))
    thread.start()
    yield Place(port, clock, heartbeats, loops_clock)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("target", "accept", "content_type", "read"),
    [
        ("/metrics", None, "text/plain; version=0.0.4", read_text),
        ("/metrics", "*/*", "text/plain; version=0.0.4", read_text),
        ("/metrics", BROWSER, "text/plain; version=0.0.4", read_text),
        ("/metrics", "application/json", "text/plain; version=0.0.4", read_text),
        ("/metrics", PROMETHEUS, "application/openmetrics-text; version=1.0.0", read_openmetrics),
        ("/metrics?format=openmetrics", None, "application/openmetrics-text", read_openmetrics),
        ("/metrics?format=prometheus", PROMETHEUS, "text/plain; version=0.0.4", read_text),
    ],
)
def test_metrics_have_the_form_that_the_client_names(
    place: Place, target: str, accept: str | None, content_type: str, read: Callable[[str], Any]
) -> None:
    answer = place.get(target, accept)
    assert (answer.status, answer.headers["cache-control"], answer.headers["vary"]) == (200, "no-store", "Accept")
    assert answer.headers["content-type"].startswith(content_type)
    values = {sample.name: sample.value for family in read(answer.body.decode()) for sample in family.samples}
    assert values == {"tickwire_build_info": 1, "tickwire_bus_epochs_total": 2}


def test_head_has_no_body(place: Place) -> None:
    whole, head = place.get("/metrics"), place.get("/metrics", method="HEAD")
    assert (head.status, head.body, head.headers) == (200, b"", whole.headers)
    assert int(head.headers["content-length"]) == len(whole.body)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET /metrics?format=json HTTP/1.1\r\n\r\n", 422, "invalid_payload"),
        (b"GET /metrics?format= HTTP/1.1\r\n\r\n", 422, "invalid_payload"),
        (b"GET /other HTTP/1.1\r\n\r\n", 404, "not_found"),
        (b"GET / HTTP/1.0\r\n\r\n", 404, "not_found"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405, "method_not_allowed"),
        (b"GET /metrics HTTP/2\r\n\r\n", 400, "bad_request"),
        (b"GET /met rics HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
        (b"\r\n\r\n\r\n", 400, "bad_request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * MAX_REQUEST_BYTES, 431, "request_header_fields_too_large"),
    ],
)
def test_wrong_request_gets_an_error_in_the_one_shape(place: Place, request_: bytes, status: int, code: str) -> None:
    answer = place.send(request_)
    assert (answer.status, answer.code) == (status, code)


def test_live_is_503_while_a_loop_is_silent(place: Place) -> None:
    assert (place.get("/live").status, place.get("/live").body) == (200, b'{"status":"alive"}')
    place.heartbeats.expect("writer", 10)
    place.loops_clock.now += 29
    assert place.get("/live").status == 200
    place.loops_clock.now += 1
    answer = place.get("/live")
    assert (answer.status, json.loads(answer.body)) == (503, {"status": "silent", "silent_loops": ["writer"]})
    place.heartbeats.beat("writer")
    assert place.get("/live").status == 200


def test_slow_client_gets_408_and_delays_nobody(place: Place) -> None:
    with RawConnection(place.port, b"GET /metr") as slow:
        assert place.get("/live").status == 200
        slow.send(b"ics HTTP/1.1\r\n")
        place.clock.now += metrics_endpoint.REQUEST_SECONDS
        answer = read_all(slow)
        assert (answer.status, answer.code) == (408, "request_timeout")


def test_request_in_single_bytes_is_answered(place: Place) -> None:
    with RawConnection(place.port) as connection:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /live HTTP/1.1\r\n\r\n":
            connection.send(bytes([byte]))
        assert read_all(connection).status == 200


def test_oldest_of_too_many_connections_is_closed(place: Place) -> None:
    idle = [RawConnection(place.port) for _ in range(MAX_CONNECTIONS)]
    try:
        assert place.get("/live").status == 200
        assert idle[0].sock.recv(1) == b""
        idle[1].send(b"GET /live HTTP/1.1\r\n\r\n")
        assert read_all(idle[1]).status == 200
    finally:
        for connection in idle:
            connection.close()


def test_client_that_never_reads_delays_nobody() -> None:
    """The answer exceeds the buffers of the system; the listener drops the client in the end."""
    clock, stop = Clock(), threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    big = b"x" * 20_000_000
    thread = threading.Thread(
        target=Listener(listening, lambda head: big if b"big" in head else b"small", monotonic=clock).run, args=(stop,)
    )
    thread.start()
    try:
        with RawConnection(port, b"GET /big HTTP/1.1\r\n\r\n", receive_buffer=4096) as deaf:
            with RawConnection(port, b"GET /live HTTP/1.1\r\n\r\n") as other:
                assert other.sock.recv(100) == b"small"
            clock.now += metrics_endpoint.ANSWER_SECONDS
            received = 0
            while data := received_or_end(deaf.sock):
                received += len(data)
            assert 0 < received < len(big)
    finally:
        stop.set()
        thread.join(60)


def test_failing_page_is_500_with_its_reason_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def families(self) -> Any:
            raise RuntimeError("no metrics")

    answer = Pages(cast(Exposition, Broken())).answer(b"GET /metrics HTTP/1.1")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"no metrics" not in answer
    assert caplog.records[-1].exc_info is not None


# the start


def settings(**variables: str) -> Any:
    return load(variables, dotenv=None, service="jobs")


def test_without_a_port_there_is_no_listener() -> None:
    before = threading.active_count()
    metrics_endpoint.start(settings(), Exposition("jobs"))
    assert threading.active_count() == before


def test_taken_port_ends_the_process_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            metrics_endpoint.start(settings(METRICS_PORT=str(port)), Exposition("jobs"))
    assert ended.value.code == 2
    [text] = [record.getMessage() for record in caplog.records]
    assert text == f"METRICS_PORT: port {port} on 127.0.0.1 is in use; stop what listens there or set another METRICS_PORT"


def test_open_host_is_one_warning(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "HEARTBEATS", Heartbeats())
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", ends.append)
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104
        with socket.create_server((host, 0)) as probe:
            port = probe.getsockname()[1]
        metrics_endpoint.start(settings(METRICS_HOST=host, METRICS_PORT=str(port)), Exposition("jobs"))
        with RawConnection(port, b"GET /live HTTP/1.1\r\n\r\n") as connection:
            assert read_all(connection).status == 200
    for end in ends:
        end()
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [vars(record)["host"] for record in warnings] == ["0.0.0.0"]  # noqa: S104


def test_processes_of_up_have_ports_of_their_own() -> None:
    chosen = load({"METRICS_PORT": "5010"}, dotenv=None, service="up")
    ports = {each.name: (each.env or {}).get("METRICS_PORT") for each in processes(chosen, {"METRICS_PORT": "5010"})}
    assert ports == {"jobs": "5010", "observer": "5011", "books": "5012", "hub": "5010", "rest": "5010"}  # the last two do not read it
    assert chosen.metrics_ports == {"jobs": 5010, "observer": 5011, "books": 5012}
    assert load({}, dotenv=None, service="up").metrics_ports == {}


def test_ports_of_up_end_at_the_last_port() -> None:
    load({"METRICS_PORT": "65535"}, dotenv=None, service="jobs")
    with pytest.raises(SettingsError) as invalid:
        load({"METRICS_PORT": "65534"}, dotenv=None, service="up")
    assert "METRICS_PORT: The 3 ports from METRICS_PORT on must not go beyond 65535." in str(invalid.value)
