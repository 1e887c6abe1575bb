"""Content of every view beside prices: order books, alerts, bots, a scenario; all of it fixed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from db.alerts import Alert, acknowledge, raise_alert
from db.bus import Bus, ReportLimits
from db.metrics.strategy import StrategyRow, insert_strategy
from db.postgres import Store
from db.reports.model import Fill, Heartbeat, Order, Report, Signal
from db.timestamps import format_time
from jobs.books.book import Book
from tests.support.depth import SPOT_BTC, SPOT_ETH, Recorded, diffs, snapshot
from tests.support.rest_books import heartbeat, publish_book, row

SCENARIO = "stable-mode"
LAST_HEARTBEAT = 599  # of ten minutes
BOOKS = {"BTCUSDT": SPOT_BTC, "ETHUSDT": SPOT_ETH}
_MINUTE = timedelta(minutes=1)


# order books and the scenario


def recorded_book(recorded: Recorded) -> tuple[Book, int]:
    """The book of a recording after its first diff, and its update id."""
    begin = snapshot(recorded)
    book = Book(begin.window)
    book.replace(begin.bids, begin.asks)
    diff = next(each for each in diffs(recorded) if each.last_id > begin.last_id)
    book.apply(diff.bids, diff.asks)
    return book, diff.last_id


def publish_books(bus: Bus, moment: datetime) -> None:
    """Publish the recorded books as live, their process, and a heartbeat."""
    rows = {}
    for symbol, recorded in BOOKS.items():
        book, update_id = recorded_book(recorded)
        publish_book(bus, symbol, book, update_id, moment)
        rows[symbol] = row(symbol, moment - timedelta(hours=2), book=book)
    bus.put_books(rows, whole=True)
    publish_heartbeat(bus, moment, LAST_HEARTBEAT)


def publish_heartbeat(bus: Bus, moment: datetime, number: int) -> None:
    """Publish heartbeat `number` of a scenario that makes 40 messages a second."""
    load = {
        "uptime_seconds": 7200.0 + number,
        "total_messages_processed": 288_000 + 40 * number,
        "current_queue_size": max(0, round(6 + 5 * math.sin(number / 9) + 4 * math.sin(number / 2.3))),
        "memory_usage_mb": round(92 + 3 * math.sin(number / 60), 1),
        "active_clients": 3,
        "last_heartbeat": format_time(moment),
        "lag_ms": round(1.4 + 0.8 * math.sin(number / 7), 2),
        "queue_peak": 41,
    }
    bus.publish_heartbeat(heartbeat(dict.fromkeys(BOOKS, "live"), SCENARIO) | load)


# alerts


def raise_alerts(store: Store, moment: datetime) -> None:
    """Store four alerts: two firing, one acknowledged, one resolved."""
    alerts = [
        _volatility("TSLA", 0.0412, 0.04, "critical", moment - 9 * _MINUTE),
        _volatility("SOLUSDT", 0.0263, 0.02, "warning", moment - 31 * _MINUTE),
        _correlation("AUD_USD", "NZD_USD", 0.41, 0.83, "warning", moment - 52 * _MINUTE),
        _volatility("ADAUSDT", 0.0221, 0.02, "warning", moment - 190 * _MINUTE),
    ]
    with store.transaction() as cursor:
        for alert in alerts:
            raise_alert(cursor, alert)
        cursor.execute("UPDATE alerts SET published = time")
        third = _id(cursor, alerts[2])
        cursor.execute(
            "UPDATE alerts SET state = 'resolved', resolved_at = %(at)s, updated_at = %(at)s WHERE alert_id = %(id)s",
            {"at": moment - 70 * _MINUTE, "id": _id(cursor, alerts[3])},
        )
    with store.transaction() as cursor:
        acknowledge(cursor, third, "ada", "Known: the index is rebalanced at 15:00", moment - 40 * _MINUTE)


def _id(cursor: Any, alert: Alert) -> str:
    cursor.execute("SELECT alert_id FROM alerts WHERE subject = %s AND time = %s", (alert.subject, alert.time))
    return str(cursor.fetchone()[0])


def _volatility(symbol: str, value: float, threshold: float, severity: str, time: datetime) -> Alert:
    text = f"{symbol} volatility {value:.2%} a day is above the {severity} threshold {threshold:.2%}"
    return Alert("volatility", symbol, None, severity, time, value, None, threshold, text)


def _correlation(first: str, second: str, value: float, before: float, severity: str, time: datetime) -> Alert:
    change = abs(value - before)
    text = f"{first}/{second} correlation went from {before:+.2f} to {value:+.2f}, by more than 0.30 ({severity})"
    return Alert("correlation", first, second, severity, time, change, before, 0.3, text)


# bots


class Bot:
    """A bot of one strategy that opens and closes a position every few minutes."""

    def __init__(self, name: str, strategy: str, symbol: str, price: str, quantity: str, currency: str, pips: str) -> None:
        self.name, self.strategy, self.symbol = name, strategy, symbol
        self.price, self.quantity, self.currency, self.step = Decimal(price), Decimal(quantity), currency, Decimal(pips)

    def reports(self, moment: datetime, trades: int, minutes: int) -> Iterator[Report]:
        """Signals, orders and fills of `trades` round trips; the last one stays open."""
        base: dict[str, Any] = {"bot": self.name, "strategy": self.strategy}
        for number in range(trades):
            begun = moment - _MINUTE * minutes * (trades - number)
            is_last = number == trades - 1
            gain = (number * 7) % 11 - 4  # steps, from -4 to 6
            for side, place, steps in (("buy", 0, 0), ("sell", 1, gain)):
                if side == "sell" and is_last:
                    continue
                time = begun + timedelta(seconds=20 + 40 * minutes * place)
                price = self.price + self.step * (number % 5 - 2 + steps)
                yield from self._order(base, f"{number}-{side}", side, price, time)
            outcome = "rejected" if number % 6 == 5 else "approved"
            yield Signal(**base, id=f"s-{number}", time=begun, symbol=self.symbol, signal="buy", outcome=outcome, price=self.price)

    def _order(self, base: dict[str, Any], name: str, side: str, price: Decimal, time: datetime) -> Iterator[Report]:
        number = int(name.partition("-")[0])
        order: dict[str, Any] = {
            **base, "order_id": f"o-{name}", "symbol": self.symbol, "side": side, "quantity": self.quantity, "order_type": "limit",
            "price": price, "arrival_price": price - self.step * (number % 3 - 1),
        }  # fmt: skip
        filled = time + timedelta(milliseconds=24 + number * 13 % 40)
        yield Order(**order, id=f"o-{name}-new", status="new", time=time)
        yield Fill(
            **base, id=f"f-{name}", time=filled, order_id=f"o-{name}", symbol=self.symbol, side=side, quantity=self.quantity, price=price,
            fee=(self.quantity * price * Decimal("0.00002")).quantize(Decimal("0.01")), fee_currency=self.currency,
            liquidity="maker" if number % 3 else "taker",
        )  # fmt: skip
        yield Order(**order, id=f"o-{name}-filled", status="filled", time=filled)


BOTS = (
    Bot("mm-1", "mean_reversion", "EUR_USD", "1.38745", "100000", "USD", "0.00004"),
    Bot("mm-2", "mean_reversion", "GBP_USD", "1.68690", "80000", "USD", "0.00006"),
    Bot("mt-1", "momentum", "BTCUSDT", "61837.60", "0.5", "USDT", "22"),
    Bot("sa-1", "stat_arb", "AAPL", "268.40", "300", "USD", "0.11"),
)


def report_trades(bus: Bus, early: Bus, moment: datetime) -> None:
    """Queue the reports of all bots. `early` has a clock of ten minutes ago: its bot is silent."""
    for number, bot in enumerate(BOTS):
        reports = [*bot.reports(moment, 9 + 2 * number, 6), Heartbeat(bot=bot.name, strategy=bot.strategy, id="h-1", time=moment - _MINUTE)]
        used = early if bot is BOTS[-1] else bus
        if bot is BOTS[-1]:
            reports = [each for each in reports if each.time < moment - 10 * _MINUTE]
        outcomes = used.append_reports([reports[i : i + 500] for i in range(0, len(reports), 500)], ReportLimits())
        assert not any(each.refused for each in outcomes)


def store_pnl(store: Store, moment: datetime) -> None:
    """Store the P&L of each strategy every minute of the 24 hours before `moment`."""
    begin = (moment - timedelta(hours=24)).replace(second=0, microsecond=0)
    rows = [
        StrategyRow(begin + _MINUTE * minute, bot.name, bot.strategy, pnl, pnl, pnl - 3, Decimal(3), 1, minute // 60, 0.55, pnl, pnl)
        for number, bot in enumerate(BOTS)
        for minute in range(24 * 60 - 10)
        for pnl in [_pnl(number, minute)]
    ]
    with store.transaction() as cursor:
        insert_strategy(cursor, rows)


def _pnl(number: int, minute: int) -> Decimal:
    """The P&L of the bot of that number: a wave around a line that rises or falls."""
    wave, line = 40 * math.sin(minute / (170 + 30 * number)), 0.06 * minute * (1 - number / 3)
    return Decimal(round(wave + line, 2)).quantize(Decimal("0.01"))
