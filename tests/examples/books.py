"""The messages of order books and heartbeats of a running hub, as examples."""

from __future__ import annotations

import zlib
from typing import Any

from db.bus import BookMessage
from tests.conftest import until
from tests.examples.witness import Witness

Levels = list[list[str]]
BIDS: Levels = [["61837.63000000", "3.78826000"], ["61837.62000000", "0.00018000"], ["61836.40000000", "0.12000000"]]
ASKS: Levels = [["61837.64000000", "1.43377000"], ["61838.00000000", "0.05000000"], ["61838.01000000", "0.31000000"]]
META = {"received_at": "2026-11-26T13:21:27.100000Z", "processed_at": "2026-11-26T13:21:27.103200Z", "queue_size": 0}
HEARTBEAT = {
    "type": "heartbeat", "status": "healthy", "uptime_seconds": 12.3, "total_messages_processed": 123, "current_queue_size": 0,
    "memory_usage_mb": 412.5, "active_clients": 1, "current_scenario": "stable-mode", "last_heartbeat": "2026-11-26T13:21:27.663696Z",
    "lag_ms": 3.2, "queue_max": 2000, "queue_peak": 1, "books": {"BTCUSDT": "live", "ETHUSDT": "syncing"},
}  # fmt: skip
RUN = "5b0f8a4e-6f0c-4d57-9a53-0d3b8f5d2c11"


def capture(witness: Witness) -> None:
    """Publish as the process of the books does, through the functions of the bus."""
    client, bus = witness.client, witness.bus
    bus.publish_book_state(state("live", "syncing", "start"))
    bus.publish_heartbeat(HEARTBEAT)
    bus.publish_books([message(50093239224, BIDS, starts=True)])
    until(lambda: "code" not in client.call("request_book", {"instrument": "BTCUSDT", "depth": 5}))
    asked = [{"pair": pair, "depth": depth} for pair, depth in (("BTCUSDT", 5), ("BTCUSDT", 7), ("EUR_USD", 5))]
    witness.request("subscribe_books", "subscribe", "subscription_confirmed", {"books": asked, "heartbeat": True})
    witness.receive("book_update", "book_update", cause=lambda: bus.publish_books([message(50093239229, BIDS[1:])]))
    missing = {"expected_id": 50093239230, "received_id": 50093239233}
    witness.receive("book_state", "book_state", cause=lambda: bus.publish_book_state(state("gap", "live", "missing_update", **missing)))
    bus.publish_book_state(state("resyncing", "gap", "missing_update", **missing))
    bus.publish_book_state(state("live", "resyncing", "missing_update", update_id=50093239301))
    witness.receive("book_snapshot", "book_snapshot", cause=lambda: bus.publish_books([message(50093239301, BIDS, starts=True)]))
    witness.receive("heartbeat", "heartbeat", cause=lambda: bus.publish_heartbeat(HEARTBEAT))
    change = {"previous_scenario": "stable-mode", "current_scenario": "burst-mode", "run_id": RUN}
    witness.receive("scenario_changed", "scenario_changed", cause=lambda: bus.publish_scenario_change(change))
    witness.request("request_book", "request_book", "book_response", {"instrument": "BTCUSDT", "depth": 5})
    witness.request("no_book", "request_book", "error", {"instrument": "ETHUSDT", "depth": 5})
    witness.request("unsubscribe_books", "unsubscribe", "unsubscription_confirmed", {"books": "all", "heartbeat": True})


def message(update_id: int, bids: Levels, *, starts: bool = False) -> BookMessage:
    texts = [":".join(level) for pair in zip(bids, ASKS, strict=False) for level in pair]
    texts += [":".join(level) for level in ASKS[len(bids) :]]
    shared: dict[str, Any] = {
        "update_id": update_id, "checksum": zlib.crc32(":".join(texts).encode()), "time": "2024-08-08T23:54:15.408000Z", "lag_ms": 3.2,
    }  # fmt: skip
    head: dict[str, Any] = {"instrument": "BTCUSDT", "depth": 5}
    complete = {"bids": len(bids), "asks": len(ASKS), "from": bids[-1][0], "to": ASKS[-1][0]}
    reason = "missing_update" if update_id == 50093239301 else "start"
    snapshot = {**head, "state": "live", "reason": reason, "bids": bids, "asks": ASKS, "complete": complete, **shared}
    update = {**head, "bids": [[BIDS[0][0], "0"]], "asks": [], **shared}
    return BookMessage("BTCUSDT", 5, None if starts else update, snapshot, META)


def state(name: str, previous: str, reason: str, update_id: int = 50093239229, **ids: int) -> dict[str, Any]:
    return {
        "instrument": "BTCUSDT", "state": name, "previous": previous, "reason": reason, "update_id": update_id,
        "expected_id": ids.get("expected_id"), "received_id": ids.get("received_id"),
    }  # fmt: skip
