"""Orders: their status by the greatest (time, seq), their filled quantity from fills alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from db.figures.positions import ZERO
from db.past_quotes import MID_AGE, PastQuote, quotes_at
from db.postgres import Cursor
from db.reports.fills import FillRow, fills_of_orders
from db.reports.model import TERMINAL_STATUSES, Order
from db.reports.order_events import OrderEventRow, insert_order_events
from db.reports.orders import OrderRow, find_orders, save_orders
from db.reports.report_ids import NumberedReport
from jobs.observer.figures.execution import average_price, latency_us, slippage_bps
from jobs.observer.fold.fills import WorkingFills

OrderKey = tuple[str, str]  # bot, order id
OrderChange = tuple[OrderRow | None, OrderRow]  # before (None: new), after


def fold_orders(cursor: Cursor, reports: Sequence[NumberedReport], working: WorkingFills) -> list[OrderChange]:
    """Update the orders of these reports and of the working fills; return those that changed.

    The fills of these orders get their arrival price, slippage and latency.
    """
    events: dict[OrderKey, list[tuple[datetime, int, Order]]] = {}
    for each in reports:
        if isinstance(order := each.report, Order):
            events.setdefault((order.bot, order.order_id), []).append((order.time, each.seq, order))
    insert_order_events(cursor, [_event(each, each.report) for each in reports if isinstance(each.report, Order)])
    keys = {*events, *((row.bot, row.order_id) for row in working.rows.values())}
    stored = find_orders(cursor, keys)
    fills = _fills(cursor, keys, working)
    orders: dict[OrderKey, OrderRow] = {}
    for key in keys:
        row = stored.get(key)
        for _, seq, order in sorted(events.get(key, ()), key=lambda event: event[:2]):
            row = merged(row, order, seq)
        own = [fill for fill in fills.get(key, ()) if not fill.voided]
        if fills.get(key) and (row is None or row.implicit):
            row = _implicit(min(fills[key], key=_order))
        if row is None:
            continue  # retention has deleted the fills
        orders[key] = with_fills(row, own)
    _add_figures(cursor, orders, fills, working)
    changes = [(stored.get(key), row) for key, row in orders.items() if row != stored.get(key)]
    save_orders(cursor, [row for _, row in changes])
    return changes


def merged(row: OrderRow | None, order: Order, seq: int) -> OrderRow:
    """The order after one more report. Of two reports, the one with the greater (time, seq) counts.

    Values that it does not give come from the other one.
    """
    fresh = _row(order, seq)
    if row is None or row.implicit:
        return fresh
    newer, older = (fresh, row) if (fresh.time, fresh.seq) > (row.time, row.seq) else (row, fresh)
    given = ("price", "client_order_id", "arrival_price", "decision_price", "decision_time")
    values = {name: getattr(older, name) if (value := getattr(newer, name)) is None else value for name in given}
    return replace(
        newer,
        **values,
        submitted=_earlier(newer.submitted, older.submitted),
        acknowledged=_earlier(newer.acknowledged, older.acknowledged),
    )


def with_fills(row: OrderRow, fills: Sequence[FillRow]) -> OrderRow:
    """The order with the sums of its fills that count."""
    return replace(
        row,
        filled_quantity=sum((fill.quantity for fill in fills), ZERO),
        average_price=average_price((fill.price, fill.quantity) for fill in fills),
        first_fill=min((fill.time for fill in fills), default=None),
    )


def with_figures(row: OrderRow, fills: Sequence[FillRow], mid: PastQuote | None) -> list[FillRow]:
    """The fills with arrival price, slippage and latency; the first one alone has a latency.

    `mid` is the stored price at the order's time. A negative latency is left out: the bot's clock
    was wrong.
    """
    arrival = row.arrival_price if row.arrival_price is not None else (mid.mid if mid else None)
    first = min(fills, key=_order, default=None)
    found = []
    for fill in fills:
        microseconds = latency_us(row.submitted, fill.time) if fill is first and row.submitted else -1
        latency, slippage = None if microseconds < 0 else microseconds / 1000, slippage_bps(fill.side, fill.price, arrival)
        if (arrival, slippage, latency) == (fill.arrival_price, fill.slippage_bps, fill.latency_ms):
            found.append(fill)  # most fills of an order without an arrival price; a copy costs 3 µs
        else:
            found.append(replace(fill, arrival_price=arrival, slippage_bps=slippage, latency_ms=latency))
    return found


def _add_figures(
    cursor: Cursor, orders: Mapping[OrderKey, OrderRow], fills: Mapping[OrderKey, Sequence[FillRow]], working: WorkingFills
) -> None:
    times = {key: row.submitted or row.acknowledged for key, row in orders.items() if row.arrival_price is None and fills.get(key)}
    mids = quotes_at(cursor, [(orders[key].symbol, time) for key, time in times.items() if time], MID_AGE)
    for key, row in orders.items():
        own = [fill for fill in fills.get(key, ()) if not fill.voided]
        moment = times.get(key)
        for before, after in zip(own, with_figures(row, own, mids.get((row.symbol, moment)) if moment else None), strict=True):
            if after is not before:
                working.change(after, before)


def _fills(cursor: Cursor, keys: Iterable[OrderKey], working: WorkingFills) -> dict[OrderKey, list[FillRow]]:
    """Order -> its fills, stored ones and those of the batch."""
    names: dict[str, list[str]] = {}  # bot -> order ids
    for bot, order_id in keys:
        names.setdefault(bot, []).append(order_id)
    found: dict[OrderKey, list[FillRow]] = {}
    for bot, order_ids in names.items():
        mine = [row for row in working.rows.values() if row.bot == bot]
        for row in working.over(fills_of_orders(cursor, bot, order_ids), mine):
            found.setdefault((row.bot, row.order_id), []).append(row)
    return found


def _row(order: Order, seq: int) -> OrderRow:
    return OrderRow(
        bot=order.bot, order_id=order.order_id, strategy=order.strategy, symbol=order.symbol, side=order.side, quantity=order.quantity,
        order_type=order.order_type, price=order.price, client_order_id=order.client_order_id, status=order.status, reason=order.reason,
        filled_quantity=ZERO, average_price=None, submitted=order.time if order.status == "new" else None,
        acknowledged=order.time if order.status == "accepted" else None, first_fill=None,
        finished=order.time if order.status in TERMINAL_STATUSES else None, arrival_price=order.arrival_price,
        decision_price=order.decision_price, decision_time=order.decision_time, implicit=False, seq=seq, time=order.time,
    )  # fmt: skip


def _implicit(fill: FillRow) -> OrderRow:
    """The order of a fill that came before every report of its order."""
    return OrderRow(
        bot=fill.bot, order_id=fill.order_id, strategy=fill.strategy, symbol=fill.symbol, side=fill.side, quantity=None, order_type=None,
        price=None, client_order_id=None, status="partially_filled", reason=None, filled_quantity=ZERO, average_price=None, submitted=None,
        acknowledged=None, first_fill=None, finished=None, arrival_price=None, decision_price=None, decision_time=None, implicit=True,
        seq=fill.seq, time=fill.time,
    )  # fmt: skip


def _event(each: NumberedReport, order: Order) -> OrderEventRow:
    return OrderEventRow(order.bot, order.id, order.time, each.received, each.seq, order.order_id, order.status, order.reason)


def _earlier(first: datetime | None, second: datetime | None) -> datetime | None:
    return min((each for each in (first, second) if each is not None), default=None)


def _order(fill: FillRow) -> tuple[datetime, int]:
    return fill.time, fill.seq
