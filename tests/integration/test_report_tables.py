"""The tables of reports: numbers and duplicates, exact digits, late changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from db.bus import QueuedReport
from db.postgres import Store
from db.reports.checkpoints import CheckpointRow, checkpoints_of, checkpoints_of_day, last_checkpoint, save_checkpoints
from db.reports.fills import FillRow, change_fills, fills_of, fills_of_orders, find_fills, insert_fills
from db.reports.heartbeats import HeartbeatRow, daily_equity, insert_heartbeats
from db.reports.model import Fill, Heartbeat, Report, digest_of
from db.reports.order_events import OrderEventRow, events_of_order, insert_order_events
from db.reports.orders import OrderRow, find_orders, open_orders, orders_since, save_orders
from db.reports.positions import PositionRow, all_positions, save_positions
from db.reports.report_ids import claim_reports
from db.reports.round_trips import RoundTripRow, all_round_trips, delete_round_trips, save_round_trips
from db.reports.signals import SignalRow, insert_signals, signal_counts
from tests.support.reports import MOMENT, fill
from tests.support.store import select


def queued(report: Report) -> QueuedReport:
    return QueuedReport(b"1-0", digest_of(report), MOMENT, report)


def row_of(report: Fill, seq: int) -> FillRow:
    return FillRow(
        report.bot, report.id, report.time, MOMENT, seq, report.strategy, report.order_id, report.symbol, report.side, report.quantity,
        report.price, report.fee, report.fee_currency, "USD", report.multiplier,
    )  # fmt: skip


def test_report_gets_one_number_whatever_comes_again(store: Store) -> None:
    with store.transaction() as cursor:
        first = claim_reports(cursor, [queued(fill(1)), queued(fill(2)), queued(fill(1))])
    assert [(each.report.id, each.received) for each in first.new] == [("f-1", MOMENT), ("f-2", MOMENT)]
    assert (first.duplicates, first.conflicts) == (1, ())
    other = fill(2, price=Decimal(7))
    heartbeat = Heartbeat(bot="mm-1", strategy="s", id="f-1", time=MOMENT)
    batch: list[Report] = [other, fill(3), fill(2), heartbeat, fill(3, side="sell"), fill(1, bot="mm-2"), fill(3)]
    with store.transaction() as cursor:
        second = claim_reports(cursor, [queued(each) for each in batch])
    assert [each.report for each in second.new] == [fill(3), heartbeat, fill(1, bot="mm-2")]
    assert (second.duplicates, second.conflicts) == (2, (other, fill(3, side="sell")))
    numbers = [each.seq for each in (*first.new, *second.new)]
    assert numbers == sorted(set(numbers))
    with store.transaction() as cursor:
        assert claim_reports(cursor, []).new == ()
    assert select(store, "SELECT count(*) FROM report_ids") == [(5,)]


def test_fills_keep_their_digits_and_are_stored_once(store: Store) -> None:
    rows = [
        row_of(fill(number, quantity=Decimal(text), price=Decimal(text)), number)
        for number, text in enumerate(("0.000000000000000000000001", "1.0000", "123456789012345678901234.123456789012345678901234"), 1)
    ]
    early = replace(row_of(fill(9), 9), time=MOMENT - timedelta(days=29), currency="a\tb\\N")  # another month; text that COPY escapes
    with store.transaction() as cursor:
        assert insert_fills(cursor, [*rows, early]) == 4
        assert insert_fills(cursor, rows) == 0
        assert insert_fills(cursor, []) == 0
        assert fills_of(cursor, rows[0].position) == [early, *rows]
        assert fills_of(cursor, rows[0].position, MOMENT) == rows
        assert fills_of_orders(cursor, "mm-1", ["o-2", "o-9"]) == [early, rows[1]]
        assert find_fills(cursor, "mm-1", ["f-3", "f-4"]) == {"f-3": rows[2]}
        changed = replace(rows[1], voided=True, fee=Decimal("-0.10"), realised=Decimal("-0.000"), slippage_bps=0.91, latency_ms=31.2)
        change_fills(cursor, [changed])
        assert find_fills(cursor, "mm-1", ["f-2"]) == {"f-2": changed}
        assert format(find_fills(cursor, "mm-1", ["f-2"])["f-2"].quantity, "f") == "1.0000"


def test_orders_and_their_events(store: Store) -> None:
    order = OrderRow(
        "mm-1", "o-1", "s", "EUR_USD", "buy", Decimal(10), "limit", None, None, "new", None, Decimal(0), None, MOMENT, None, None, None,
        None, Decimal("40.00"), MOMENT, implicit=False, seq=1, time=MOMENT,
    )  # fmt: skip
    implicit = replace(order, order_id="o-2", quantity=None, order_type=None, implicit=True)
    filled = replace(order, status="filled", filled_quantity=Decimal("10.0"), finished=MOMENT, seq=3)
    events = [OrderEventRow("mm-1", f"e-{seq}", MOMENT, MOMENT, seq, "o-1", status) for seq, status in ((1, "new"), (3, "filled"))]
    with store.transaction() as cursor:
        save_orders(cursor, [order, implicit])
        save_orders(cursor, [filled])
        keys = [("mm-1", "o-1"), ("mm-1", "o-2"), ("mm-2", "o-1")]
        assert find_orders(cursor, keys) == {("mm-1", "o-1"): filled, ("mm-1", "o-2"): implicit}
        assert find_orders(cursor, []) == {}
        assert open_orders(cursor) == [implicit]
        assert orders_since(cursor, MOMENT) == [implicit, filled]
        assert (insert_order_events(cursor, events), insert_order_events(cursor, events)) == (2, 0)
        assert events_of_order(cursor, "mm-1", "o-1") == events


def test_signals_are_counted_and_the_last_equity_of_a_day_counts(store: Store) -> None:
    signals = [
        SignalRow("mm-1", f"s-{number}", MOMENT, MOMENT, number, "s", "EUR_USD", "buy", outcome, Decimal("1.10"), 0.5)
        for number, outcome in enumerate(("generated", "generated", "rejected"))
    ]
    beats = [
        HeartbeatRow("mm-1", f"h-{hour}", datetime(2025, 11, 18, tzinfo=UTC) + timedelta(hours=hour), "s", equity)
        for hour, equity in ((1, Decimal(100)), (22, Decimal("101.50")), (23, None), (25, Decimal(99)))
    ]
    with store.transaction() as cursor:
        assert insert_signals(cursor, signals) == 3
        assert signal_counts(cursor, MOMENT) == {("mm-1", "s", "generated"): 2, ("mm-1", "s", "rejected"): 1}
        assert insert_heartbeats(cursor, beats) == 4
        assert daily_equity(cursor, "mm-1", "s", ZoneInfo("UTC")) == [beats[1], beats[3]]
        # 22:00 UTC is 07:00 of the 19th in Tokyo, and so is 01:00 of the 19th UTC its 10:00.
        assert daily_equity(cursor, "mm-1", "s", ZoneInfo("Asia/Tokyo")) == [beats[0], beats[3]]


def test_positions_checkpoints_and_round_trips_are_replaced(store: Store) -> None:
    fees = {"USD": Decimal("0.070"), "BNB": Decimal("-0.00001")}
    position = PositionRow("mm-1", "s", "EUR_USD", Decimal(-500), Decimal("1.09400"), Decimal("-0.27"), fees, 4)
    flat = replace(position, quantity=Decimal(0), as_of_seq=5, fees={})
    days = [
        CheckpointRow(date(2025, 11, day), "mm-1", "s", "EUR_USD", Decimal(day), Decimal(1), Decimal(0), fees, mark, day)
        for day, mark in ((17, None), (18, Decimal("1.0945")), (20, Decimal("1.1")))
    ]
    trip = RoundTripRow(
        "mm-1", "s", "EUR_USD", MOMENT, "f-1", MOMENT + timedelta(hours=1), "long", Decimal(1500), Decimal("-0.27"), Decimal("0.060"),
        Decimal("-0.330"), "USD",
    )  # fmt: skip
    later = replace(trip, opened=trip.closed, opening_fill="f-4", closed=trip.closed + timedelta(hours=1), side="short")
    key = ("mm-1", "s", "EUR_USD")
    with store.transaction() as cursor:
        for row in (position, flat):
            save_positions(cursor, [row])
            assert all_positions(cursor) == [row]
        save_checkpoints(cursor, days)
        save_checkpoints(cursor, days[:1])
        assert checkpoints_of(cursor, *key) == days
        assert checkpoints_of(cursor, *key, since=date(2025, 11, 18)) == days[1:]
        assert checkpoints_of_day(cursor, date(2025, 11, 18)) == [days[1]]
        assert last_checkpoint(cursor, *key, date(2025, 11, 19)) == days[1]
        assert last_checkpoint(cursor, *key, date(2025, 11, 16)) is None
        save_round_trips(cursor, [later, trip])
        assert all_round_trips(cursor) == [trip, later]
        assert delete_round_trips(cursor, *key, closed_since=later.closed) == 1
        assert all_round_trips(cursor) == [trip]
