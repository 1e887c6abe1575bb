"""The observer process: reports of bots become tables, snapshots and events, once each."""

from __future__ import annotations

import random
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis as redis_client

from config.settings import Settings
from db import topics
from db.bus import Bus, Outcome, ReportLimits
from db.postgres import Store
from db.reports.model import Correction, Fill, Heartbeat, Order, Report, Signal, to_json
from db.timestamps import utc_now
from jobs.observer.health import failing_parts
from ops import running
from tests.conftest import Servers, new_database, settings_for, until
from tests.support.processes import Running, Web, observer
from tests.support.store import select

LIMITS = ReportLimits(rate=1_000_000)
REPORTS = 3_000  # of the test with kills; that of test_faults.py sends more, and kills all processes


@dataclass
class System:
    """An observer on a database and a bus of the module."""

    settings: Settings
    bus: Bus
    store: Store
    redis: redis_client.Redis
    observer: Running

    def send(self, *reports: Report) -> None:
        for start in range(0, len(reports), 500):
            [outcome] = self.bus.append_reports([reports[start : start + 500]], LIMITS)
            assert not outcome.refused
            assert set(outcome.outcomes) <= {Outcome.NEW, Outcome.DUPLICATE}

    def settled(self) -> bool:
        return self.bus.unprocessed_reports() == 0

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return select(self.store, statement)

    def section(self, name: str) -> dict[str, Any]:
        snapshot = self.bus.latest_snapshot()
        found: dict[str, Any] = orjson.loads(snapshot.strings[name]) if snapshot else {}
        return found

    def strategy(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.section("strategy").get("strategies", {}).get(name, {})
        return found

    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(entry.body) for entry in self.bus.backwards(topics.OBSERVABILITY_EVENTS)]

    def collector(self, name: str) -> dict[str, Any]:
        """The statistics of a collector, as the observer reports them."""
        reports = [orjson.loads(entry.report) for entry in self.bus.processes(int(utc_now().timestamp() * 1000)) if entry.report]
        found = [each for each in reports if each["role"] == "observer" and each["acting"]]
        return dict(found[0]["metrics"]["collectors"][name]) if found else {}

    def await_acting(self) -> None:
        """Wait until an observer publishes; no other one may be about to end."""
        last = self.bus.latest_snapshot()
        until(lambda: (found := self.bus.latest_snapshot()) is not None and found != last, 30, "a new snapshot")

    def events_of(self, source: str) -> Counter[str]:
        """event type -> number, of the events of a bot."""
        return Counter(event["event_type"] for event in self.events() if event["source"] == source)


@pytest.fixture(scope="module")
def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("observer")
    with ExitStack() as stack:
        client = stack.enter_context(redis_client.Redis.from_url(servers.operator_url, protocol=2))
        client.flushall()
        url = stack.enter_context(new_database(servers))
        bus = stack.enter_context(closing(Bus(servers.redis_url, utc_now)))
        bus.set_instruments(servers.calendars)
        settings = settings_for(url, servers.redis_url, folder)
        store = stack.enter_context(closing(Store(url)))
        process = stack.enter_context(observer(settings, folder / "observer.log"))
        system = System(settings, bus, store, client, process)

        def shows() -> bool:
            assert process.popen is not None
            assert process.popen.poll() is None, process.output()[-3000:]
            return bus.latest_snapshot() is not None

        until(shows, 30, lambda: f"a snapshot: {process.output()[-3000:]}")
        yield system


def fill(bot: str, number: int, side: str, quantity: str, price: str, fee: str = "0", **changes: Any) -> Fill:
    moment = utc_now() - timedelta(minutes=10) + timedelta(seconds=number)
    values: dict[str, Any] = {
        "bot": bot, "strategy": bot, "id": f"f-{number}", "time": moment, "order_id": f"o-{number}", "symbol": "EUR_USD", "side": side,
        "quantity": Decimal(quantity), "price": Decimal(price), "fee": Decimal(fee),
    }  # fmt: skip
    return Fill(**{**values, **changes})


