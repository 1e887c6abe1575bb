"""Request ids: their validation, the headers, and the same ids on every record of a request."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from api.rest.request_log import RequestLog, attach, template
from config import request_ids
from config.request_ids import make_ids
from config.settings import Settings
from tests.conftest import until
from tests.support.processes import Web
from tests.support.raw_http import exchange, request

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEX = frozenset("0123456789abcdef")
ALLOWED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-"
FIELDS = {"endpoint", "method", "status", "duration_ms", "bytes", "key_id", "request_id", "trace_id", "span_id"}
Line = dict[str, Any]

# validation


@given(st.text(ALLOWED, min_size=1, max_size=64))
def test_valid_request_id_is_kept(sent: str) -> None:
    assert make_ids(sent).request_id == sent


@given(st.none() | st.text(max_size=70).filter(lambda text: not text or len(text) > 64 or not set(text) <= set(ALLOWED)))
def test_any_other_request_id_is_replaced(sent: str | None) -> None:
    made = make_ids(sent).request_id
    assert (len(made), set(made) <= HEX) == (32, True)
    assert make_ids(sent).request_id != made


@pytest.mark.parametrize(
    "sent",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f"cc-{TRACE}-{SPAN}-01",  # of a later version
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
    ],
)
def test_valid_traceparent_gives_the_trace_and_a_new_span(sent: str) -> None:
    fields = make_ids("a", sent).fields
    assert fields["trace_id"] == TRACE
    assert (len(fields["span_id"]), set(fields["span_id"]) <= HEX, fields["span_id"] != SPAN) == (16, True, True)


# Those of the test suite of W3C Trace Context are among them.
@pytest.mark.parametrize(
    "sent",
    [
        "",
        f"00-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
        f"ff-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
    ],
)
def test_invalid_traceparent_gives_a_new_trace(sent: str) -> None:
    trace = make_ids("a", sent).fields["trace_id"]
    assert trace != TRACE
    assert (len(trace), set(trace) <= HEX) == (32, True)


def test_request_id_in_the_form_of_a_key_is_masked_in_records_alone() -> None:
    ids = make_ids("tw_abcd1234_secret")
    assert (ids.request_id, ids.fields["request_id"]) == ("tw_abcd1234_secret", "***")


# a process


@pytest.fixture(scope="module")
def rest(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web("rest", shared_settings, tmp_path_factory.mktemp("rest") / "rest.log", LOG_LEVEL="DEBUG") as process:
        yield process


def records(rest: Web, request_id: str) -> list[Line]:
    """The records of a request, once its access record is there."""

    def found() -> list[Line]:
        lines = [json.loads(line) for line in rest.output().rpartition("\n")[0].splitlines()]
        return [line for line in lines if line.get("request_id") == request_id]

    until(lambda: any(line["message"] == "request" for line in found()), what=f"a record of {request_id}")
    return found()


def get(rest: Web, path: str, headers: Mapping[str, str], method: str = "GET") -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", rest.port, timeout=60)
    connection.request(method, path, headers=dict(headers))
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def test_answer_has_the_id_and_the_record_all_fields(rest: Web) -> None:
    status, headers, body = get(rest, "/symbols?secret=query", {"X-Request-ID": "abc", "traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert (status, headers["X-Request-ID"]) == (422, "abc")
    (record,) = records(rest, "abc")
    assert record.keys() == FIELDS | {"timestamp", "level", "message", "service", "logger"}
    expected: Line = {"level": "INFO", "message": "request", "service": "rest", "logger": "access"}
    expected |= {"endpoint": "/symbols", "method": "GET", "status": 422, "bytes": len(body), "key_id": None, "trace_id": TRACE}
    assert record == record | expected
    assert 0 < record["duration_ms"] < 60_000
    assert "secret" not in rest.output()


@pytest.mark.parametrize(
    ("name", "path", "method", "status", "endpoint"),
    [
        ("missing", "/nowhere/at/all", "GET", 404, "unmatched"),
        ("method", "/symbols", "DELETE", 405, "unmatched"),
        ("arguments", "/ticks?symbol=EUR_USD&limit=0", "GET", 422, "/ticks"),
        ("template", "/api/trades/9", "GET", 404, "/api/trades/{trade_id}"),
        ("head", "/symbols", "HEAD", 200, "/symbols"),
        ("export", "/ticks?symbol=EUR_USD&format=csv", "GET", 200, "/ticks"),
        ("current", "/api/metrics/current", "GET", 503, "/api/metrics/current"),
    ],
)
def test_each_answer_has_an_id(rest: Web, name: str, path: str, method: str, status: int, endpoint: str) -> None:
    sent = f"each-{name}"
    found, headers, body = get(rest, path, {"X-Request-ID": sent}, method)
    assert (found, headers["X-Request-ID"]) == (status, sent)
    record = records(rest, sent)[-1]
    assert (record["endpoint"], record["method"], record["status"], record["bytes"]) == (endpoint, method, status, len(body))


def test_request_before_the_application_has_a_new_id(rest: Web) -> None:
    answer = exchange(rest.port, request("/", "Expect: nothing", "X-Request-ID: abc"))
    assert (answer.status, len(answer.headers["x-request-id"])) == (417, 32)
    until(lambda: answer.headers["x-request-id"] in rest.output())


@pytest.mark.parametrize("path", ["/health/live", "/metrics"])
def test_records_of_probes_are_debug(rest: Web, path: str) -> None:
    get(rest, path, {"X-Request-ID": "probe"})
    assert {each["level"] for each in records(rest, "probe")} == {"DEBUG"}


def test_browser_may_send_and_read_the_header(rest: Web) -> None:
    origin = {"Origin": "http://localhost:3000"}
    assert "X-Request-ID" in get(rest, "/symbols", origin)[1]["Access-Control-Expose-Headers"]
    asked = get(rest, "/symbols", {**origin, "Access-Control-Request-Method": "GET"}, "OPTIONS")[1]
    assert {"X-Request-ID", "traceparent"} <= set(asked["Access-Control-Allow-Headers"].split(", "))
    assert re.fullmatch("[0-9a-f]{32}", asked["X-Request-ID"])


def test_records_of_concurrent_requests_have_their_own_ids(rest: Web) -> None:
    """Each thread serves many requests; each id has one access record with its own status."""
    paths = [("/symbols", 200), ("/nowhere", 404), ("/ticks?limit=0&symbol=EUR_USD", 422), ("/health/live", 200)]

    def ask(number: int) -> None:
        path, status = paths[number % 4]
        found, headers, _ = get(rest, path, {"X-Request-ID": f"many-{number}"})
        assert (found, headers["X-Request-ID"]) == (status, f"many-{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(80)))
    for number in range(80):
        found = [each for each in records(rest, f"many-{number}") if each["message"] == "request"]
        assert [each["status"] for each in found] == [paths[number % 4][1]]


# the application alone


def small_app(log: list[tuple[str, str, int, int]]) -> tuple[Flask, RequestLog]:
    """An app whose routes log, stream and fail."""
    app = Flask("small")

    @app.get("/stream/<int:count>")
    def stream(count: int) -> Any:
        def pieces() -> Iterator[bytes]:
            for _ in range(count):
                seen.append(dict(request_ids.fields()))
                yield b"12345"
            if count == 3:
                raise RuntimeError("midway")

        return app.response_class(pieces())

    @app.get("/broken")
    def broken() -> Any:
        raise RuntimeError("of a view")

    seen: list[dict[str, str]] = []
    app.extensions["seen"] = seen
    requests = attach(app, app.wsgi_app)
    requests.finished.append(lambda endpoint, method, status, seconds, size: log.append((endpoint, method, status, size)))
    app.wsgi_app = requests  # type: ignore[method-assign]
    return app, requests


def test_stream_ends_with_its_last_piece() -> None:
    log: list[tuple[str, str, int, int]] = []
    app, requests = small_app(log)
    answer = app.test_client().get("/stream/2", headers={"X-Request-ID": "s"}, buffered=False)
    assert (requests.in_progress, log) == (1, [])
    assert answer.data == b"1234512345"
    answer.close()
    answer.close()
    assert (requests.in_progress, log) == (0, [("/stream/{count}", "GET", 200, 10)])
    assert [each["request_id"] for each in app.extensions["seen"]] == ["s", "s"]
    assert not request_ids.fields()


def test_failed_requests_end_too() -> None:
    log: list[tuple[str, str, int, int]] = []
    app, requests = small_app(log)
    answer = app.test_client().get("/stream/3", buffered=False)
    with pytest.raises(RuntimeError, match="midway"):
        answer.get_data()
    answer.close()
    with app.test_client().get("/broken") as failed:
        assert failed.status_code == 500
    app.testing = True
    with pytest.raises(RuntimeError, match="of a view"):
        app.test_client().get("/broken")
    assert log == [
        ("/stream/{count}", "GET", 200, 15),
        ("/broken", "GET", 500, int(failed.headers["Content-Length"])),
        ("unmatched", "GET", 500, 0),
    ]
    assert requests.in_progress == 0
    assert not request_ids.fields()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("/symbols", "/symbols"),
        ("/api/trades/<trade_id>", "/api/trades/{trade_id}"),
        ("/a/<path:name>/b/<int(min=1):n>", "/a/{name}/b/{n}"),
    ],
)
def test_template_names_the_arguments(rule: str, expected: str) -> None:
    assert template(rule) == expected


def test_ids_of_a_thread_are_not_those_of_another() -> None:
    request_ids.begin(make_ids("here"))
    seen: list[Mapping[str, str]] = []
    thread = threading.Thread(target=lambda: seen.append(request_ids.fields()))
    thread.start()
    thread.join()
    request_ids.end()
    assert seen == [{}]
