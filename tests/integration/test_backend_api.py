"""Every example of docs/observability/BACKEND_API.md against a hub, REST and an observer.

With TICKWIRE_CAPTURE=1 the answers of the page are written again.
"""

from __future__ import annotations

import json
import os
import socket
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
from tickwire_client import Client, Fill, Order

from config.settings import Settings
from db.alerts import SystemAlert, raise_alert
from db.bus import Bus
from db.postgres import Store
from tests.conftest import Servers, new_database, settings_for, until
from tests.examples import backend_api
from tests.examples.backend_api import PAGE, Dialogue, Request
from tests.examples.shape import difference
from tests.support.clients import node
from tests.support.processes import ROOT, Web, observer

FIRST = datetime.fromtimestamp(1763469296.789, UTC)  # of the alert in the examples
EXAMPLES = backend_api.read(PAGE.read_text())
REQUESTS = [each for each in EXAMPLES if isinstance(each, Request)]
DIALOGUES = [each for each in EXAMPLES if isinstance(each, Dialogue)]
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
    rest: Web
    bus: Bus
    store: Store
    number: int = 100

    def send(self, request: Request) -> tuple[int, str]:
        self.number += 1
        status, text = backend_api.send(self.rest.url, request, self.number)
        return status, self.without_places(text)

    def exchange(self, dialogue: Dialogue) -> list[str]:
        return [self.without_places(frame) for frame in backend_api.exchange(self.hub.port, dialogue, self.cause)]

    def without_places(self, text: str) -> str:
        """The text with the ports of the page, and the name of a machine of the page."""
        for port, shown in ((self.hub.port, 5001), (self.rest.port, 5000)):
            text = text.replace(f":{port}", f":{shown}")
        return text.replace(f"@{socket.gethostname()}", "@a1")

    def cause(self, notification: str) -> None:
        """Cause a frame: a fill, or an alert."""
        self.number += 1
        if notification == "trade_notification":
            with Client(self.hub.url, bot="mm-1") as client:
                client.report(*trade(self.number, "buy", 10, "1.09450", "0.001", datetime.now(UTC)))
        else:
            self.fire(f"source:{self.number}", datetime.now(UTC))

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
        with redis_client.Redis.from_url(servers.operator_url, protocol=2) as redis:
            redis.flushall()  # ids of reports of other modules
        bus = stack.enter_context(closing(Bus(servers.redis_url, lambda: datetime.now(UTC))))
        bus.set_instruments(servers.calendars)
        store = stack.enter_context(closing(Store(str(settings.database_url))))
        with store.transaction() as cursor:
            cursor.execute("UPDATE instruments SET tracked = symbol IN ('EUR_USD', 'GBP_USD')")
        hub = stack.enter_context(Web("hub", settings, folder / "hub.log"))
        rest = stack.enter_context(Web("rest", settings, folder / "rest.log"))
        stack.enter_context(observer(settings, folder / "observer.log"))
        system = System(settings, hub, rest, bus, store)
        bus.cache_price("EUR_USD", bid="1.09380", ask="1.09390", mid="1.09385", time=datetime.now(UTC))
        with Client(hub.url, bot="mm-1", timeout=60) as client:
            began = datetime.now(UTC) - timedelta(minutes=10)
            for number, row in enumerate(FILLS, 1):
                client.report(*trade(number, *row, began + timedelta(seconds=number)))
        system.await_stored()
        system.fire("disk", FIRST)
        first = Request("POST", "/api/metrics/history", '{"time_range": "1h", "metric_types": ["strategy"], "interval": "1s"}', 0, None)
        until(lambda: json.loads(system.send(first)[1])["data"], 60, "stored metrics")
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
    documented = [text for direction, text in dialogue.frames if direction == "←"]
    assert [backend_api.type_of(each) for each in found] == [backend_api.type_of(each) for each in documented]
    for frame, example in zip(found, documented, strict=True):
        if frame.startswith("{"):
            assert difference(json.loads(frame), json.loads(example)) is None, frame


def test_every_route_of_observability_has_an_example(system: System) -> None:
    paths = json.loads(system.send(Request("GET", "/openapi.json", "", 0, None))[1])["paths"]
    wanted = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method in operations.keys() - {"parameters"}
        if path.startswith("/api/") or path in ("/reports", "/orders", "/fills", "/positions", "/positions/statement", "/strategies")
    }
    shown = {(each.method, _template(each.route, [path for _, path in wanted])) for each in REQUESTS}
    assert wanted - shown == set()


def _template(route: str, paths: list[str]) -> str:
    """The path of the OpenAPI document that a route belongs to: a literal one first."""
    if route in paths:
        return route
    found = [path for path in paths if "{" in path and route.startswith(path.partition("{")[0])]
    return max(found, key=len, default=route)


def test_client_lists_open_positions(system: System) -> None:
    """A long position of 10 at 1.27 with a fee of 0.05, and a flat one."""
    moment = datetime.now(UTC)
    with Client(system.hub.url, system.rest.url, bot="py-1", timeout=60) as client:
        for number, (side, symbol) in enumerate([("buy", "GBP_USD"), ("buy", "EUR_USD"), ("sell", "EUR_USD")]):
            traded: Any = {"order_id": f"o-{number}", "symbol": symbol, "side": side, "quantity": 10, "price": "1.2700"}
            client.report(Fill(strategy="trend", fill_id=f"f-{number}", fee="0.05", time=moment, **traded))
        system.await_stored()
        [position] = client.open_positions(bot="py-1")
    assert (position.strategy, position.symbol, position.quantity) == ("trend", "GBP_USD", Decimal(10))
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
    print(*[json.loads(socket.recv(timeout=20))["type"] for _ in range(20)])
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
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert done.stdout.split() == ["connected", *["metrics_update"] * 19], done.stderr
