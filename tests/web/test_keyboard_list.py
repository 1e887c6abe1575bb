"""The market list without a mouse: keys, focus, find field, lists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

_COUNT = 300  # instruments of this module: far more than the pool has rows


@pytest.fixture
def market(page: Page, site: Site) -> Page:
    """The market with many made-up instruments beside the real ones."""
    page.goto(site.view())
    expect(page.locator("html")).to_have_attribute("data-link", "live")
    expect(page.locator('.grid-row[aria-rowindex="2"]')).to_be_visible()
    page.evaluate(
        """(count) => {
        const { store } = globalThis.tickwire;
        const known = store.symbols.map((symbol) => ({ symbol, ...store.rows.get(symbol) }));
        const made = (index) => ({ symbol: `X${String(index).padStart(3, '0')}`, name: 'made up', kind: 'other' });
        const more = Array.from({ length: count }, (_, index) => made(index));
        store.setInstruments([...known, ...more]);
    }""",
        _COUNT,
    )
    return page


def focused(page: Page) -> str:
    """The instrument of the row with the focus."""
    return str(page.evaluate("() => document.activeElement?.closest('.grid-row')?.dataset.symbol ?? document.activeElement?.className"))


def symbols(page: Page) -> list[str]:
    found: list[str] = page.evaluate("() => globalThis.tickwire.store.symbols")
    return found


def into_list(page: Page) -> Locator:
    """Put the focus on the list, as Tab does after the head."""
    body = page.locator(".grid-body")
    body.focus()
    return body


def test_arrow_keys_move_the_focus_through_all_rows(market: Page) -> None:
    order = symbols(market)
    into_list(market)
    market.keyboard.press("ArrowDown")
    assert focused(market) == order[0]
    for key, index in [("ArrowDown", 1), ("End", len(order) - 1), ("ArrowUp", len(order) - 2), ("Home", 0), ("ArrowUp", 0)]:
        market.keyboard.press(key)
        assert focused(market) == order[index], key
        expect(market.locator(".grid-row:focus")).to_be_in_viewport()
    market.keyboard.press("PageDown")
    page_rows = order.index(focused(market))
    assert 10 < page_rows < 40
    market.keyboard.press("PageUp")
    assert focused(market) == order[0]
    assert market.evaluate("() => document.querySelectorAll('.grid-row').length") < 60


def test_focus_survives_scrolling_sorting_and_updates(market: Page, site: Site) -> None:
    into_list(market)
    market.keyboard.press("ArrowDown")
    market.keyboard.press("ArrowDown")
    symbol = focused(market)
    market.locator(".grid-body").evaluate("(list) => list.scrollTo(0, 5000)")
    expect(market.locator(f'.grid-row[data-symbol="X{160:03}"]')).to_be_visible()
    assert focused(market) == symbol
    # The store changes the order below the focus: the list follows the instruments.
    market.evaluate("""() => {
        const { store } = globalThis.tickwire;
        store.setInstruments([...store.symbols].reverse().map((symbol) => ({ symbol, ...store.rows.get(symbol) })));
    }""")
    assert focused(market) == symbol
    rowindex = symbols(market).index(symbol) + 2
    expect(market.locator(".grid-row:focus")).to_have_attribute("aria-rowindex", str(rowindex))
    site.publish(symbol, "1.11110", "1.11120")
    expect(market.locator(".grid-row:focus .grid-price").first).to_have_text("1.11110")
    market.keyboard.press("ArrowUp")
    assert focused(market) == symbols(market)[rowindex - 3]
    expect(market.locator(".grid-row:focus")).to_be_in_viewport()


def test_keys_of_a_row_set_the_star_announce_the_price_and_open(market: Page, site: Site) -> None:
    site.publish("EUR_CHF", "0.93130", "0.93140")
    market.keyboard.press("/")
    market.keyboard.type("eur/chf")
    expect(market.locator(".grid-row:not([hidden])")).to_have_count(1)
    expect(market.locator('.grid-row[data-symbol="EUR_CHF"] > .grid-price').first).to_have_text("0.93130")
    market.keyboard.type("s")  # a letter in the field is no shortcut
    assert market.get_by_label("Find an instrument").input_value() == "eur/chfs"
    expect(market.locator(".grid-note")).to_contain_text("No instrument matches")
    market.keyboard.press("Escape")
    expect(market.get_by_role("grid")).to_have_attribute("aria-rowcount", str(len(symbols(market)) + 1))
    row = market.locator('.grid-row[data-symbol="EUR_CHF"]')
    row.focus()
    market.keyboard.press("s")
    expect(row.get_by_role("button", name="Star EUR_CHF")).to_have_attribute("aria-pressed", "true")
    assert json.loads(market.evaluate("() => localStorage.getItem('tickwire.lists')")) == {"Starred": ["EUR_CHF"]}
    market.keyboard.press("p")
    expect(market.locator(".grid [role=status].sr-only")).to_contain_text("bid 0.93130, ask 0.93140, spread 1.0 pips")
    market.keyboard.press("t")
    expect(market.get_by_role("dialog")).to_contain_text("EUR_CHF")
    market.keyboard.press("Escape")
    expect(row).to_be_focused()
    market.keyboard.press("Enter")
    expect(market).to_have_url(site.view("#/i/EUR_CHF"))
    expect(row).to_have_attribute("aria-current", "true")


def test_sort_is_applied_by_the_head_and_rests_while_the_focus_is_in_the_list(market: Page, site: Site) -> None:
    head = market.get_by_role("columnheader", name="Bid")
    head.get_by_role("button").focus()
    market.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    market.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(market.locator('.grid-row[data-symbol="BTCUSDT"]')).to_have_attribute("aria-rowindex", "2")
    expect(market).to_have_url(site.view("#/?sort=-bid"))
    into_list(market)
    site.publish("AUD_JPY", "99999.100", "99999.200")
    expect(market.locator('.grid-row[data-symbol="AUD_JPY"] > .grid-price').first).to_have_text("99999.100")
    seen = market.evaluate("() => globalThis.tickwire.paint.count")
    market.wait_for_function("(seen) => globalThis.tickwire.paint.count > seen + 7", arg=seen)  # one a second: ages
    expect(market.locator('.grid-row[data-symbol="BTCUSDT"]')).to_have_attribute("aria-rowindex", "2")
    head.get_by_role("button").focus()
    expect(market.locator('.grid-row[data-symbol="AUD_JPY"]')).to_have_attribute("aria-rowindex", "2")


def test_named_list_keeps_its_manual_order(market: Page, site: Site) -> None:
    market.get_by_role("button", name="Edit lists").press("Enter")
    dialog = market.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Majors")
    for symbol in ("usd_jpy", "EUR_USD"):
        dialog.get_by_label("Add instrument").fill(symbol)
        market.keyboard.press("Enter")
    dialog.get_by_role("button", name="Move EUR_USD up").press("Enter")
    dialog.get_by_role("button", name="Save").press("Enter")
    expect(market.locator(".grid-row:not([hidden])")).to_have_count(2)
    expect(market.locator('.grid-row[data-symbol="EUR_USD"]')).to_have_attribute("aria-rowindex", "2")
    expect(market).to_have_url(site.view("#/?list=Majors"))
    market.reload()
    expect(market.locator('.grid-row[data-symbol="USD_JPY"]')).to_have_attribute("aria-rowindex", "3")
