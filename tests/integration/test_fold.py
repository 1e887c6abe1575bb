"""The fold of reports: any order of arrival gives the figures of the order of time.

Expected values: the worked example of docs/observability/figures.md, and arithmetic by hand.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from db.bus import QueuedReport
from db.postgres import Store
from db.reports.model import Correction, Fill, Heartbeat, Order, Report, Signal, digest_of
from jobs.observer.fold.batch import Folded, FoldTerms, fold
from jobs.observer.fold.positions import DayTerms
from tests.conftest import Servers, new_database
from tests.support.store import select

UTC_ZONE = ZoneInfo("UTC")
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
TODAY = DayTerms(UTC_ZONE, NOON.date())
TERMS = FoldTerms(TODAY, {"EUR_USD": "USD", "USD_JPY": "JPY"})
_bots = itertools.count(1)

# Fills 1 to 5 of the worked example, and their `pnl`.
EXAMPLE = (("buy", "1000", "1.09450", "0.020"), ("buy", "500", "1.09510", "0.010"), ("sell", "600", "1.09530", "0.012"),
           ("sell", "1400", "1.09400", "0.028"), ("buy", "500", "1.09390", "0.010"))  # fmt: skip
EXAMPLE_PNL = [None, None, "0.348", "-0.648", "0.040"]


@pytest.fixture(scope="module")
def folded_store(servers: Servers) -> Iterator[Store]:
    with new_database(servers) as url, closing(Store(url)) as store:
        yield store


@pytest.fixture
def bot() -> str:
    """A bot of the test alone."""
    return f"bot-{next(_bots)}"


def run(store: Store, *reports: Report, terms: FoldTerms = TERMS) -> Folded:
    with store.transaction() as cursor:
        return fold(cursor, [QueuedReport(b"0-1", digest_of(each), NOON, each) for each in reports], terms)


def fill(bot: str, number: int, side: str, quantity: str, price: str, fee: str = "0", **changes: Any) -> Fill:
    """Fill `f-NUMBER`, NUMBER minutes after noon."""
    values: dict[str, Any] = {
        "bot": bot, "strategy": "s", "id": f"f-{number}", "time": NOON + timedelta(minutes=number), "order_id": f"o-{number}",
        "symbol": "EUR_USD", "side": side, "quantity": Decimal(quantity), "price": Decimal(price), "fee": Decimal(fee),
    }  # fmt: skip
    return Fill(**{**values, **changes})


def order(bot: str, number: int, status: str, at: int = 0, **changes: Any) -> Order:
    """A report of the order of fill NUMBER, `at` minutes after noon."""
    values: dict[str, Any] = {
        "bot": bot, "strategy": "s", "id": f"{number}-{status}", "time": NOON + timedelta(minutes=at), "order_id": f"o-{number}",
        "symbol": "EUR_USD", "side": "buy", "quantity": Decimal(1000), "order_type": "limit", "status": status,
    }  # fmt: skip
    return Order(**{**values, **changes})


def example(bot: str) -> list[Fill]:
    return [fill(bot, number, *values) for number, values in enumerate(EXAMPLE, 1)]


def rows(store: Store, table: str, columns: str, bot: str, ordered: str = "1") -> list[tuple[Any, ...]]:
    return select(store, f"SELECT {columns} FROM {table} WHERE bot = '{bot}' ORDER BY {ordered}")  # noqa: S608


def decimals(row: Sequence[Any]) -> tuple[Any, ...]:
    """The row with normalised decimals, as 0.50 and 0.5 are the same amount."""
    return tuple(Decimal(each) if isinstance(each, str) and each.lstrip("-").replace(".", "").isdigit() else each for each in row)


def state(store: Store, bot: str) -> dict[str, Any]:
    """Everything that must not depend on the order of arrival."""
    return {
        "positions": [decimals(row) for row in rows(store, "positions", "symbol, quantity, average, gross, fees, last_time", bot)],
        "fills": [decimals(row) for row in rows(store, "fills", "fill_id, quantity, price, fee, realised, voided, latency_ms", bot)],
        "trips": [decimals(row) for row in rows(store, "round_trips", "closed, opening_fill, side, quantity, gross, fees, net", bot)],
        "checkpoints": [
            decimals(row) for row in rows(store, "position_checkpoints", "day, symbol, quantity, average, gross, fees", bot, "1, 2")
        ],
        "orders": [
            decimals(row)
            for row in rows(
                store,
                "orders",
                "order_id, status, filled_quantity, average_price, submitted, acknowledged, first_fill, finished, implicit, time",
                bot,
            )
        ],
    }  # fmt: skip


def assert_example(store: Store, bot: str) -> None:
    """The last row of the table of the worked example, its trades and its round trips."""
    [position] = rows(store, "positions", "quantity, gross, fees->>'USD', opened", bot)
    assert decimals(position) == (Decimal(0), Decimal("-0.22"), Decimal("0.080"), None)
    pnl = [None if value is None else Decimal(value) for (value,) in rows(store, "fills", "realised", bot, "time")]
    assert pnl == [None if value is None else Decimal(value) for value in EXAMPLE_PNL]
    trips = [decimals(row) for row in rows(store, "round_trips", "side, quantity, gross, fees, net, opening_fill", bot, "opened")]
    assert trips == [
        ("long", Decimal(1500), Decimal("-0.27"), Decimal("0.060"), Decimal("-0.33"), "f-1"),
        ("short", Decimal(500), Decimal("0.05"), Decimal("0.020"), Decimal("0.03"), "f-4"),
    ]


@pytest.mark.parametrize("arrival", [(1, 2, 3, 4, 5), (5, 4, 3, 2, 1), (3, 5, 1, 4, 2), (2, 1, 4, 5, 3)])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_worked_example_in_any_order_and_twice_gives_its_table(folded_store: Store, bot: str, arrival: tuple[int, ...], batch: int) -> None:
    fills = example(bot)
    sent = [fills[number - 1] for number in arrival]
    for start in range(0, 5, batch):
        run(folded_store, *sent[start : start + batch])
    assert_example(folded_store, bot)
    again = run(folded_store, *sent)
    assert (len(again.new), again.duplicates) == (0, 5)
    assert_example(folded_store, bot)


def test_position_after_each_fill_is_that_of_the_worked_example(folded_store: Store, bot: str) -> None:
    expected = [
        ("1000", "1.09450", "0", "0.020"),
        ("1500", "1.09470", "0", "0.030"),
        ("900", "1.09470", "0.36", "0.042"),
        ("-500", "1.09400", "-0.27", "0.070"),
        ("0", "0", "-0.22", "0.080"),
    ]
    for each, row in zip(example(bot), expected, strict=True):
        run(folded_store, each)
        [found] = rows(folded_store, "positions", "quantity, average, gross, fees->>'USD'", bot)
        assert decimals(found) == tuple(map(Decimal, row))


def test_late_fill_of_another_day_changes_the_checkpoints_after_it(folded_store: Store, bot: str) -> None:
    first = fill(bot, 1, "buy", "10", "1.10", "0.5")
    run(folded_store, first)
    tomorrow = FoldTerms(DayTerms(UTC_ZONE, date(2025, 11, 20)), TERMS.currencies)
    run(folded_store, fill(bot, 2, "sell", "10", "1.30", "0.5", time=NOON + timedelta(days=2)), terms=tomorrow)
    found = rows(folded_store, "position_checkpoints", "day::text, quantity, gross", bot)
    assert [decimals(row) for row in found] == [("2025-11-20", Decimal(10), Decimal(0))]
    # Sold on the 19th already: the fill of the 20th opens a short.
    run(folded_store, fill(bot, 3, "sell", "10", "1.20", "0.5", time=NOON + timedelta(days=1)), terms=tomorrow)
    found = rows(folded_store, "position_checkpoints", "day::text, quantity, gross", bot)
    assert [decimals(row) for row in found] == [("2025-11-20", Decimal(0), Decimal(1))]
    [position] = rows(folded_store, "positions", "quantity, average, gross, opening_fill", bot)
    assert decimals(position) == (Decimal(-10), Decimal("1.30"), Decimal(1), "f-2")
    assert [decimals(row) for row in rows(folded_store, "fills", "fill_id, realised", bot)] == [
        ("f-1", None), ("f-2", None), ("f-3", Decimal("0.5")),
    ]  # fmt: skip
    [trip] = rows(folded_store, "round_trips", "opening_fill, gross, net", bot)
    assert decimals(trip) == ("f-1", Decimal(1), Decimal(0))


def test_checkpoint_leaves_out_the_fills_after_midnight(folded_store: Store, bot: str) -> None:
    """The clock of the bot is ahead: a fill of the 19th is stored before the day begins here."""
    run(folded_store, fill(bot, 1, "buy", "10", "1.10"), fill(bot, 2, "buy", "5", "1.40", time=NOON + timedelta(hours=12, minutes=1)))
    assert rows(folded_store, "position_checkpoints", "day::text", bot) == []
    run(folded_store, terms=replace(TERMS, days=DayTerms(UTC_ZONE, date(2025, 11, 19))))
    found = rows(folded_store, "position_checkpoints", "day::text, quantity, average, opening_fill", bot)
    assert [decimals(row) for row in found] == [("2025-11-19", Decimal(10), Decimal("1.10"), "f-1")]
    [position] = rows(folded_store, "positions", "quantity, average", bot)
    assert decimals(position) == (Decimal(15), Decimal("1.2"))


def test_corrections_count_in_the_order_of_their_times(folded_store: Store, bot: str) -> None:
    """The second correction comes first, one comes before its fill, a cancelled fill stays so."""

    def correct(number: int, fill_id: str, at: int, action: str = "replace", **values: Any) -> Correction:
        moment = NOON + timedelta(minutes=at)
        return Correction(bot=bot, strategy="s", id=f"c-{number}", time=moment, fill_id=fill_id, action=action, **values)

    run(folded_store, correct(1, "f-1", 50, price=Decimal(2)), fill(bot, 2, "buy", "5", "3"))
    run(folded_store, fill(bot, 1, "buy", "10", "1"), fill(bot, 3, "sell", "15", "4", "1"))
    run(folded_store, correct(2, "f-1", 40, price=Decimal(9), quantity=Decimal(20)))
    run(folded_store, correct(3, "f-2", 60, "cancel"), correct(4, "f-2", 70, quantity=Decimal(1)))
    found = [decimals(row) for row in rows(folded_store, "fills", "fill_id, quantity, price, realised, voided", bot)]
    # 20 at 2, less 15 sold at 4 for 15 · 2 - 1.
    assert found == [
        ("f-1", Decimal(20), Decimal(2), None, False),
        ("f-2", Decimal(5), Decimal(3), None, True),
        ("f-3", Decimal(15), Decimal(4), Decimal(29), False),
    ]
    [position] = rows(folded_store, "positions", "quantity, average, gross", bot)
    assert decimals(position) == (Decimal(5), Decimal(2), Decimal(30))
    run(folded_store, correct(5, "f-1", 80, "cancel"), correct(6, "f-3", 80, "cancel"))
    [position] = rows(folded_store, "positions", "quantity, gross, opened, last_time", bot)
    assert decimals(position) == (Decimal(0), Decimal(0), None, None)
    [order_row] = rows(folded_store, "orders", "filled_quantity, average_price, first_fill", bot)[:1]
    assert decimals(order_row) == (Decimal(0), None, None)


def test_order_status_is_that_of_the_greatest_time(folded_store: Store, bot: str) -> None:
    run(folded_store, fill(bot, 2, "buy", "400", "1.10"))
    columns = "status, quantity, filled_quantity, average_price, implicit, submitted, finished, reason"
    [implicit] = rows(folded_store, "orders", columns, bot)
    assert decimals(implicit) == ("partially_filled", None, Decimal(400), Decimal("1.10"), True, None, None, None)
    run(folded_store, order(bot, 2, "cancelled", 5, reason="too late"))
    run(folded_store, order(bot, 2, "new", 1, arrival_price=Decimal("1.00")), order(bot, 2, "accepted", 2))
    [row] = rows(folded_store, "orders", columns, bot)
    minute = timedelta(minutes=1)
    assert decimals(row) == (
        "cancelled", Decimal(1000), Decimal(400), Decimal("1.10"), False, NOON + minute, NOON + 5 * minute, "too late",
    )  # fmt: skip
    # (1.10 - 1.00) / 1.00 · 10⁴ bps, one minute after `new`.
    [figures] = rows(folded_store, "fills", "arrival_price, slippage_bps, latency_ms", bot)
    assert decimals(figures) == (Decimal("1.00"), pytest.approx(1000), 60_000)
    assert [row[0] for row in rows(folded_store, "order_events", "status", bot, "time")] == ["new", "accepted", "cancelled"]


def test_order_of_a_bot_whose_clock_is_wrong_has_no_latency(folded_store: Store, bot: str) -> None:
    run(folded_store, order(bot, 1, "new", 2), fill(bot, 1, "buy", "400", "1.10"))
    assert rows(folded_store, "fills", "latency_ms, arrival_price, slippage_bps", bot) == [(None, None, None)]


def test_arrival_price_is_the_mid_stored_at_the_time_of_the_order(folded_store: Store, bot: str) -> None:
    with folded_store.transaction() as cursor:
        cursor.execute("SELECT make_month('prices', '2025-11')")
        for seconds, bid, ask in ((-30, "1.0940", "1.0950"), (30, "1.2", "1.2")):
            moment = NOON + timedelta(seconds=seconds)
            cursor.execute(
                "INSERT INTO prices (instrument, time, received, bid, ask, mid, source, epoch, seq, occurrence)"
                " VALUES ('EUR_USD', %s, %s, %s, %s, (%s::numeric + %s::numeric) / 2, 'oanda', 'e', %s, 1)",
                (moment, moment, bid, ask, bid, ask, seconds + 100),
            )
    run(folded_store, order(bot, 1, "new", 0), fill(bot, 1, "buy", "400", "1.0955"))
    [(arrival, slippage)] = rows(folded_store, "fills", "arrival_price, slippage_bps", bot)
    assert (Decimal(arrival), slippage) == (Decimal("1.0945"), pytest.approx(0.0010 / 1.0945 * 10_000))


def test_currency_and_fee_currency_default_to_that_of_the_instrument(folded_store: Store, bot: str) -> None:
    run(folded_store, fill(bot, 1, "buy", "1", "150", "3", symbol="USD_JPY"))
    assert rows(folded_store, "fills", "currency, fee_currency", bot) == [("JPY", "JPY")]
    assert rows(folded_store, "positions", "currency, fees", bot) == [("JPY", {"JPY": "3"})]


def test_changed_report_under_a_known_id_is_a_conflict(folded_store: Store, bot: str) -> None:
    first = fill(bot, 1, "buy", "1", "1")
    run(folded_store, first)
    changed = replace(first, price=Decimal(7))
    result = run(folded_store, changed, first)
    assert (result.conflicts, result.duplicates, len(result.new)) == ((changed,), 1, 0)
    assert rows(folded_store, "fills", "price", bot) == [("1",)]


def test_any_order_of_all_kinds_gives_the_same_tables(folded_store: Store) -> None:
    """Thirty fills of two days, orders, corrections and signals, in five orders and batches."""
    source = random.Random(20251118)
    terms = replace(TERMS, days=DayTerms(ZoneInfo("Europe/Berlin"), date(2025, 11, 20)))

    def reports(bot: str) -> list[Report]:
        source.seed(7)
        found: list[Report] = []
        for number in range(30):
            at = number * 90
            side, quantity = source.choice(("buy", "sell")), str(source.randint(1, 9))
            price = f"1.{source.randint(1000, 1999)}"
            moment = NOON + timedelta(minutes=at)
            found += [
                order(bot, number, "new", at - 1, side=side),
                order(bot, number, source.choice(("filled", "cancelled", "rejected")), at + 1, side=side),
                fill(bot, number, side, quantity, price, "0.01", time=moment),
            ]
            if number % 5 == 0:
                action = "cancel" if number % 10 == 0 else "replace"
                price_after = Decimal("1.5") if action == "replace" else None
                found.append(
                    Correction(
                        bot=bot, strategy="s", id=f"c-{number}", time=moment, fill_id=f"f-{number}", action=action, price=price_after
                    )
                )
        found.append(Signal(bot=bot, strategy="s", id="s-1", time=NOON, symbol="EUR_USD", signal="buy", outcome="generated"))
        found.append(Heartbeat(bot=bot, strategy="s", id="h-1", time=NOON, equity=Decimal(100)))
        return found

    results = []
    for shuffle, size in ((None, 200), (None, 7), (1, 1), (2, 10), (3, 33)):
        bot = f"bot-{next(_bots)}"
        sent = reports(bot)
        if shuffle is not None:
            random.Random(shuffle).shuffle(sent)
        for start in range(0, len(sent), size):
            run(folded_store, *sent[start : start + size], terms=terms)
        results.append(state(folded_store, bot))
    for result in results[1:]:
        for part, expected in results[0].items():
            assert result[part] == expected, part
    assert len(results[0]["checkpoints"]) == 2  # of the 19th and the 20th
    assert sum(row[5] for row in results[0]["fills"]) == 3
