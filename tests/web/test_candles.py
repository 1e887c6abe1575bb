"""The chart of an instrument: its bars are those of `GET /candles`, for all intervals and zones."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, Route

from db.candles import CandleRow
from db.timestamps import format_time
from tests.support.charts import bars, body_of, shows, stored
from tests.support.pages import Pages
from tests.support.polling import until
from tests.support.processes import ROOT
from tests.support.sites import Site
from tests.support.store import put_candles

RECORDING = ROOT / "data" / "recordings" / "EUR_USD_20140505.csv.gz"
SYMBOL = "EUR_AUD"  # has no candles of its own
MINUTE = timedelta(minutes=1)
STORED, PLAYED = 700, 5  # minutes
_PIXEL = """() => [...document.querySelector(".chart-canvas canvas").getContext("2d").getImageData(3, 90, 1, 1).data].slice(0, 3)"""
_ROWS = """() => [...document.querySelectorAll(".bars-table tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent))"""


@pytest.fixture(scope="module")
def minutes() -> list[CandleRow]:
    """Candles of one minute from recorded prices."""
    groups: dict[str, list[Decimal]] = {}
    with gzip.open(RECORDING, "rt") as file:
        for tick in csv.DictReader(file):
            groups.setdefault(tick["time"][:16], []).append((Decimal(tick["bid"]) + Decimal(tick["ask"])) / 2)
    chosen = sorted(groups)[: STORED + PLAYED]
    return [_row(datetime.fromisoformat(f"{start}:00+00:00"), MINUTE, "1m", groups[start]) for start in chosen]


def _row(start: datetime, length: timedelta, interval: str, prices: Sequence[Decimal], *, complete: bool = True) -> CandleRow:
    ohlc = tuple(format(price, "f") for price in (prices[0], max(prices), min(prices), prices[-1]))
    mid = (ohlc[0], ohlc[1], ohlc[2], ohlc[3])
    return CandleRow(
        SYMBOL, interval, format_time(start), format_time(start + length), mid, None, None, str(len(prices)), len(prices), complete, "ticks"
    )


def test_history_and_running_bar_equal_rest(page: Page, site: Site, minutes: list[CandleRow]) -> None:
    put_candles(site.store, minutes[:STORED])
    page.goto(site.view(f"#/i/{SYMBOL}?interval=1m"))
    until(lambda: shows(page, stored(site, SYMBOL, "1m", 300)), 30, "the first 300 bars")
    page.wait_for_selector("html[data-link=live]")

    # panning loads the page before
    page.focus(".view")
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    until(lambda: len(bars(page)["candles"]) == STORED, 30, lambda: f"{len(bars(page)['candles'])} bars")
    assert shows(page, stored(site, SYMBOL, "1m", 1000))

    # the bars after it form, and an old one is corrected
    for played in minutes[STORED:]:
        half = _row(datetime.fromisoformat(played.start_time), MINUTE, "1m", [Decimal(played.mid[0])], complete=False)
        site.bus.publish_candles([(SYMBOL, "1m", body_of(half)), (SYMBOL, "1m", body_of(played))])
    past = minutes[STORED - 50]
    corrected = replace(past, mid=(past.mid[0], "1.40000", past.mid[2], "1.40000"))
    site.bus.publish_candles([(SYMBOL, "1m", body_of(corrected))])
    put_candles(site.store, [*minutes[STORED:], corrected])
    until(lambda: shows(page, stored(site, SYMBOL, "1m", 1000)), 30, lambda: f"{bars(page)['candles'][-2:]}")

    page.keyboard.press("d")
    newest = list(reversed(stored(site, SYMBOL, "1m", 50)))
    until(lambda: len(page.evaluate(_ROWS)) == 50, what="the data table")
    wanted = [[row[name] for name in ("open", "high", "low", "close", "volume")] for row in newest]
    assert [row[1:6] for row in page.evaluate(_ROWS)] == wanted
    assert page.evaluate(_ROWS)[0][0] == newest[0]["start_time"][:16].replace("T", " ")
    page.keyboard.press("d")
    with page.expect_download() as download:
        page.click("text=Candles CSV")
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("start_time,end_time,open,high,low,close")
    assert len(lines) > 10


def test_the_last_requested_interval_is_shown(page: Page, site: Site, minutes: list[CandleRow]) -> None:
    start = datetime.fromisoformat(minutes[0].start_time)
    for interval, length in (("5m", 5 * MINUTE), ("1h", 60 * MINUTE)):
        prices = [[Decimal("1.38") + Decimal(number) / 1000] for number in range(20)]
        put_candles(site.store, [_row(start + length * number, length, interval, each) for number, each in enumerate(prices)])
    held: list[Route] = []
    page.route("**/candles?*interval=5m*", lambda route: held.append(route))
    page.goto(site.view(f"#/i/{SYMBOL}?interval=5m"))
    until(lambda: page.title() and held, 30, "the request of 5m")
    page.wait_for_selector(".chart-intervals")
    page.keyboard.press("4")
    until(lambda: shows(page, stored(site, SYMBOL, "1h", 300)), 30, "the bars of 1h")
    held[0].continue_()
    page.keyboard.press("1")
    page.keyboard.press("4")
    until(lambda: bars(page)["interval"] == "1h" and shows(page, stored(site, SYMBOL, "1h", 300)), 30, "the bars of 1h again")
    assert page.evaluate("() => location.hash").endswith("interval=1h")
    assert page.get_attribute(".chart-intervals [aria-pressed=true]", "title") == "Key 4"


def test_days_carry_their_trading_day_and_the_theme_reaches_the_canvas(pages: Pages, site: Site) -> None:
    page = pages.open()
    page.add_init_script("""localStorage.setItem("tickwire.zone", '"America/New_York"')""")
    page.goto(site.view("#/i/EUR_USD?interval=1d"))
    until(lambda: bars(page)["drawn"], 30, "the bars")
    last = bars(page)["candles"][-1]
    trading_day = (datetime.fromisoformat(last["end_time"]) - timedelta(milliseconds=1)).date().isoformat()
    until(lambda: page.text_content(".legend-time") == trading_day, what=lambda: str(page.text_content(".legend-time")))
    page.keyboard.press("4")
    last = site.get("/candles?symbol=EUR_USD&interval=1h&order=desc&limit=1")["candles"][0]
    local = datetime.fromisoformat(last["start_time"]).astimezone(ZoneInfo("America/New_York")).strftime("%Y-%m-%d %H:%M")
    until(lambda: page.text_content(".legend-time") == local, what=lambda: str(page.text_content(".legend-time")))
    pages.allow("willReadFrequently")  # a hint for those who read canvases often
    dark = page.evaluate(_PIXEL)
    page.emulate_media(color_scheme="light")
    until(lambda: page.evaluate(_PIXEL) != dark, what="a light canvas")
    assert page.text_content(".chart-credit a") == "Charts by TradingView"
