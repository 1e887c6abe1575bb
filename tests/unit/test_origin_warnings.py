"""Refused origins in the log, and `CORS_ORIGINS` in the settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client

from api.access.counts import AccessCounts
from api.access.hosts import Hosts, Origins
from api.hub.transport.web.door import Door
from api.refused_origins import MAX_ORIGINS, RefusedOrigins
from api.rest import cors, errors
from config.settings import SettingsError, load
from tests.support.fake_time import FakeTime

PAGE = "http://app.test:3000"
LINE = f"origin {PAGE} refused; CORS_ORIGINS={PAGE} allows it"


def hub(refused: RefusedOrigins, origins: Origins) -> Client:
    def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    return Client(Door(application, Hosts(), origins, refused, AccessCounts()))


def rest(refused: RefusedOrigins, origins: Origins) -> Client:
    app = Flask(__name__)
    errors.register(app)
    cors.register(app, Hosts(), origins, refused, AccessCounts())
    app.add_url_rule("/symbols", view_func=lambda: "ok", methods=["GET", "POST"], endpoint="symbols")
    return Client(app)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("application", [hub, rest])
def test_refused_origin_is_one_warning_a_minute_with_its_remedy(application: Any, method: str, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeTime()
    client = application(RefusedOrigins(clock.monotonic), Origins())
    for _ in range(3):
        client.open("/symbols", method=method, headers={"Host": "localhost", "Origin": PAGE})
    assert lines(caplog) == [LINE]
    clock.wait(59)
    client.open("/symbols", method=method, headers={"Host": "localhost", "Origin": PAGE})
    assert lines(caplog) == [LINE]
    clock.wait(1)
    client.open("/symbols", method=method, headers={"Host": "localhost", "Origin": PAGE})
    assert lines(caplog) == [LINE, LINE]


@pytest.mark.parametrize("application", [hub, rest])
def test_remedy_of_the_warning_allows_the_origin(application: Any, caplog: pytest.LogCaptureFixture) -> None:
    chosen = load({"CORS_ORIGINS": LINE.split("CORS_ORIGINS=")[1].removesuffix(" allows it")}, dotenv=None)
    client = application(RefusedOrigins(FakeTime().monotonic), Origins(chosen.cors_origins))
    answer = client.get("/symbols", headers={"Host": "localhost", "Origin": PAGE})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"], lines(caplog)) == (200, PAGE, [])


def test_at_most_twenty_origins_a_minute_have_a_line(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeTime()
    refused = RefusedOrigins(clock.monotonic)
    for number in range(1000):
        refused.note(f"http://app{number}.test")
    assert len(lines(caplog)) == MAX_ORIGINS == 20
    clock.wait(60)
    refused.note("http://app999.test")
    assert lines(caplog)[-1] == "origin http://app999.test refused; CORS_ORIGINS=http://app999.test allows it"


@pytest.mark.parametrize("origin", ["null", "", "file://", "http://[", "http://app.test/path", "x" * 5000])
def test_origin_that_no_setting_can_name_has_a_line_of_its_own(origin: str, caplog: pytest.LogCaptureFixture) -> None:
    RefusedOrigins(FakeTime().monotonic).note(origin)
    [line] = lines(caplog)
    assert line == f"origin {origin[:200] or chr(39) * 2} refused; serve the page by http or https, and name its origin in CORS_ORIGINS"


@pytest.mark.parametrize(
    ("value", "near"),
    [
        ("app.test", "https://app.test"),
        ("app.test:3000", "https://app.test:3000"),
        ("http://app.test/", "http://app.test"),
        ("https://app.test/path?x=1", "https://app.test"),
        ("https://user@app.test", "https://app.test"),
        ("ftp://app.test", "https://app.example.com"),
        ("null", "https://null"),
        ("https://", "https://app.example.com"),
        ("http://app.test:99999", "https://app.example.com"),
        ("http://[", "https://app.example.com"),
    ],
)
def test_entry_that_is_no_origin_is_a_settings_error(value: str, near: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"CORS_ORIGINS": f"https://good.example, {value}"}, dotenv=None)
    assert caught.value.problems == {"CORS_ORIGINS": f"{value!r} is not an origin such as {near}"}


def test_every_wrong_entry_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"CORS_ORIGINS": "a.test,b.test"}, dotenv=None)
    assert caught.value.problems["CORS_ORIGINS"] == (
        "'a.test' is not an origin such as https://a.test; 'b.test' is not an origin such as https://b.test"
    )


def test_origins_are_kept_as_browsers_send_them() -> None:
    chosen = load({"CORS_ORIGINS": "HTTPS://App.Test:443, http://[::1]:3000 ,*, http://a.test:080"}, dotenv=None)
    assert chosen.cors_origins == ("https://app.test", "http://[::1]:3000", "*", "http://a.test")
