"""Malformed requests to REST: no traceback, no 500, and another client is served all the time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from config.settings import Settings
from db.bus import Bus
from tests.support.hasty_rest import HastyRest
from tests.support.malformed import bad_answers, requests
from tests.support.processes import Web
from tests.support.raw_http import RawConnection, request

SEED = 20260101
COUNT = 2000  # `make bench PART=hardening` sends 100,000


@pytest.fixture
def rest(shared_settings: Settings, shared_bus: Bus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    shared_bus.cache_price("EUR_USD", bid="1.0945", ask="1.0947", mid="1.0946", time="2025-11-18T12:30:00.000000Z")
    with HastyRest(shared_settings, tmp_path_factory.mktemp("rest") / "rest.log") as process:
        yield process


def test_malformed_requests_leave_no_traceback_and_another_client_is_served(rest: Web) -> None:
    stop, served = threading.Event(), []

    def serve_another() -> None:
        with RawConnection(rest.port) as connection:
            while not stop.is_set():
                connection.send(request("/price/latest?symbol=EUR_USD"))
                served.append(connection.answer().status)

    other = threading.Thread(target=serve_another)
    other.start()
    try:
        bad = bad_answers(rest.port, requests(SEED, COUNT))
    finally:
        stop.set()
        other.join()
    assert bad == []
    assert len(served) > COUNT // 100
    assert set(served) == {200}
    output = rest.output()
    assert "Traceback" not in output
    assert '"levelname": "ERROR"' not in output
