"""`/ws/metrics` with stock WebSocket clients (Python `websockets`, Node `ws`) and RFC 6455."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess

import pytest
from websockets.sync.client import connect

from db.bus import Bus
from tests.conformance.websocket_client import BINARY, CLOSE, PING, TEXT, frame
from tests.conftest import until
from tests.support.plain import Plain, snapshot
from tests.support.processes import ROOT, Web

# The documented client: JSON.parse of every message, and nothing else.
_NODE = """
const { WebSocket } = require("ws");
const socket = new WebSocket(process.argv[1]);
const seen = [];
socket.on("message", (data) => {
  const body = JSON.parse(data.toString());
  seen.push(body.type);
  if (body.type === "connected") { socket.send("subscribe:market_data"); console.log("ready"); }
  if (body.type === "metrics_update") {
    console.log(JSON.stringify([seen, body.seq, body.market_data.symbols.EUR_USD.last_price, Object.keys(body)]));
    socket.close(1000);
  }
});
socket.on("close", (code) => console.log(code));
"""


def url(hub: Web, query: str = "") -> str:
    return f"ws://127.0.0.1:{hub.port}/ws/metrics{query}"


def test_python_websockets_with_compression_offered(shared_hub: Web, shared_bus: Bus) -> None:
    with connect(url(shared_hub, "?channels=system"), compression="deflate") as client:
        assert client.protocol.extensions == []
        assert json.loads(client.recv(20))["channels"] == ["system"]
        client.send("ping")
        assert client.recv(20) == "pong"
        shared_bus.publish_snapshot(snapshot(1))
        assert json.loads(client.recv(20))["system"] == {"seq": 1}
        client.send(["sub", "scribe:", "strategy"])  # three fragments
        assert json.loads(client.recv(20))["channels"] == ["strategy", "system"]
        assert client.ping().wait(60)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_documented_javascript_client_parses_every_message(shared_hub: Web, shared_bus: Bus) -> None:
    node = ["node", "-e", _NODE, url(shared_hub)]
    with subprocess.Popen(node, cwd=ROOT / "tests" / "js", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with Plain(shared_hub.port) as watching:
            until(lambda: watching.ask("subscribe:alerts")["channels"] != [])
        shared_bus.publish_snapshot(snapshot(7))
        lines = process.stdout.read().splitlines()
    types, _, price, _ = json.loads(lines[0])
    assert types[0] == "connected"
    assert set(types) <= {"connected", "subscribed", "metrics_update"}
    assert price == 1.0945
    assert lines[-1] == "1000"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"ping", masked=False), 1002),
        (frame(TEXT, b"ping", reserved=4), 1002),
        (frame(3, b""), 1002),
        (frame(11, b""), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"", fin=False), 1002),
        (frame(0, b"ping"), 1002),
        (frame(TEXT, b"pi", fin=False) + frame(TEXT, b"ng"), 1002),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(CLOSE, struct.pack("!H", 1005)), 1002),
        (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
        (frame(CLOSE, struct.pack("!H", 4000) + b"bye"), 4000),
        (frame(TEXT, b"x" * 65535, fin=False) + frame(0, b"xx"), 1009),
        (frame(BINARY, b"x" * 65537), 1009),
    ],
    ids=range(1, 15),
)
def test_protocol_error_closes_with_its_code(shared_hub: Web, data: bytes, code: int) -> None:
    with Plain(shared_hub.port) as client:
        assert client.body()["type"] == "connected"
        client.send_bytes(data)
        assert client.closed_with() == code


def test_control_frames_between_fragments_are_answered(shared_hub: Web) -> None:
    with Plain(shared_hub.port) as client:
        assert client.body()["type"] == "connected"
        client.send_bytes(frame(TEXT, b"p", fin=False) + frame(PING, b"a") + frame(0, b"in", fin=False) + frame(PING, b"") + frame(0, b"g"))
        while (received := client.receive()) != "pong":
            assert "metrics_update" in str(received)
        assert client.pongs == [b"a", b""]
