"""The fields of health that come from the reports of other processes."""

from __future__ import annotations

from api.app import create_app
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.support.registry import put_report


def test_health_has_the_collectors_and_the_clients_of_all_hubs(settings: Settings, bus: Bus, store: Store) -> None:
    put_report(bus, "hub:5001@a1", hub={"clients": 3, "plain_clients": 4})
    put_report(bus, "hub:5002@a1", hub={"clients": 5})
    put_report(bus, "observer@a1", metrics={"collectors": {"strategy": {"status": "ready"}, "system": {"status": "error"}}})
    client = create_app(settings, bus, store, utc_now, "1").test_client()
    assert client.get("/health").json["service"] == "tickwire"  # type: ignore[index]
    live = client.get("/health/live").json
    assert live is not None
    assert (live["alive"], live["status"], live["websocket_connections"]) == (True, "alive", 12)
    ready = client.get("/health/ready").json
    assert ready is not None
    assert (ready["ready"], ready["status"]) == (True, "ready")
    assert ready["collectors"] == {"market_data": False, "strategy": True, "execution": False, "system": False}