def test_snapshots_come_ten_times_per_second_with_all_sections(system: System) -> None:
    first = system.bus.latest_snapshot()
    assert first is not None
    until(lambda: (found := system.bus.latest_snapshot()) is not None and found.seq >= first.seq + 10, 10, "ten more snapshots")
    snapshot = system.bus.latest_snapshot()
    assert snapshot is not None
    assert snapshot.epoch == first.epoch
    assert list(snapshot.numbers) == ["market_data", "strategy", "execution", "system"]


def test_health_check_of_the_container_passes_while_the_observer_reports(system: System) -> None:
    until(lambda: failing_parts(system.bus, socket.gethostname(), utc_now()) == {}, 20, "the report")
    assert failing_parts(system.bus, "elsewhere", utc_now()) == {"observer": "no observer of this host reports"}
    later = utc_now() + timedelta(seconds=16)
    assert failing_parts(system.bus, socket.gethostname(), later) == {"observer": "no observer of this host reports"}


def test_posted_fills_are_in_tables_snapshot_and_events(system: System, tmp_path: Path) -> None:
    """The worked example by `POST /reports`, out of order and twice, then read from the routes."""
    example = (("buy", "1000", "1.09450", "0.020"), ("buy", "500", "1.09510", "0.010"), ("sell", "600", "1.09530", "0.012"),
               ("sell", "1400", "1.09400", "0.028"), ("buy", "500", "1.09390", "0.010"))  # fmt: skip
    fills = [fill("worked", number, *values) for number, values in enumerate(example, 1)]
    texts = [orjson.loads(to_json(each)) | {"fill_id": each.id} for each in fills]
    with Web("rest", system.settings, tmp_path / "rest.log") as rest:
        answers = [post(rest.url, batch) for batch in (texts[2:], texts[:2], texts)]
        assert [(answer["accepted"], answer["duplicates"], answer["rejected"]) for answer in answers] == [
            (3, 0, []),
            (2, 0, []),
            (0, 5, []),
        ]
        until(lambda: len(system.rows("SELECT 1 FROM round_trips WHERE bot = 'worked'")) == 2, 20, "the round trips")
        trades = get(rest.url, "/api/trades?bot=worked&order=asc")["trades"]
    [position] = system.rows("SELECT quantity, gross, fees->>'USD' FROM positions WHERE bot = 'worked'")
    assert [Decimal(each) for each in position] == [Decimal(0), Decimal("-0.22"), Decimal("0.080")]
    assert [None if each["pnl"] is None else Decimal(str(each["pnl"])) for each in trades] == [
        None, None, Decimal("0.348"), Decimal("-0.648"), Decimal("0.040"),
    ]  # fmt: skip
    until(lambda: (system.strategy("worked") or {}).get("win_rate") is not None, 20, "the strategy")
    found = system.strategy("worked")
    # docs/observability/figures.md, worked example.
    assert {name: Decimal(found[name]) for name in ("pnl", "realized_pnl", "unrealized_pnl", "fees")} == {
        "pnl": Decimal("-0.30"), "realized_pnl": Decimal("-0.30"), "unrealized_pnl": 0, "fees": Decimal("0.08"),
    }  # fmt: skip
    assert (found["win_rate"], round(found["profit_factor"], 4), found["positions"]) == (0.5, 0.0909, 0)
    assert (found["state"], found["bots"], found["pnl_complete"]) == ("live", ["worked"], True)
    until(lambda: system.events_of("worked")["trade_executed"] == 5, 20, "the events")

    def of_bot() -> list[dict[str, Any]]:
        """The row of the bot for `GET /strategies`, which is new each second."""
        return [row for row in system.section("strategies").get("strategies", []) if row["bot"] == "worked" and row["win_rate"]]

    until(of_bot, 20, "the row of the bot")
    [row] = of_bot()
    assert {name: row[name] for name in ("pnl", "win_rate", "bots")} == {name: found[name] for name in ("pnl", "win_rate", "bots")}
    assert row["strategy_name"] == "worked"


