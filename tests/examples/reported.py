"""Reports of a bot in a running system: the worked example of docs/observability/figures.md."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

ALERT_ID = "system:disk:critical:1763469296789"  # of the documents
RUN_ID = "1f0c2f0e-7b1e-4c61-9d1c-6a7e3f2b8c55"  # of a scenario in the documents
DISK_LIMITS = "1/2"  # ALERT_DISK: below the usage of each disk, so that an alert fires and stays
# (side, quantity, price, fee)
FILLS = [
    ("buy", "1000", "1.09450", "0.020"),
    ("buy", "500", "1.09510", "0.010"),
    ("sell", "600", "1.09530", "0.012"),
    ("sell", "1400", "1.09400", "0.028"),
    ("buy", "500", "1.09390", "0.010"),
]


def worked_example(began: datetime) -> Iterator[dict[str, Any]]:
    """The reports of five orders of `mm-1`, one per second; each is filled after 31.2 ms."""
    for number, (side, quantity, price, fee) in enumerate(FILLS, 1):
        sent = began + timedelta(seconds=number)
        traded = {
            "bot": "mm-1", "strategy": "mean_reversion", "order_id": f"o-{number}", "symbol": "EUR_USD", "side": side,
            "quantity": quantity,
        }  # fmt: skip
        order = {"kind": "order", **traded, "order_type": "market", "arrival_price": "1.09440"}
        filled, ended = (f"{sent + timedelta(milliseconds=later):%FT%T.%fZ}" for later in (31.2, 32))
        yield {**order, "id": f"o-{number}-new", "status": "new", "time": f"{sent:%FT%T.%fZ}"}
        yield {
            "kind": "fill", **traded, "id": f"f-{number}", "fill_id": f"f-{number}", "price": price, "fee": fee, "fee_currency": "USD",
            "liquidity": "taker", "time": filled,
        }  # fmt: skip
        yield {**order, "id": f"o-{number}-filled", "status": "filled", "time": ended}
