"""Every example of docs/observability/BACKEND_API.md against a hub, REST and an observer.

With TICKWIRE_CAPTURE=1 the answers of the page are written again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from tickwire_client import Client, Fill, Order, Report, Signal

from api.hub.events import CLIENT_EVENTS
from api.hub.schemas.metrics import METRICS_SPACE
from config.settings import Settings
from db import topics
from db.alerts import SystemAlert, raise_alert
from db.bus import Bus
from db.postgres import Store
from tests.conftest import Servers, new_database, settings_for, until
from tests.examples import backend_api
from tests.examples.backend_api import GUARDED, PAGE, Dialogue, Request, body_of, kind_of
from tests.examples.example import places
from tests.examples.shape import difference
from tests.support.access import REQUIRED, Keys, jwt_of
from tests.support.clients import node
from tests.support.plain import snapshot
from tests.support.processes import ROOT, Web, observer

FIRST = datetime.fromtimestamp(1763469296.789, UTC)  # of the alert in the examples
EXAMPLES = backend_api.read(PAGE.read_text())
REQUESTS = [each for each in EXAMPLES if isinstance(each, Request)]
DIALOGUES = [each for each in EXAMPLES if isinstance(each, Dialogue)]
ROUTES = {
    "/reports", "/orders", "/fills", "/positions", "/positions/statement", "/strategies", "/alerts", "/health/live", "/health/ready",
}  # fmt: skip
PLAIN_FRAMES = {
    "connected", "metrics_update", "pong", "ping", "subscribed", "unsubscribed", "health", "gap_notice", "trade_notification",
    "alert_notification", "credentials_expiring", "refreshed", "error:invalid_payload", "error:unauthorized", "error:unavailable",
}  # fmt: skip
# one type of each class of events
BROADCASTS = {"metrics_update", "alert", "gap_notice", "error:invalid_payload"} | {
    f"observability_event:{name}"
    for name in (
        "trade_executed", "order_placed", "signal_generated", "position_opened", "system_alert", "metric_threshold", "component_error",
    )
}  # fmt: skip
# (side, quantity, price, fee): the worked example of the page about figures
FILLS = [
    ("buy", 1000, "1.09450", "0.020"),
    ("buy", 500, "1.09510", "0.010"),
    ("sell", 600, "1.09530", "0.012"),
    ("sell", 1400, "1.09400", "0.028"),
    ("buy", 500, "1.09390", "0.010"),
]


@dataclass
class System:
    """The running system. `number` counts the reports that examples send."""

    settings: Settings
    hub: Web
    guarded: Web  # a hub that needs a credential
    rest: Web
    bus: Bus
    store: Store
    operator: redis_client.Redis
    key: str  # with `observe`
    number: int = 100
    conflicts: int = 0
    prices: int = 30  # to publish for the next threshold

    def send(self, request: Request) -> tuple[int, str]:
        self.number += 1
        status, text = backend_api.send(self.rest.url, request, self.placed)
        return status, self.without_places(text)

    def exchange(self, dialogue: Dialogue) -> list[str]:
        hub = self.guarded if dialogue.note == GUARDED else self.hub
        try:
            return [self.without_places(frame) for frame in backend_api.exchange(hub.port, dialogue, self.cause, self.placed)]
        finally:
            if self.hub.popen and "error:unavailable" in map(backend_api.kind_of, dialogue.received):
                self.hub.popen.wait(60)
                self.hub.start()

    def placed(self, text: str) -> str:
        """The text with the addresses, times and names of this system."""
        words = {
            "127.0.0.1:5001": f"127.0.0.1:{self.hub.port}", "$NOW": datetime.now(UTC).isoformat(), "$NUMBER": str(self.number),
            "$KEY": self.key, "$TOKEN": jwt_of(["observe"]), "$SHORT_TOKEN": jwt_of(["observe"], life=3.0),
        }  # fmt: skip
        for word, value in words.items():
            text = text.replace(word, value)
        return text

    def without_places(self, text: str) -> str:
        """The text with the ports of the page, and the name of a machine of the page."""
        return places(text, {self.hub.port: 5001, self.guarded.port: 5002, self.rest.port: 5000})

    def cause(self, kind: str) -> None:
        """Cause a frame of this kind, if it does not come by itself."""
        self.number += 1
        event = kind.removeprefix("observability_event:")
        if kind in ("alert", "alert_notification", "observability_event:system_alert"):
            self.fire(f"source:{self.number}", datetime.now(UTC))
        elif kind == "gap_notice":
            for number in range(200):
                self.bus.publish_snapshot(snapshot(number, padding=100_000))
        elif kind == "error:unavailable":
            assert self.hub.popen
            self.hub.popen.terminate()
        elif event == "component_error":
            self.conflict()
        elif event == "metric_threshold":
            for number in range(self.prices):
                self.bus.cache_price("GBP_USD", bid="1.2681", ask="1.2683", mid=f"1.268{number}", time=datetime.now(UTC))
            self.prices *= 10
        elif event == "signal_generated":
            self.report(Signal(strategy="mean_reversion", symbol="EUR_USD", signal="buy", outcome="generated", confidence=0.7))
        elif kind == "trade_notification" or event != kind:
            bot = f"mm-{self.number}" if event == "position_opened" else "mm-1"  # another one has no position
            self.report(*trade(self.number, "buy", 10, "1.09450", "0.001", datetime.now(UTC)), bot=bot)

    def report(self, *reports: Report, bot: str = "mm-1") -> None:
        with Client(self.hub.url, bot=bot) as client:
            assert not client.report(*reports).rejected

    def conflict(self) -> None:
        """Report a known fill with another price after Redis has forgotten its id."""
        self.conflicts += 1
        self.operator.delete(topics.report_key("mm-1", "fill", "f-1"))
        changed = trade(1, "buy", 1000, f"1.0{self.conflicts}", "0.020", datetime.now(UTC))[1]
        self.report(changed)

    def fire(self, subject: str, moment: datetime) -> None:
        alert = SystemAlert("system", subject, "critical", moment, 96.1, 95, f"{subject} is above 95.")
        with self.store.transaction() as cursor:
            assert raise_alert(cursor, alert)

    def await_stored(self) -> None:
        until(lambda: self.bus.unprocessed_reports() == 0, 60, "all reports in the store")


def trade(number: int, side: str, quantity: int, price: str, fee: str, moment: datetime) -> tuple[Order, Fill, Order]:
    traded: Any = {"order_id": f"o-{number}", "symbol": "EUR_USD", "side": side, "quantity": quantity, "strategy": "mean_reversion"}
    order: Any = {**traded, "order_type": "market"}
    return (
        Order(id=f"o-{number}-new", status="new", time=moment, arrival_price="1.09440", **order),
        Fill(fill_id=f"f-{number}", price=price, fee=fee, fee_currency="USD", time=moment + timedelta(milliseconds=31.2), **traded),
        Order(id=f"o-{number}-filled", status="filled", time=moment + timedelta(milliseconds=32), **order),
    )


@pytest.fixture(scope="module")
def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("backend")
    with ExitStack() as stack:
        settings = settings_for(stack.enter_context(new_database(servers)), servers.redis_url, folder)
        operator = stack.enter_context(redis_client.Redis.from_url(servers.operator_url, protocol=2))
        operator.flushall()  # ids of reports of other modules
        bus = stack.enter_context(closing(Bus(servers.redis_url, lambda: datetime.now(UTC))))
        bus.set_instruments(servers.calendars)
        store = stack.enter_context(closing(Store(str(settings.database_url))))
        with store.transaction() as cursor:
            cursor.execute("UPDATE instruments SET tracked = symbol IN ('EUR_USD', 'GBP_USD')")
        key = Keys(store, bus).add(["observe"])
        system = System(
            settings,
            stack.enter_context(Web("hub", settings, folder / "hub.log", WS_HEARTBEAT_INTERVAL="3")),
            stack.enter_context(Web("hub", settings, folder / "guarded.log", **REQUIRED)),
            stack.enter_context(Web("rest", settings, folder / "rest.log")),
            bus,
            store,
            operator,
            key,
        )
        system.fire("disk", FIRST)  # which the settings of the observer keep open
        limits = {"ALERT_DISK": "1/2", "ALERT_WRITER_LAG": "20/200"}
        stack.enter_context(observer(settings, folder / "observer.log", **limits))
        bus.cache_price("EUR_USD", bid="1.09380", ask="1.09390", mid="1.09385", time=datetime.now(UTC))
        with Client(system.hub.url, bot="mm-1", timeout=60) as client:
            began = datetime.now(UTC) - timedelta(minutes=10)
            for number, row in enumerate(FILLS, 1):
                client.report(*trade(number, *row, began + timedelta(seconds=number)))
        system.await_stored()
        first = Request("POST", "/api/metrics/history", '{"time_range": "1h", "metric_types": ["strategy"], "interval": "1s"}', 0, None)
        until(lambda: json.loads(system.send(first)[1])["data"], 60, "stored metrics")
        parts = Request("GET", "/api/system/components", "", 0, None)
        until(lambda: json.loads(system.send(parts)[1])["status"] == "healthy", 60, "a report of the observer")
        yield system


if "TICKWIRE_CAPTURE" in os.environ:

    def test_capture_the_page(system: System) -> None:
        def answer(example: Request | Dialogue) -> Any:
            return system.send(example) if isinstance(example, Request) else system.exchange(example)

        PAGE.write_text(backend_api.rewrite(PAGE.read_text(), answer))


@pytest.mark.parametrize("request_of_page", REQUESTS, ids=str)
def test_request_has_the_documented_answer(request_of_page: Request, system: System) -> None:
    status, text = system.send(request_of_page)
    answer = json.loads(text)
    assert status == request_of_page.status, text
    assert difference(answer, request_of_page.answer) is None, answer


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_frames_are_the_documented_ones(dialogue: Dialogue, system: System) -> None:
    found = system.exchange(dialogue)
    assert [kind_of(each) for each in found] == [kind_of(each) for each in dialogue.received]
    for frame, example in zip(found, dialogue.received, strict=True):
        assert difference(body_of(frame), body_of(example)) is None, frame


def test_every_route_of_observability_has_an_example(system: System) -> None:
    paths = json.loads(system.send(Request("GET", "/openapi.json", "", 0, None))[1])["paths"]
    wanted = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method in operations.keys() - {"parameters"}
        if path.startswith("/api/") or path in ROUTES
    }
    assert {path for _, path in wanted} >= ROUTES
    shown = {(each.method, _template(each.route, [path for _, path in wanted])) for each in REQUESTS}
    assert wanted - shown == set()


def _template(route: str, paths: list[str]) -> str:
    """The path of the OpenAPI document that a route belongs to: a literal one first."""
    if route in paths:
        return route
    found = [path for path in paths if "{" in path and route.startswith(path.partition("{")[0])]
    return max(found, key=len, default=route)


def test_every_frame_has_an_example() -> None:
    plain = [each for each in DIALOGUES if not each.over_socket_io]
    assert {kind_of(frame) for each in plain for frame in each.received} >= PLAIN_FRAMES
    sent = {frame.partition(":")[0] for each in plain for direction, frame in each.frames if direction == "→"}
    assert sent >= {"ping", "pong", "subscribe", "unsubscribe", "auth", '{"type"'}


def test_every_event_of_the_namespace_has_an_example() -> None:
    spoken = [each for each in DIALOGUES if each.over_socket_io]
    sent = {frame.partition(" ")[0] for each in spoken for direction, frame in each.frames if direction == "→"}
    received = {kind_of(frame) for each in spoken for frame in each.received}
    rows = [row for row in CLIENT_EVENTS.values() if row.namespace == METRICS_SPACE]
    assert sent >= {row.name for row in rows} - {"refresh"}  # of the main namespace, for both
    assert received >= {row.answer for row in rows} | BROADCASTS
    body = next(body_of(frame) for each in spoken for frame in each.received if kind_of(frame) == "alert")
    assert set(body) == {
        "alert_id", "type", "subject", "severity", "state", "active", "symbol", "symbol2", "value", "previous", "threshold", "message",
        "time", "updated_at", "acknowledged_at", "acknowledged_by", "comment", "resolved_at",
    }  # fmt: skip


def test_client_lists_open_positions(system: System) -> None:
    """A long position of 10 at 1.27 with a fee of 0.05, and a flat one."""
    moment = datetime.now(UTC)
    with Client(system.hub.url, system.rest.url, bot="py-1", timeout=60) as client:
        for number, (side, symbol) in enumerate([("buy", "AUD_USD"), ("buy", "EUR_USD"), ("sell", "EUR_USD")]):
            traded: Any = {"order_id": f"o-{number}", "symbol": symbol, "side": side, "quantity": 10, "price": "1.2700"}
            client.report(Fill(strategy="trend", fill_id=f"f-{number}", fee="0.05", time=moment, **traded))
        system.await_stored()
        [position] = client.open_positions(bot="py-1")
    assert (position.strategy, position.symbol, position.quantity) == ("trend", "AUD_USD", Decimal(10))
    assert (position.average_price, position.fees_by_currency) == (Decimal("1.27"), {"USD": Decimal("0.05")})
    assert (position.mark, position.unrealized_pnl, position.realized_pnl) == (None, None, Decimal("-0.05"))


def test_amounts_are_literals_with_the_digits_of_the_report(system: System) -> None:
    """The worked example: profit of trade 4 is (1.09400 - 1.09470) * 900 - 0.018 = -0.648."""
    _, text = system.send(Request("GET", "/api/trades/mm-1:f-4", "", 200, None))
    assert '"price":1.09400' in text.replace(" ", "")
    assert json.loads(text, parse_float=Decimal)["pnl"] == Decimal("-0.648")


# clients that parse every message as JSON and connect once
CLIENTS = {
    "python": """
import json, sys
from websockets.sync.client import connect
with connect(sys.argv[1]) as socket:
    print(*[json.loads(socket.recv(timeout=60))["type"] for _ in range(20)])
""",
    "javascript": """
const { WebSocket } = require("ws");
const socket = new WebSocket(process.argv[2]);
const types = [];
socket.on("message", (data) => {
  types.push(JSON.parse(data).type);
  if (types.length === 20) console.log(types.join(" "));
  if (types.length === 20) socket.close();
});
""",
}


@pytest.mark.parametrize("language", CLIENTS)
def test_client_that_parses_every_message_needs_no_guard(language: str, system: System, tmp_path: Path) -> None:
    program = tmp_path / ("client.py" if language == "python" else "client.cjs")
    program.write_text(CLIENTS[language])
    argv = [sys.executable if language == "python" else node(), str(program), f"ws://127.0.0.1:{system.hub.port}/ws/metrics"]
    environ = {**os.environ, "NODE_PATH": str(ROOT / "tests/js/node_modules")}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environ)
    assert done.stdout.split() == ["connected", *["metrics_update"] * 19], done.stderr
