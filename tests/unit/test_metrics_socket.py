"""The addresses of the plain WebSockets at REST: `GET /`, and 426 for the routes themselves."""

from __future__ import annotations

import pytest

from api.app import create_app
from config import settings as settings_module
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "ws://127.0.0.1:5001/ws/metrics"),
        ({"WEBSOCKET_PORT": "6001"}, "ws://127.0.0.1:6001/ws/metrics"),
        ({"WEBSOCKET_HOST": "0.0.0.0"}, "ws://127.0.0.1:5001/ws/metrics"),  # noqa: S104
        ({"WEBSOCKET_HOST": "::1"}, "ws://[::1]:5001/ws/metrics"),
        ({"HUB_PUBLIC_URL": "https://hub.example.com"}, "wss://hub.example.com/ws/metrics"),
        ({"HUB_PUBLIC_URL": "http://hub.example.com:8080/"}, "ws://hub.example.com:8080/ws/metrics"),
        ({"HUB_PUBLIC_URL": "https://example.com/tickwire/"}, "wss://example.com/tickwire/ws/metrics"),
    ],
)
def test_address_of_the_socket(variables: dict[str, str], url: str) -> None:
    settings = settings_module.load({"SOURCES": "", **variables}, dotenv=None)
    app = create_app(settings, Bus("redis://127.0.0.1:1/0", utc_now), Store("postgresql://127.0.0.1:1/none"), utc_now, "1.2.3")
    client = app.test_client()
    index = client.get("/", headers={"Accept": "application/json"}).get_json()
    books = url.removesuffix("/metrics")
    assert (index["metrics_socket"], index["book_socket"]) == (url, books)
    for path, expected in (("/ws/metrics", url), ("/ws", books)):
        answer = client.get(path)
        error = answer.get_json()["error"]
        assert (answer.status_code, answer.headers["Upgrade"]) == (426, "websocket")
        assert (error["code"], error["details"]) == ("invalid_payload", {"url": expected})
