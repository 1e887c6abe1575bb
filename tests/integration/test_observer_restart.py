"""A restart of the observer keeps all figures, in any order of arrival; events are sent again."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest

from config.settings import Settings
from db import topics
from db.bus import Bus, BusError
from db.bus.observability.snapshots import STRATEGIES_OF_BOTS
from db.postgres import Store
from db.reports.model import Correction, Fill, Heartbeat, Order, Report, Signal
from tests.conftest import until
from tests.support.folding import FoldingObserver
from tests.support.store import select

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ABSENT = {"implementation_shortfall_bps", "market_impact_bps", "timestamp"}  # they need the loop of quality


def order(bot: str, number: int, status: str, at: float, **changes: Any) -> Order:
    values: dict[str, Any] = {
        "bot": bot, "strategy": "s", "id": f"{number}-{status}", "time": NOON + at * SECOND, "order_id": f"o-{number}",
        "symbol": "EUR_USD", "side": "buy", "quantity": Decimal(10), "order_type": "limit", "status": status,
        "arrival_price": Decimal("1.10"),
    }  # fmt: skip
    return Order(**{**values, **changes})


def fill(bot: str, number: int, order_number: int, side: str, quantity: str, price: str, at: float) -> Fill:
    return Fill(
        bot=bot, strategy="s", id=f"f-{number}", time=NOON + at * SECOND, order_id=f"o-{order_number}", symbol="EUR_USD", side=side,
        quantity=Decimal(quantity), price=Decimal(price), fee=Decimal("0.01"),
    )  # fmt: skip


def reports_of(bot: str, source: random.Random) -> list[Report]:
    """Twenty orders with two fills each, a wrong clock, cancelled and changed fills, signals."""
    found: list[Report] = []
    for number in range(20):
        side, at = source.choice(("buy", "sell")), 60.0 * number
        late = -5 if number % 7 == 3 else 0  # the clock is wrong: the fill is before the order
        status = source.choice(("filled", "cancelled", "rejected", "expired"))
        found += [
            order(bot, number, "new", at, side=side),
            order(bot, number, status, at + 20, side=side),
            fill(bot, 2 * number, number, side, "6", f"1.{source.randint(1000, 1300)}", at + 1 + late + number / 100),
            fill(bot, 2 * number + 1, number, side, str(source.randint(1, 9)), f"1.{source.randint(1000, 1300)}", at + 2),
            Signal(bot=bot, strategy="s", id=f"s-{number}", time=NOON + at * SECOND, symbol="EUR_USD", signal="buy",
                   outcome=source.choice(("generated", "approved", "rejected"))),
        ]  # fmt: skip
        if number % 4 == 0:  # the first fill of the order
            found.append(
                Correction(bot=bot, strategy="s", id=f"c-{number}", time=NOON + at * SECOND, fill_id=f"f-{2 * number}", action="cancel")
            )
        if number % 5 == 1:
            found.append(
                Correction(
                    bot=bot, strategy="s", id=f"c-{number}", time=NOON + at * SECOND, fill_id=f"f-{2 * number}", action="replace",
                    price=Decimal("1.2"), quantity=Decimal(3),
                )
            )  # fmt: skip
    # An order whose report never comes.
    found.append(fill(bot, 100, 100, "buy", "1", "1.2", 30))
    found.append(fill(bot, 101, 100, "buy", "1", "1.2", 20))
    return found


@contextmanager
def reading_trips(observer: FoldingObserver) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=observer.strategy.loops()["observer-trips"], args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


def figures(observer: FoldingObserver) -> dict[str, Any]:
    """Everything that clients see of strategies and executions."""
    strategy, execution = observer.strategy.collect(observer.now), observer.execution.collect(observer.now)
    with observer.context.store.transaction() as cursor:
        observer.strategy.store_second(cursor, observer.now)
    bots = orjson.loads(observer.strategy.further_texts()[STRATEGIES_OF_BOTS])["strategies"]
    parts = {"strategy": strategy, "execution": execution, "skew": observer.execution.get_statistics()["clock_skew"], "bots": bots}
    return {name: {key: value for key, value in part.items() if key not in ABSENT} if isinstance(part, dict) else part
            for name, part in parts.items()}  # fmt: skip


def send_all(observer: FoldingObserver, reports: list[Report], size: int) -> None:
    for start in range(0, len(reports), size):
        observer.send(*reports[start : start + size])


def test_figures_of_shuffled_reports_are_those_of_a_restart(settings: Settings, bus: Bus, store: Store) -> None:
    """A new observer reads rows that do not depend on the order of arrival: tests of the fold."""
    source = random.Random(2)
    reports = [each for bot in ("a", "b") for each in reports_of(bot, source)]
    source.shuffle(reports)
    observer = FoldingObserver(settings, bus, store, NOON + timedelta(hours=1))
    with observer.running(), reading_trips(observer):
        observer.price("1.15")
        send_all(observer, reports, 15)
        [(trips,)] = select(store, "SELECT count(*) FROM round_trips")
        assert trips
        until(lambda: observer.closed_trips() == trips, 20, "the round trips")
        before = figures(observer)
    again = FoldingObserver(settings, bus, store, observer.now)
    with again.running():
        again.price("1.15")
        after = until(lambda: (found := figures(again)) and found["strategy"]["daily_pnl"] is not None and found, 20, "the day")
    assert isinstance(after, dict)
    assert before["skew"] == after["skew"] == 2 * len([number for number in range(20) if number % 7 == 3 and number % 4])
    for part in ("strategy", "bots", "execution"):
        assert rounded(before[part]) == rounded(after[part]), part
    assert before["execution"]["latency_p50_ms"] is not None


def rounded(value: Any) -> Any:
    """The value with ratios of 12 digits: sums of floats depend on their order."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items() if key != "last_report"}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def test_drawdowns_go_on_after_a_restart(settings: Settings, bus: Bus, store: Store) -> None:
    """1,000 bought at 1.10: 20, 100, -50 and 0 are a decline of 150. Equity 1,100 falls by 10."""

    def beat(bot: str, number: int, equity: int) -> Heartbeat:
        return Heartbeat(bot=bot, strategy="s", id=f"h-{number}", time=NOON + number * SECOND, equity=Decimal(equity))

    observer = FoldingObserver(settings, bus, store, NOON + timedelta(minutes=1))
    with observer.running():
        observer.send(fill("a", 1, 1, "buy", "1000", "1.10", 0), beat("a", 1, 100), beat("b", 2, 1000), beat("a", 3, 90))
        observer.send(beat("a", 2, 5))  # a late one
        for bid in ("1.12", "1.20", "1.05", "1.10", "1.10"):
            observer.price(bid)
            before = figures(observer)
    own = before["strategy"]["strategies"]["s"]
    assert (own["max_drawdown"], own["max_drawdown_ratio"]) == (Decimal(150), pytest.approx(10 / 1100))
    assert [(each["max_drawdown"], each["max_drawdown_ratio"]) for each in before["bots"]] == [
        (pytest.approx("150.00"), pytest.approx(0.1)) if bot == "a" else ("0", 0.0) for bot in ("a", "b")
    ]  # fmt: skip
    again = FoldingObserver(settings, bus, store, observer.now)
    with again.running():
        again.price("1.10")
        again.send(beat("b", 9, 1010))  # 90 + 1,010 is the peak again
        after = figures(again)
    names = ("max_drawdown", "max_drawdown_ratio")
    for name in names:
        assert after["strategy"]["strategies"]["s"][name] == own[name]
    assert [[each[name] for name in names] for each in after["bots"]] == [[each[name] for name in names] for each in before["bots"]]
    assert select(store, "SELECT peak, equity_peak FROM strategy_drawdowns WHERE bot = ''") == [("99.99", "1100")]


