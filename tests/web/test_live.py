"""Prices that arrive while the market list is open."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest
from playwright.sync_api import expect

from db.timestamps import format_time, utc_now
from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.support.pages import Pages


@pytest.fixture
def market(page: Page, site: Site) -> Page:
    page.goto(site.view())
    expect(page.locator("html")).to_have_attribute("data-link", "live")
    # GET /market has answered: no price of it arrives after those of the test.
    expect(row(page, "EUR_USD").locator(".grid-change")).to_have_text(re.compile(r"%$"))
    return page


def row(page: Page, symbol: str) -> Locator:
    return page.locator(f'.grid-row[data-symbol="{symbol}"]')


def test_published_price_appears_with_exactly_its_text(market: Page, site: Site) -> None:
    prices = row(market, "GBP_USD").locator(".grid-price")
    site.publish("GBP_USD", "1.27100", "1.27130")
    expect(prices).to_have_text(["1.27100", "1.27130"])
    expect(row(market, "GBP_USD").locator(".grid-spread")).to_have_text("3.0")
    assert prices.first.locator("b").text_content() == "10"  # the pip; its fraction is the small digit
    assert prices.first.locator("small").text_content() == "0"


def test_price_of_a_foreign_publisher_without_seq_appears(market: Page, site: Site) -> None:
    now = utc_now()
    body = {"instrument": "AUD_USD", "price": {"bid": "0.65200", "ask": "0.65210", "mid": "0.65205", "time": format_time(now)}}
    site.operator.publish("price_updates", orjson.dumps({**body, "timestamp": format_time(now)}))
    prices = row(market, "AUD_USD").locator(".grid-price")
    expect(prices).to_have_text(["0.65200", "0.65210"])
    site.publish("AUD_USD", "0.65300", "0.65310")  # the next price of the product: REST has it too
    expect(prices).to_have_text(["0.65300", "0.65310"])


def test_change_of_at_least_one_spread_is_tinted_and_a_smaller_one_is_not(market: Page, site: Site) -> None:
    market.evaluate("""() => {
        globalThis.tints = [];
        new MutationObserver((records) => {
            for (const { target } of records) {
                if (target.matches('.grid-up, .grid-down')) globalThis.tints.push(`${target.dataset.symbol} ${target.className}`);
            }
        }).observe(document.querySelector('.grid-space'), { subtree: true, attributeFilter: ['class'] });
    }""")
    prices = row(market, "USD_JPY").locator(".grid-price")
    site.publish("USD_JPY", "154.614", "154.628")  # less than the spread of 0.014
    expect(prices.first).to_have_text("154.614")
    site.publish("USD_JPY", "154.813", "154.827")
    expect(prices.first).to_have_text("154.813")
    market.wait_for_function("() => globalThis.tints.some((tint) => tint.startsWith('USD_JPY'))")
    expect(row(market, "USD_JPY")).not_to_have_class("grid-up")  # the timer removes it
    tints = [tint for tint in market.evaluate("() => globalThis.tints") if tint.startswith("USD_JPY")]
    assert len(tints) == 1
    assert "grid-up" in tints[0]


def test_old_price_is_stale_by_its_timestamp_and_not_by_its_arrival(market: Page, site: Site) -> None:
    old = utc_now() - timedelta(minutes=5)
    with site.store.transaction() as cursor:
        cursor.execute("SELECT calendar FROM instruments WHERE symbol = 'ETHUSDT'")
        assert cursor.fetchone() == ("crypto",)  # always open
    price = {"bid": "0.86360", "ask": "0.86380", "mid": "0.86370", "time": format_time(old)}
    site.operator.publish("price_updates", orjson.dumps({"instrument": "ETHUSDT", "price": price, "timestamp": format_time(old)}))
    expect(row(market, "ETHUSDT")).to_have_attribute("data-state", "stale")
    expect(row(market, "ETHUSDT").locator(".grid-age")).to_have_text("! 5 min")
    item = market.locator(".overview-item", has_text="ETHUSDT is stale")
    expect(item).to_contain_text("last price 5 min ago")
    assert item.get_attribute("href") == "#/i/ETHUSDT"
    site.publish("ETHUSDT", "2650.10", "2650.20")
    expect(row(market, "ETHUSDT")).to_have_attribute("data-state", "live")
    expect(item).to_have_count(0)


def test_reduced_motion_keeps_the_colour_of_the_last_direction_and_tints_nothing(pages: Pages, site: Site) -> None:
    page = pages.open(site.view(), reduced_motion="reduce")
    expect(page.locator("html")).to_have_attribute("data-link", "live")
    changed = row(page, "BTCUSDT")
    expect(changed.locator(".grid-price").first).not_to_have_text("–")
    for bid, ask, direction in [("70000.00", "70000.10", "up"), ("69000.00", "69000.10", "down")]:
        site.publish("BTCUSDT", bid, ask)
        expect(changed).to_have_attribute("data-direction", direction)
        expected = page.evaluate("(name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()", direction)
        shown = changed.locator(".grid-price").first.evaluate("(cell) => getComputedStyle(cell).color")
        assert shown == f"rgb({', '.join(str(int(expected[at : at + 2], 16)) for at in (1, 3, 5))})"
    assert page.locator(".grid-up, .grid-down").count() == 0
