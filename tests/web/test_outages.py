"""Hub, REST, Redis and PostgreSQL are killed under an open page: each state comes and goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from db.candles import CandleRow
from tests.conftest import until
from tests.support.background import in_background
from tests.support.charts import bars, shows, stored
from tests.support.pages import Chromium, Pages
from tests.support.shell import (
    DOWN,
    await_banner,
    await_link,
    await_mid,
    await_text,
    bus_prices,
    newest_of_hub,
    opened,
    record_prices,
    recorded,
    shown_prices,
)  # fmt: skip
from tests.support.sites import PRICES, Site
from tests.support.store import put_candles

if TYPE_CHECKING:
    from playwright.sync_api import Page

FULL_RATE = "EUR_USD"
CHART = "GBP_USD"
OTHERS = [symbol for symbol in PRICES if symbol != FULL_RATE]
PRICES_PER_SECOND = 62


@pytest.fixture(scope="module")
def site(chromium: Chromium, start_site: Callable[..., Site]) -> Site:
    return start_site(own_postgres=True)


@pytest.fixture
def page(pages: Pages, site: Site) -> Page:
    pages.allow(*DOWN)
    return opened(pages.open(), site.view())


@contextmanager
def publishing(site: Site) -> Iterator[None]:
    """Publish 62 prices a second, of each instrument in turn."""

    def publish(ended: threading.Event) -> None:
        for number in count(1):
            symbol = list(PRICES)[number % len(PRICES)]
            site.publish(symbol, f"1.{number:05d}", f"1.{number + 1:05d}")
            if ended.wait(1 / PRICES_PER_SECOND):
                return

    with in_background(publish):
        yield


def test_hub_killed(page: Page, site: Site) -> None:
    page.evaluate("(symbol) => void tickwire.hub.fullRate(symbol)", FULL_RATE)
    page.evaluate("(symbol) => { location.hash = `#/i/${symbol}?interval=1m` }", CHART)
    until(lambda: shows(page, stored(site, CHART, "1m", 300)), what="the chart")
    record_prices(page)
    with publishing(site):
        page.wait_for_function("(symbols) => symbols.every((symbol) => seqs[symbol]?.length > 1)", arg=list(PRICES))
        with site.hub.down():
            await_link(page, "reconnecting")
            await_banner(page, "The connection was lost at")
            assert "Prices below are the last ones received." in page.inner_text("#banner")
            before = shown_prices(page)
            assert all(before[symbol][0] for symbol in PRICES), "nothing is hidden"
            _end_minute(site)
        await_link(page, "live")
    await_banner(page, "")
    until(lambda: shows(page, stored(site, CHART, "1m", 300)), what=lambda: f"the chart of REST: {bars(page)['candles'][-2:]}")
    wanted = bus_prices(site, list(PRICES))
    until(lambda: {symbol: shown_prices(page)[symbol] for symbol in PRICES} == wanted, what="the newest prices")
    # The page may have a newest price from REST before the hub sends it.
    until(lambda: newest_of_hub(page) == {symbol: seq for symbol, (_, seq, _) in wanted.items()}, what="the newest prices of the hub")
    until(lambda: recorded(page)[FULL_RATE][-1] == wanted[FULL_RATE][1], what="the last missed price")
    found = recorded(page)
    assert found[FULL_RATE] == list(range(found[FULL_RATE][0], wanted[FULL_RATE][1] + 1)), "no hole and no repeat"
    for symbol in OTHERS:  # the hub skips prices of them on request
        assert found[symbol] == sorted(set(found[symbol])), "no repeat"
    assert page.evaluate("() => tickwire.store.gapCount") == 0
    await_text(page, "#foot", "0 price gaps")


def _end_minute(site: Site) -> None:
    """Store the end of the running candle, which the hub does not send."""
    [running] = stored(site, CHART, "1m", 1)
    mid = (running["open"], running["high"], "1.26890", "1.26900")
    put_candles(site.store, [CandleRow(CHART, "1m", running["start_time"], running["end_time"], mid, None, None, "77", 77, True, "ticks")])


def test_rest_killed(page: Page, site: Site) -> None:
    page.goto(site.view("#/trading"))
    page.wait_for_function("() => document.querySelector('.panel:is([data-state=ready], [data-state=empty])') !== null")
    with site.rest.down():
        await_text(page, "#foot", "REST is not available")
        await_text(page, ".panel[data-state=error]", "Next attempt in")
        page.goto(site.view("#/alerts"))
        await_text(page, ".view", "This view could not be loaded")
        site.publish("GBP_USD", "1.30001", "1.30003")
        await_mid(page, "GBP_USD", "1.30002")
        assert page.evaluate("() => document.documentElement.dataset.link") == "live"
    page.wait_for_function("() => document.querySelector('.view-alerts .panel:not([data-state=error], [data-state=loading])') !== null")
    page.wait_for_function("() => !document.getElementById('foot').textContent.includes('REST is not available')")


def test_redis_killed(page: Page, site: Site) -> None:
    site.publish("EUR_USD", "1.20001", "1.20003")
    await_mid(page, "EUR_USD", "1.20002")
    with site.redis.down():
        await_text(page, "#foot", "Redis ")
        page.wait_for_function("() => document.querySelector('#foot .foot-crit') !== null")
        assert shown_prices(page)["EUR_USD"][0] == "1.20002"
    until(lambda: _published(site), what="a price on the new Redis")
    await_mid(page, "EUR_USD", "1.20006")
    await_link(page, "live")
    page.wait_for_function("() => document.querySelector('#foot .foot-crit') === null")


def _published(site: Site) -> bool:
    try:
        site.publish("EUR_USD", "1.20005", "1.20007")
    except Exception:  # noqa: BLE001 - the bus has errors of its own while Redis starts
        return False
    return True


def test_postgres_killed(page: Page, site: Site) -> None:
    assert site.postgres is not None
    page.evaluate("() => { location.hash = '#/i/USD_JPY?interval=1h' }")
    page.wait_for_selector(".chart-panel[data-state=ready]")
    with site.postgres.down():
        await_text(page, ".foot-item:has(.foot-crit)", "database ")
        page.evaluate("() => { location.hash = '#/i/USD_JPY?interval=1m' }")
        await_text(page, ".chart-panel[data-state=error]", "Next attempt in")
        site.publish("GBP_USD", "1.30011", "1.30013")
        await_mid(page, "GBP_USD", "1.30012")
        await_link(page, "live")
    page.wait_for_selector(".chart-panel[data-state=ready]")
    page.wait_for_function("() => document.querySelector('#foot .foot-crit') === null")


def test_epoch(page: Page, site: Site) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    site.operator.flushall()
    until(lambda: _published(site), what="a price in the new log")
    await_banner(page, "The log of the hub restarted at")
    await_mid(page, "EUR_USD", "1.20006")
    until(lambda: page.title() and any(url.endswith("/market") for url in requests), what="the history, loaded again")
    assert page.evaluate("() => tickwire.store.gapCount") == 0
