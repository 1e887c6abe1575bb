"""The queue of acknowledgements: without a store, above its limit, and after an error of ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from api.access.model import anonymous
from api.errors import ErrorCode, Refusal
from api.hub.metrics.acknowledgements import Acknowledgements
from db.postgres import Store
from tests.conftest import until
from tests.support.reports import MOMENT
from tests.unit.test_report_queue import Clients

ASKED = {"alert_id": "system:disk:critical:1", "by": "ada"}


@pytest.fixture
def store() -> Iterator[Store]:
    """A store that nobody serves."""
    store = Store("postgresql://127.0.0.1:1/none")
    yield store
    store.close()


def test_request_without_a_store_is_unavailable_and_the_next_is_served_too(store: Store) -> None:
    clients, queue, stop = Clients(), Acknowledgements(store, lambda: MOMENT), threading.Event()
    for _ in range(2):
        queue.put(anonymous(), ASKED, clients.answer("acknowledge_alert", "alert_acknowledged"))
    thread = threading.Thread(target=queue.run, args=(stop,), daemon=True)
    thread.start()
    until(lambda: len(clients.acks) == 2)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert [(name, body["code"], body["event"]) for name, body in clients.events] == [("error", "unavailable", "acknowledge_alert")] * 2
    assert clients.acks[0]["details"] == {"retry_after": 2}


def test_request_above_the_limit_is_refused(store: Store) -> None:
    clients, queue = Clients(), Acknowledgements(store, lambda: MOMENT, limit=1)
    queue.put(anonymous(), ASKED, clients.answer("acknowledge_alert", "alert_acknowledged"))
    with pytest.raises(Refusal) as refusal:
        queue.put(anonymous(), ASKED, clients.answer("acknowledge_alert", "alert_acknowledged"))
    assert refusal.value.code is ErrorCode.TOO_MANY_REQUESTS


def test_error_of_ours_is_internal_and_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    clients, queue = Clients(), Acknowledgements(store, lambda: MOMENT)
    queue.put(anonymous(), {}, clients.answer("acknowledge_alert", "alert_acknowledged"))  # without its id
    queue._serve(queue._requests.popleft())
    assert clients.acks[0]["code"] == "internal"
    assert [record.exc_info is not None for record in caplog.records] == [True]
