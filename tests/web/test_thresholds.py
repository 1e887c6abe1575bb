"""Own thresholds: entered, set at the hub, triggered, kept in this browser, set again at load."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from db.volatility import VolatilityRow, write_volatility
from tests.support.polling import until
from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

HOUR = datetime(2025, 11, 18, 12, tzinfo=UTC)


def enter(page: Page, instrument: str, op: str, value: str, *, metric: str = "price", once: bool = True) -> Locator:
    """Fill the form and send it."""
    form = page.locator(".thresholds-form")
    form.get_by_label("Value").select_option(metric)
    form.get_by_label("Instrument").fill(instrument)
    form.get_by_label("Condition").select_option(op)
    form.get_by_label("Threshold").fill(value)
    form.get_by_label("once").set_checked(once)
    form.get_by_role("button").click()
    return form


def row(page: Page, text: str) -> Locator:
    return page.locator(".thresholds-table tbody tr", has_text=text)


def at_the_hub(page: Page) -> list[dict[str, Any]]:
    """Return the alerts of this connection, without their ids."""
    alerts: list[dict[str, Any]] = page.evaluate("tickwire.hub.client.listAlerts().then(({ alerts }) => alerts)")
    return [{name: value for name, value in alert.items() if name != "id"} for alert in alerts]


def connected(page: Page) -> None:
    until(lambda: page.evaluate("globalThis.tickwire?.hub.state") == "live", what="the connection")


def test_thresholds_are_kept_and_set_again(site: Site, page: Page) -> None:
    page.goto(site.view("#/alerts"))
    connected(page)
    enter(page, "AUD_USD", ">", "0.66000")
    above = row(page, "Price above 0.66000, once")
    above.filter(has_text="Set").wait_for()
    above.filter(has_text=f"{(0.66 / 0.65018 - 1) * 100:+.2f}%").wait_for()
    enter(page, "AUD_USD", "crosses", "0.65500", once=False)
    row(page, "Price crosses 0.65500").filter(has_text="Set").wait_for()
    kept = json.loads(page.evaluate("localStorage.getItem('tickwire.thresholds')"))
    assert [(each["value"], each["once"]) for each in kept] == [("0.66000", True), ("0.65500", False)]
    assert not any("id" in each for each in kept), "an id belongs to the connection"

    site.publish("AUD_USD", "0.66110", "0.66120")
    above.filter(has_text="at 0.66115").filter(has_text="Triggered").wait_for()
    row(page, "Price crosses 0.65500").filter(has_text="Triggered").wait_for()
    assert at_the_hub(page) == [{"instrument": "AUD_USD", "metric": "price", "op": "crosses", "value": "0.65500", "once": False}]
    page.locator("#announcer", has_text="new alert").wait_for(state="attached")

    page.reload()
    connected(page)
    until(lambda: len(at_the_hub(page)) == 1, what="the threshold that is left")
    above.filter(has_text="Triggered").wait_for()
    above.get_by_role("button", name="Set again").click()
    until(lambda: len(at_the_hub(page)) == 2, what="the threshold that is set again")
    for text in ("above", "crosses"):
        row(page, text).get_by_role("button", name="Delete").click()
    until(lambda: at_the_hub(page) == [], what="the deletions")
    assert page.evaluate("localStorage.getItem('tickwire.thresholds')") == "[]"
    page.get_by_text("No threshold. Enter one below").wait_for()


def test_volatility_is_entered_in_percent(site: Site, page: Page) -> None:
    def store(hour: datetime, value: float) -> None:
        with site.store.transaction() as cursor:
            write_volatility(cursor, [VolatilityRow("GBP_USD", "alert", hour, value, value * 16, 24)])
        site.bus.publish_data_ready("volatility", ["GBP_USD"], hour)

    store(HOUR, 0.01)
    page.goto(site.view("#/alerts"))
    connected(page)
    enter(page, "GBP_USD", ">", "1.5", metric="volatility")
    found = row(page, "Volatility above 1.5 % a day, once")
    found.filter(has_text="Set").filter(has_text="+50.00%").wait_for()
    assert at_the_hub(page)[0]["value"] == 0.015
    store(HOUR + timedelta(hours=1), 0.02)
    found.filter(has_text="at 2 % a day").wait_for()


def test_wrong_entry_names_the_field(site: Site, page: Page) -> None:
    page.goto(site.view("#/alerts"))
    connected(page)
    form = enter(page, "EUR_USD", "<", "-1")
    form.get_by_text("Threshold: enter a positive number").wait_for()
    assert page.evaluate("document.activeElement.name") == "value"
    enter(page, "EURUSD", "<", "1")
    form.get_by_text("Instrument: there is no EURUSD.").wait_for()
    assert page.locator(".thresholds-table tbody tr").count() == 0


def test_unreadable_thresholds_are_left_out(site: Site, page: Page) -> None:
    stored = [{"key": "1", "instrument": "EUR_USD", "metric": "price", "op": "<", "value": "0.5"}, {"key": "2", "op": "="}, 3, None]
    page.add_init_script(f"localStorage.setItem('tickwire.thresholds', '{json.dumps(stored)}')")
    page.goto(site.view("#/alerts"))
    row(page, "Price below 0.5, once").filter(has_text="Set").wait_for()
    assert page.locator(".thresholds-table tbody tr").count() == 1