def test_events_of_a_batch_that_was_not_published_are_sent_by_the_next_observer(
    settings: Settings, bus: Bus, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first observer ends between its commit and the publish, and acknowledges nothing."""
    reports: list[Report] = [fill("a", 1, 1, "buy", "5", "1.1", 1), fill("a", 2, 2, "sell", "9", "1.2", 2), order("a", 1, "filled", 3)]

    def killed(*events: object) -> None:
        raise BusError("away")

    first = FoldingObserver(settings, bus, store, NOON + timedelta(hours=1))
    with monkeypatch.context() as patched:
        patched.setattr(bus, "publish_events", killed)
        with first.running():
            bus.append_reports([reports], first.limits)
            until(lambda: select(store, "SELECT 1 FROM round_trips"), 20, "the commit")
        assert bus.unprocessed_reports() == 3
    with FoldingObserver(settings, bus, store, first.now).running():
        until(lambda: bus.unprocessed_reports() == 0, 20, "the acknowledgement")
    events = [orjson.loads(entry.body) for entry in bus.backwards(topics.OBSERVABILITY_EVENTS)][::-1]
    assert [each["event_id"] for each in events] == [
        "a:order:1-filled", "a:fill:f-1", "a:fill:f-2", "a:position_opened:f-1", "a:position_closed:f-2", "a:position_opened:f-2",
    ]  # fmt: skip
    assert [each["pnl"] for each in events if each["event_type"] == "trade_executed"] == [None, "0.4944444444444444"]
    assert select(store, "SELECT count(*) FROM fills") == [(2,)]


def test_reports_are_acknowledged_if_redis_refuses_their_events(
    settings: Settings, bus: Bus, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis without memory refuses the events; the acknowledgement frees memory."""
    attempts: list[object] = []

    def refused(*events: object) -> None:
        attempts.append(events)
        raise BusError("OutOfMemoryError: command not allowed when used memory > 'maxmemory'.")

    monkeypatch.setattr(bus, "publish_events", refused)
    monkeypatch.setattr("jobs.observer.reports._RETRY_SECONDS", 0.01)
    observer = FoldingObserver(settings, bus, store, NOON + timedelta(hours=1))
    with observer.running():
        observer.send(fill("a", 1, 1, "buy", "5", "1.1", 1))
    assert len(attempts) == 5
    assert select(store, "SELECT count(*) FROM fills") == [(1,)]
