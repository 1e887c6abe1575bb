"""Texts of users and other systems with markup and control characters appear as text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from db.alerts import Alert, acknowledge, raise_alert
from db.timestamps import utc_now
from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

    from tests.support.pages import Pages

SYMBOL = "NZD_JPY"  # no other test needs its name
MARKUP = '<img src=x onerror="globalThis.injected=1"><b>bold</b> &amp; \u202e\x1b[31m\x07 ${1} </script>'
_UNSAFE = """() => ({
    images: document.querySelectorAll('img, script:not([src]):not([type=importmap])').length,
    bold: [...document.querySelectorAll('b')].filter((element) => element.textContent === 'bold').length,
    injected: globalThis.injected ?? null,
})"""


@pytest.fixture(scope="module")
def site(whole: Site) -> Iterator[Site]:
    """The whole site, with an instrument and an alert whose texts have markup."""
    now = utc_now() - timedelta(hours=3)
    alert = Alert("volatility", SYMBOL, None, "critical", now, 0.03, None, 0.02, MARKUP)
    with whole.store.transaction() as cursor:
        cursor.execute("SELECT name FROM instruments WHERE symbol = %s", (SYMBOL,))
        before = cursor.fetchone()
        assert before is not None
        _rename(cursor, MARKUP)
        raise_alert(cursor, alert)
        acknowledge(cursor, alert.alert_id, MARKUP, MARKUP, utc_now())
    yield whole
    with whole.store.transaction() as cursor:
        _rename(cursor, str(before[0]))
        cursor.execute("DELETE FROM alerts WHERE subject = %s", (SYMBOL,))


def _rename(cursor: object, name: str) -> None:
    cursor.execute(  # type: ignore[attr-defined]
        "UPDATE instruments SET name = %s, changed = nextval('instrument_changes') WHERE symbol = %s", (name, SYMBOL)
    )


def assert_safe(page: Page) -> None:
    assert page.evaluate(_UNSAFE) == {"images": 0, "bold": 0, "injected": None}


def test_name_of_an_instrument_is_text(page: Page, site: Site) -> None:
    page.goto(site.view())
    page.get_by_label("Find an instrument").fill("img src=x onerror")
    row = page.locator(f'.grid-row[data-symbol="{SYMBOL}"]')
    expect(row.locator(".grid-link")).to_have_attribute("title", MARKUP)
    row.focus()
    page.keyboard.press("p")
    expect(page.locator(".grid [role=status].sr-only")).to_contain_text('<img src=x onerror="globalThis.injected=1"><b>bold</b> &amp;')
    page.keyboard.press("Enter")
    expect(page.locator(".view")).to_contain_text("<b>bold</b>")
    assert_safe(page)


def test_message_name_and_comment_of_an_alert_are_text(page: Page, site: Site) -> None:
    page.goto(site.view("#/alerts?state=acknowledged"))
    row = page.locator(".alerts-row", has_text=SYMBOL)
    expect(row).to_contain_text('<img src=x onerror="globalThis.injected=1">')
    assert MARKUP in row.evaluate("(row) => [row, ...row.querySelectorAll('[title]')].map(({ title }) => title).join('|')")
    assert_safe(page)


def test_name_of_a_strategy_and_of_a_missing_instrument_are_text(page: Page, pages: Pages, site: Site) -> None:
    def rename(route: Route) -> None:
        """REST refuses such a name, but rows of other writers may have one."""
        body = route.fetch().json()
        for fill in body["fills"]:
            fill["strategy"] = MARKUP
        route.fulfill(json=body)

    page.route("**/fills?*", rename)
    page.goto(site.view("#/trading"))
    expect(page.locator("table", has_text="Strategy").get_by_text('<img src=x onerror="globalThis.injected=1">').first).to_be_visible()
    assert_safe(page)
    pages.allow("status of 404")
    page.evaluate("(hash) => { location.hash = hash; }", "#/i/<img src=x onerror=alert(1)>")
    expect(page.locator(".view")).to_contain_text("<img src=x onerror=alert(1)>")
    assert_safe(page)
