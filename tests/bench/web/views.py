"""The ladder and the view of the bots under their full load."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

from db.bus import Bus, ReportLimits
from db.reports.model import Fill, Report
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.observability.publisher import observer, prepare
from tests.bench.web import feeder
from tests.bench.web.chromium import Window, dashboard
from tests.bench.web.site import site
from tests.bench.web.waiting import percentile, seconds_of
from tests.support.background import in_background
from tests.support.rest_books import first_book, heartbeat, row
from tests.web.screens.content import Bot

_NO_LONG_TASK = Bar("long tasks", 0)
_STRATEGIES, _CHARTS, _ROUND_TRIPS = 20, 2, 6
_FILLS_PER_SECOND = 2
_SYMBOLS = ("EUR_USD", "GBP_USD", "AUD_USD", "NZD_USD")
_ROWS = "() => document.querySelectorAll('.ladder-table tbody tr').length >= 50"
_FILLED = """(count) => document.querySelectorAll('section.panel[aria-label="Strategies"] tbody tr').length >= count
    && document.querySelectorAll('.series .u-wrap canvas').length"""


def _ladder(place: Ground, quick: bool) -> Iterator[Measured]:
    case = "50 levels, 10 updates per second"
    extra = {"SOURCES": "scenario", "HEARTBEAT_INTERVAL": "60"}
    with site(place, 31, extra) as running:
        with feeder.prices(place.redis_url, running.symbols, 1):
            pass
        book, _ = first_book()
        running.bus.put_books({feeder.BOOK: row(feeder.BOOK, datetime.now(UTC), book=book)}, whole=True)
        running.bus.publish_heartbeat(heartbeat({feeder.BOOK: "live"}))
        with feeder.book(place.redis_url), dashboard(running, quick, f"#/book/{feeder.BOOK}?depth=50") as page:
            page.page.wait_for_function(_ROWS)
            before = page.page.evaluate("() => Number(document.querySelector('.ladder').dataset.repaints)")
            window = page.watch(seconds_of(quick))
            after = page.page.evaluate("() => Number(document.querySelector('.ladder').dataset.repaints)")
            nodes = page.nodes()
    yield Measured(case, (after - before) / window.seconds, text="repaints of the ladder per second")
    yield from _costs(case, window, 15)
    yield Measured(case, nodes, text="DOM nodes")


def _trading(place: Ground, quick: bool) -> Iterator[Measured]:
    case = f"{_STRATEGIES} strategies, {_CHARTS} charts, 10 Hz"
    prepare(place)
    with site(place, 31) as running, observer(place), feeder.prices(place.redis_url, running.symbols, 1):
        bots = [_bot(number) for number in range(_STRATEGIES)]
        now = datetime.now(UTC)
        for bot in bots:
            _report(running.bus, [*bot.reports(now, _ROUND_TRIPS, 6)])
        with _trades(place, bots), dashboard(running, quick, "#/trading") as page:
            page.page.wait_for_function(_FILLED, arg=_STRATEGIES)
            window = page.watch(seconds_of(quick))
            charts = page.page.evaluate("() => document.querySelectorAll('.series .u-wrap canvas').length")
            nodes = page.nodes()
    yield from _costs(case, window, 20)
    yield Measured(case, charts, text="charts")
    yield Measured(case, nodes, text="DOM nodes")


def _costs(case: str, window: Window, percent: float) -> Iterator[Measured]:
    yield Measured(case, window.percent, Bar("renderer, % of a core", percent))
    yield Measured(case, len(window.long_tasks), _NO_LONG_TASK)
    yield Measured(case, len(window.paints) / window.seconds, text="painted frames per second")
    yield Measured(case, percentile(window.paints, 0.99), text="paint p99, ms")


def _bot(number: int) -> Bot:
    symbol = _SYMBOLS[number % len(_SYMBOLS)]
    return Bot(f"bot-{number}", f"strategy-{number:02}", symbol, "1.20000", str(10_000 + 1000 * number), "USD", "0.00004")


def _report(bus: Bus, reports: list[Report]) -> None:
    outcomes = bus.append_reports([reports[i : i + 500] for i in range(0, len(reports), 500)], ReportLimits())
    assert not any(each.refused for each in outcomes)


@contextmanager
def _trades(place: Ground, bots: list[Bot]) -> Iterator[None]:
    """Report a fill of each bot in turn, in a thread, during the block."""

    def run(stop: threading.Event) -> None:
        with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
            for number in count():
                if stop.wait(1 / _FILLS_PER_SECOND):
                    return
                _report(bus, [_fill(bots[number % len(bots)], number)])

    with in_background(run):
        yield


def _fill(bot: Bot, number: int) -> Fill:
    return Fill(
        bot=bot.name, strategy=bot.strategy, id=f"live-{number}", time=datetime.now(UTC) - timedelta(milliseconds=5),
        order_id=f"live-{number}", symbol=bot.symbol, side="sell" if number // _STRATEGIES % 2 else "buy", quantity=Decimal(1000),
        price=Decimal("1.20000") + Decimal(number % 9) / 100_000, fee=Decimal("0.02"), fee_currency="USD", liquidity="taker",
    )  # fmt: skip


LADDER_PART = Part("Ladder", _ladder)
TRADING_PART = Part("Trading", _trading)
