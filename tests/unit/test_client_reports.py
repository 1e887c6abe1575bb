"""Reports of the Python client before they are sent: bodies, batches, the limit of kept ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from tickwire_client import Client, Fill, Heartbeat, Refused
from tickwire_client.report_sender import MAX_KEPT, batches_of
from tickwire_client.reports import report_body


def test_body_has_exact_digits_and_no_missing_values() -> None:
    moment = datetime(2025, 11, 18, 12, 34, 56, 789_123, tzinfo=UTC)
    fill = Fill(strategy="trend", fill_id="f-1", order_id="o-1", symbol="EUR_USD", side="buy", quantity=1000, price=Decimal("1.09450"),
                fee=Decimal("1E-7"), time=moment)  # fmt: skip
    assert report_body(fill, "mm-1") == {
        "kind": "fill", "strategy": "trend", "id": "f-1", "time": "2025-11-18T12:34:56.789123Z", "fill_id": "f-1", "order_id": "o-1",
        "symbol": "EUR_USD", "side": "buy", "quantity": "1000", "price": "1.09450", "fee": "0.0000001", "bot": "mm-1",
    }  # fmt: skip


def test_report_keeps_its_id_and_time() -> None:
    beat = Heartbeat(strategy="trend")
    assert beat.as_dict() == beat.as_dict()
    assert beat.as_dict()["id"] != Heartbeat(strategy="trend").as_dict()["id"]


@pytest.mark.parametrize(("count", "padding"), [(1200, 0), (300, 2000), (1, 60_000), (0, 0)])
def test_batches_keep_order_and_limits(count: int, padding: int) -> None:
    bodies = [{"id": str(number), "text": "x" * padding} for number in range(count)]
    batches = list(batches_of(bodies))
    assert [body for batch in batches for body in batch.bodies] == bodies
    assert all(1 <= len(batch.bodies) <= 500 for batch in batches)
    assert all(len(json.dumps(["report", {"reports": batch.bodies}])) <= 65_536 for batch in batches)


def test_reports_above_the_limit_are_not_kept() -> None:
    client = Client("http://127.0.0.1:1")
    with pytest.raises(Refused, match="100000") as caught:
        client._sender.put(list(batches_of([{"id": "1"}] * (MAX_KEPT + 1))))
    assert caught.value.code == "too_many_requests"
    assert client.unacknowledged == []
