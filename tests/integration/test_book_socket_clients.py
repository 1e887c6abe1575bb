"""`/ws` with stock WebSocket clients: Python `websockets`, Node `ws`, a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from db.bus import Bus
from tests.conftest import until
from tests.support import hub_books
from tests.support.pages import Pages, served
from tests.support.plain import Books
from tests.support.processes import ROOT, Web

_NODE = """
const { WebSocket } = require("ws");
const socket = new WebSocket(process.argv[1]);
const best = [];
socket.on("message", (text) => {
  const { type, data } = JSON.parse(text.toString());
  if (type !== "orderbook") return;
  best.push([data.last_update_id, data.bids[0].price, data.asks.length, data.state]);
  console.log(JSON.stringify(best));
  if (best.length === 2) socket.close(1000);
});
socket.on("close", (code) => console.log(code));
"""
_PAGE = """<!doctype html><script>
window.seen = [];
const socket = new WebSocket(URL_OF_HUB);
socket.onmessage = (event) => { const { type, data } = JSON.parse(event.data); seen.push([type, data.last_update_id ?? null]); };
socket.onclose = (event) => seen.push(["closed", event.code]);
</script>"""


@pytest.fixture
def url(shared_hub: Web, shared_bus: Bus) -> str:
    """The URL of a hub that has the first book and a heartbeat."""
    shared_bus.publish_heartbeat(hub_books.heartbeat({"BTCUSDT": "live"}))
    publish(shared_bus, 1)
    with Books(shared_hub.port, "symbols=BTCUSDT") as client:
        client.data("orderbook", last_update_id=50_000_000_001)
    return f"ws://127.0.0.1:{shared_hub.port}/ws?symbols=BTCUSDT&depth=5"


def publish(bus: Bus, number: int) -> None:
    bus.publish_books(hub_books.messages(number, starts=number == 1))


def test_python_websockets_with_compression_offered(url: str, shared_bus: Bus) -> None:
    with connect(url, compression="deflate") as client:
        assert client.protocol.extensions == []
        assert [json.loads(client.recv(20))["type"] for _ in range(2)] == ["status", "orderbook"]
        client.send("ping")
        while (text := client.recv(20)) != "pong":
            assert json.loads(text)["type"] == "heartbeat"
        publish(shared_bus, 2)
        book = json.loads(client.recv(20))["data"]
        bids = hub_books.levels(2, 5, bids=True)
        assert [[level["price"], level["quantity"]] for level in book["bids"]] == bids
        assert client.ping().wait(60)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_node_ws_reads_each_complete_book(url: str, shared_bus: Bus) -> None:
    node = ["node", "-e", _NODE, url]
    with subprocess.Popen(node, cwd=ROOT / "tests" / "js", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        publish(shared_bus, 2)
        second, code = process.stdout.read().splitlines()
    best = [[50_000_000_000 + number, hub_books.levels(number, 5, bids=True)[0][0], 5, "live"] for number in (1, 2)]
    assert (first, json.loads(second), code) == (best[:1], best, "1000")


def test_browser_reads_status_and_books(url: str, shared_bus: Bus, tmp_path: Path, pages: Pages) -> None:
    (tmp_path / "index.html").write_text(_PAGE.replace("URL_OF_HUB", json.dumps(url)))
    pages.allow("favicon.ico")
    with served(tmp_path) as folder:
        pages.allow_origin(folder, url)
        page = pages.open(f"{folder}/index.html")

        def seen() -> list[Any]:
            return page.evaluate("window.seen") or []

        until(lambda: ["orderbook", 50_000_000_001] in seen(), 60, lambda: f"{seen()} {pages.complaints}")
        publish(shared_bus, 2)
        until(lambda: ["orderbook", 50_000_000_002] in seen(), 30, lambda: f"{seen()} {pages.complaints}")
        assert seen()[0][0] == "status"
        page.evaluate("socket.close(1000)")
        until(lambda: ["closed", 1000] in seen(), 30, lambda: f"{seen()} {pages.complaints}")