def get(url: str, path: str) -> dict[str, Any]:
    status, body = running.get(url, path, seconds=60)
    assert status == 200, body
    return dict(orjson.loads(body))


def post(url: str, reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    body = orjson.dumps({"reports": reports}).decode()
    status, answer = running.send("POST", url, "/reports", body, {"Content-Type": "application/json"}, seconds=60)
    assert status == 200, answer
    return dict(orjson.loads(answer))


def test_open_position_is_marked_to_the_live_price(system: System) -> None:
    """A short is marked at the ask, as between fills 4 and 5 of the worked example."""
    system.bus.cache_price("EUR_USD", bid="1.09380", ask="1.09390")
    system.send(fill("marked", 1, "sell", "500", "1.09400"))
    until(lambda: (system.strategy("marked") or {}).get("unrealized_pnl") is not None, 20, "the mark")
    found = system.strategy("marked")
    assert (Decimal(found["unrealized_pnl"]), found["positions"], found["mark_stale"]) == (Decimal("0.05"), 1, False)
    assert Decimal(found["position_notional"]) == Decimal("546.95")
    entry = system.section("market_data")["symbols"]["EUR_USD"]
    assert (entry["last_price"], entry["bid"], entry["ask"], entry["state"]) == ("1.09385", "1.09380", "1.09390", "live")
    until(lambda: system.rows("SELECT 1 FROM metrics_strategy_1s WHERE bot = 'marked' AND unrealized_pnl = 0.05"), 20, "a row of a second")
    until(lambda: system.rows("SELECT 1 FROM metrics_market_1s WHERE symbol = 'EUR_USD' AND bid = 1.09380"), 20, "a row of the market")
    until(lambda: system.events_of("marked")["position_opened"] == 1, 20, "the event")


def test_position_with_a_stopped_price_keeps_its_last_mark(system: System) -> None:
    system.bus.cache_price("GBP_USD", bid="1.30", ask="1.31", time=utc_now() - timedelta(seconds=90))
    system.send(fill("stopped", 1, "buy", "10", "1.20", symbol="GBP_USD"), fill("no-price", 1, "buy", "10", "1.20", symbol="NZD_USD"))
    until(lambda: system.strategy("stopped").get("mark_stale") and system.strategy("no-price"), 20, "the stale mark")
    assert Decimal(system.strategy("stopped")["unrealized_pnl"]) == 1
    found = system.strategy("no-price")
    assert (found["unrealized_pnl"], found["pnl"], found["pnl_complete"]) == (None, None, False)
    # A total without this part would be wrong.
    assert (system.section("strategy")["total_pnl"], system.section("strategy")["incomplete"]) == (None, True)
    system.send(fill("no-price", 2, "sell", "10", "1.20", symbol="NZD_USD"))
    until(lambda: system.section("strategy")["total_pnl"] is not None, 20, "the total")


def test_orders_of_the_day_are_counted_with_late_and_changed_reports(system: System) -> None:
    now = utc_now()

    def order(number: int, status: str, seconds: int) -> Order:
        return Order(
            bot="orders", strategy="orders", id=f"{number}-{status}", time=now + timedelta(seconds=seconds), order_id=f"o-{number}",
            symbol="EUR_USD", side="buy", quantity=Decimal(10), order_type="limit", status=status, arrival_price=Decimal("1.00"),
        )  # fmt: skip

    def own(number: int, seconds: float) -> Fill:
        return fill("orders", number, "buy", "10", "1.01", time=now + timedelta(seconds=seconds))

    # The bot's clock is wrong at order 3: its fill is before its submission.
    system.send(own(1, 0.050), order(2, "cancelled", 2), order(1, "filled", 1), own(3, -60))
    system.send(order(1, "new", 0), order(2, "new", 1), order(3, "new", 0), order(4, "rejected", 1), own(9, 5))
    system.send(Correction(bot="orders", strategy="orders", id="c-1", time=now, fill_id="f-9", action="cancel"))
    counts = "orders_submitted, orders_filled, orders_cancelled, orders_rejected"
    last = f"SELECT {counts} FROM metrics_execution_1s WHERE bot = 'orders' ORDER BY time DESC LIMIT 1"  # noqa: S608
    until(lambda: system.rows(last) == [(5, 1, 1, 1)], 20, "the counts of the day")
    until(lambda: system.collector("execution").get("clock_skew") == 1, 20, "the order of the wrong clock")
    names = ("cancelled", "rejected", "open_orders", "fills_today")
    until(lambda: all(system.section("execution")[name] >= 1 for name in names), 20, "the counts of all strategies")
    rows = system.rows("SELECT fill_id, latency_ms, slippage_bps FROM fills WHERE bot = 'orders' ORDER BY fill_id")
    assert rows == [("f-1", 50.0, pytest.approx(100)), ("f-3", None, pytest.approx(100)), ("f-9", None, None)]
    assert system.rows("SELECT status FROM orders WHERE bot = 'orders' ORDER BY order_id")[:3] == [("filled",), ("cancelled",), ("new",)]


def test_signals_and_heartbeats_are_counted(system: System) -> None:
    now = utc_now()
    signals = [
        Signal(bot="signals", strategy="signals", id=f"s-{number}", time=now, symbol="EUR_USD", signal="buy", outcome=outcome)
        for number, outcome in enumerate(("generated", "generated", "approved", "rejected"))
    ]
    system.send(*signals, Heartbeat(bot="signals", strategy="signals", id="h-1", time=now, equity=Decimal(100)))
    until(lambda: system.strategy("signals").get("signals") == 4, 20, "the signals")
    found = system.strategy("signals")
    assert (found["signals_approved"], found["signals_rejected"], found["win_rate"]) == (1, 1, None)
    until(lambda: system.events_of("signals")["signal_generated"] == 2, 20, "the events")


def test_late_conflict_is_an_event(system: System) -> None:
    """Redis has lost the id, and the store finds the other content."""
    first = fill("conflict", 1, "buy", "1", "1.10")
    system.send(first)
    until(lambda: system.rows("SELECT 1 FROM fills WHERE bot = 'conflict'"), 20, "the fill")
    system.redis.delete(topics.report_key("conflict", "fill", "f-1"))
    system.send(replace(first, price=Decimal(7)))
    until(lambda: "component_error" in {event["event_type"] for event in system.events()}, 20, "the event")
    [event] = [event for event in system.events() if event["event_type"] == "component_error"]
    assert (event["component"], event["status"], event["details"]) == (
        "reports", "conflict", {"bot": "conflict", "kind": "fill", "id": "f-1"},
    )  # fmt: skip
    assert system.rows("SELECT price FROM fills WHERE bot = 'conflict'") == [("1.10",)]


def test_reports_that_come_again_after_a_loss_of_all_data_of_redis_count_once(system: System, servers: Servers) -> None:
    """The ids in Redis are lost, and so is the group of the observer; the store knows the ids."""
    fills = [fill("lost", number, "buy", "2", "1.10", "0.5") for number in range(40)]
    totals = "SELECT quantity, fees->>'USD', (SELECT count(*) FROM fills WHERE bot = 'lost') FROM positions WHERE bot = 'lost'"
    system.send(*fills[:30])
    until(lambda: system.rows(totals) == [("60", "15.0", 30)], 20, "the fills")
    system.redis.flushall()
    system.bus.set_instruments(servers.calendars)
    system.send(*fills)  # accepted as new ones
    until(lambda: system.rows(totals) == [("80", "20.0", 40)] and system.settled(), 20, "the other fills")
    until(lambda: system.bus.latest_snapshot() is not None, 20, "a snapshot")


def plain_totals(fills: Sequence[Fill]) -> dict[tuple[str, str], tuple[Decimal, Decimal, int]]:
    """(bot, symbol) -> signed quantity, fees and number of the fills: a plain dictionary."""
    found: dict[tuple[str, str], tuple[Decimal, Decimal, int]] = {}
    for each in fills:
        quantity, fees, count = found.get((each.bot, each.symbol), (Decimal(0), Decimal(0), 0))
        signed = each.quantity if each.side == "buy" else -each.quantity
        found[each.bot, each.symbol] = quantity + signed, fees + each.fee, count + 1
    return found


def test_killed_observer_counts_every_report_once(system: System) -> None:
    """Each report is sent twice and shuffled, and the observer is killed during that."""
    source = random.Random(15)
    fills = [
        fill(
            f"kill-{each % 5}", each, source.choice(("buy", "sell")), str(source.randint(1, 99)), f"1.{source.randint(1000, 9999)}",
            f"0.{source.randint(0, 99):02}", symbol=source.choice(("EUR_USD", "USD_CAD")),
        )
        for each in range(REPORTS)
    ]  # fmt: skip
    sent = [*fills, *fills]
    source.shuffle(sent)
    third = len(sent) // 3
    for part in range(3):
        system.send(*sent[part * third : (part + 1) * third if part < 2 else len(sent)])
        count = int(system.rows("SELECT count(*) FROM fills WHERE bot LIKE 'kill-%%'")[0][0])
        until(lambda count=count: system.rows("SELECT count(*) FROM fills WHERE bot LIKE 'kill-%%'")[0][0] > count or system.settled(), 60)  # type: ignore[misc]
        system.observer.kill(signal.SIGKILL)
        system.observer.start()
    until(system.settled, 60, lambda: system.observer.output()[-2000:])
    expected = plain_totals(fills)
    rows = system.rows("SELECT bot, symbol, quantity, coalesce((fees->>'USD')::numeric, 0) + coalesce((fees->>'CAD')::numeric, 0)"
                       " FROM positions WHERE bot LIKE 'kill-%%'")  # fmt: skip
    assert {(bot, symbol): (Decimal(quantity), Decimal(fees)) for bot, symbol, quantity, fees in rows} == {
        key: (quantity, fees) for key, (quantity, fees, _) in expected.items()
    }
    counts = system.rows("SELECT bot, symbol, count(*) FROM fills WHERE bot LIKE 'kill-%%' GROUP BY 1, 2")
    assert {(bot, symbol): count for bot, symbol, count in counts} == {key: count for key, (_, _, count) in expected.items()}
    # Realised + what is left at cost is the cash flow.
    for bot, symbol, gross, quantity, average in system.rows(
        "SELECT bot, symbol, gross, quantity, average FROM positions WHERE bot LIKE 'kill-%%'"
    ):
        own = [each for each in fills if (each.bot, each.symbol) == (bot, symbol)]
        cash = sum(each.quantity * each.price * (-1 if each.side == "buy" else 1) for each in own)
        assert abs(Decimal(gross) - (cash + Decimal(quantity) * Decimal(average))) < Decimal("1e-15")


def test_second_observer_takes_over(system: System, tmp_path: Path) -> None:
    system.await_acting()
    with observer(system.settings, tmp_path / "second.log") as second:
        until(lambda: "standing by" in second.output(), 30, "the second one standing by")
        before = system.bus.latest_snapshot()
        assert before is not None
        with system.observer.down():
            until(lambda: (found := system.bus.latest_snapshot()) is not None and found.epoch != before.epoch, 30, "its snapshot")
            system.send(fill("takeover", 1, "buy", "1", "1.10"))
            until(lambda: system.strategy("takeover"), 20, "the report")
            assert second.ask_to_stop() == 0
    system.await_acting()
    try:
        assert system.observer.ask_to_stop() == 0  # SIGTERM drains
        names = [name.decode() for name in system.redis.zrange(topics.PROCESSES_KEY, 0, -1)]  # type: ignore[union-attr]
        assert not any(name.startswith("observer@") for name in names)
    finally:
        system.observer.start()
