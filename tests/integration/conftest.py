"""A hub, and a stock client of it of every common kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from db.bus import Bus
from tests.support.clients import NodeClient, PythonClient
from tests.support.processes import Web

_KINDS: dict[str, Callable[[str], PythonClient | NodeClient]] = {
    "python-websocket": lambda url: PythonClient(url),
    "node-websocket": lambda url: NodeClient(url),
    "node-polling": lambda url: NodeClient(url, ["polling"]),
}


@pytest.fixture
def hub(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    """A hub with an empty bus, as an operator starts it."""
    with Web("hub", settings, tmp_path / "hub.log") as process:
        yield process


@pytest.fixture(params=_KINDS)
def client(request: pytest.FixtureRequest, hub: Web) -> Iterator[PythonClient | NodeClient]:
    """A client that the hub has greeted."""
    with _KINDS[request.param](hub.url) as client:
        client.wait("connection_established")
        yield client
