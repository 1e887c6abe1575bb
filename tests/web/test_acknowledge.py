"""The view of alerts: acknowledgement seen in every page, refusals, keys, filters, export."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from db.alerts import Alert, acknowledge, resolve_alerts, write_alerts
from tests.support.polling import until
from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

    from tests.support.pages import Chromium, Pages

# The observer of the site judges alerts about the system; those of this type are left to jobs.
VIEW = "#/alerts?type=volatility"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def site(chromium: Chromium, observed_site: Site) -> Site:
    return observed_site


def raised(site: Site, symbol: str, severity: str = "warning") -> Alert:
    """Store a firing alert of its own key."""
    time = datetime(2025, 11, 18, 12, tzinfo=UTC) + timedelta(seconds=next(_numbers))
    alert = Alert("volatility", symbol, None, severity, time, 0.0228, None, 0.02, f"{symbol} volatility 2.28% a day is above 2.00%")
    with site.store.transaction() as cursor:
        assert write_alerts(cursor, [alert]) == 1
    return alert


def resolve(site: Site, alert: Alert) -> None:
    with site.store.transaction() as cursor:
        assert resolve_alerts(cursor, [alert.key], datetime.now(UTC)) == [alert.alert_id]


def row_of(page: Page, alert: Alert) -> Locator:
    return page.locator(f'.alerts-row[data-id="{alert.alert_id}"]')


def shows(page: Page, alert: Alert, state: str) -> None:
    """Wait until the row of the alert has this state."""
    page.locator(f'.alerts-row[data-id="{alert.alert_id}"][data-state="{state}"]').wait_for()


def ask(page: Page, alert: Alert, name: str | None, comment: str) -> Locator:
    """Open the dialog of the alert, fill it and return it."""
    row_of(page, alert).get_by_role("button").click()
    dialog = page.locator("dialog")
    if name is not None:
        dialog.get_by_label("Name").fill(name)
    dialog.get_by_label("Comment").fill(comment)
    return dialog


def test_acknowledgement_is_seen_in_every_page(site: Site, pages: Pages) -> None:
    alert, other = raised(site, "EUR_USD", "critical"), raised(site, "GBP_USD")
    first, second = pages.open(site.view(VIEW)), pages.open(site.view(VIEW))
    for page in (first, second):
        shows(page, alert, "firing")
        assert row_of(page, alert).locator(".alerts-severity").inner_text() == "▲▲ critical"
        assert row_of(page, alert).get_attribute("title") == alert.message
    held: list[Route] = []
    first.route("**/acknowledge/**", lambda route: held.append(route))
    dialog = ask(first, alert, "ada <b>", "on it & <i>soon</i>")
    dialog.get_by_role("button", name="Acknowledge").click()
    until(lambda: first.title() and held, what="the request")
    shows(first, alert, "firing")  # not before the answer
    held.pop().continue_()
    for page in (first, second):
        shows(page, alert, "acknowledged")
        page.locator(f'.alerts-row[data-id="{alert.alert_id}"]', has_text="on it & <i>soon</i>").wait_for()
        assert row_of(page, alert).locator(".alerts-who").inner_text() == "ada <b>"
        assert row_of(page, alert).get_by_role("button").is_hidden()
        ids = page.locator(".alerts-row").evaluate_all("(rows) => rows.map((row) => row.dataset.id)")
        assert ids.index(other.alert_id) < ids.index(alert.alert_id), "firing alerts come first"
    stored = {row["alert_id"]: row for row in site.get("/alerts?type=volatility")["alerts"]}[alert.alert_id]
    assert (stored["acknowledged_by"], stored["comment"]) == ("ada <b>", "on it & <i>soon</i>")
    first.reload()
    shows(first, other, "firing")
    row_of(first, other).get_by_role("button").click()
    assert first.locator("dialog").get_by_label("Name").input_value() == "ada <b>"
    assert second.evaluate("performance.getEntriesByType('navigation').length") == 1


def test_new_alert_and_its_end_arrive_without_a_reload(site: Site, page: Page) -> None:
    page.goto(site.view(f"{VIEW}&symbol=AUD_USD"))
    page.locator('.alerts-panel[data-state="empty"]', has_text="No alert matches the filters").wait_for()
    alert = raised(site, "AUD_USD")
    shows(page, alert, "firing")
    page.locator("#announcer", has_text=re.compile(r"\d+ new alert")).wait_for(state="attached")
    resolve(site, alert)
    shows(page, alert, "resolved")


def test_unknown_alert_leaves_the_list(site: Site, pages: Pages) -> None:
    pages.allow("404")
    alert = raised(site, "USD_JPY")
    page = pages.open(site.view(VIEW))
    dialog = ask(page, alert, "ada", "")
    with site.store.transaction() as cursor:
        cursor.execute("DELETE FROM alerts WHERE alert_id = %s", (alert.alert_id,))
    dialog.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("This alert no longer exists.").wait_for()
    row_of(page, alert).wait_for(state="detached")
    dialog.wait_for(state="detached")


def test_resolved_alert_is_loaded_again(site: Site, pages: Pages) -> None:
    pages.allow("409")
    alert = raised(site, "BTCUSDT")
    page = pages.open(site.view(VIEW))
    dialog = ask(page, alert, "ada", "too late")
    resolve(site, alert)
    dialog.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("Already resolved").wait_for()
    shows(page, alert, "resolved")
    assert row_of(page, alert).locator(".alerts-who").inner_text() == ""


def test_repeated_acknowledgement_shows_the_first_name_and_comment(site: Site, pages: Pages) -> None:
    alert = raised(site, "ETHUSDT")
    page = pages.open(site.view(VIEW))
    dialog = ask(page, alert, "ada", "mine")
    with site.store.transaction() as cursor:
        acknowledge(cursor, alert.alert_id, "bob", "earlier", datetime.now(UTC))
    dialog.get_by_role("button", name="Acknowledge").click()
    shows(page, alert, "acknowledged")
    page.locator(f'.alerts-row[data-id="{alert.alert_id}"]', has_text="earlier").wait_for()
    assert row_of(page, alert).locator(".alerts-who").inner_text() == "bob"


def test_without_the_scope_the_button_is_disabled_and_rest_is_read_again(site: Site, pages: Pages) -> None:
    pages.allow("403", "40[13]")
    key = site.keys.add(("read",))
    alert = raised(site, "AAPL")
    page = pages.open()
    page.add_init_script(f"sessionStorage.setItem('tickwire.credential', '{key}')")
    page.goto(site.view(VIEW))
    button = row_of(page, alert).get_by_role("button")
    button.wait_for()
    until(button.is_disabled, what="the scopes")
    assert button.evaluate("(button) => button.ariaDescription") == "Your key lacks the scope `operate`."
    button.focus()
    page.keyboard.press("a")
    page.get_by_role("status").filter(has_text="lacks the scope").wait_for()
    assert page.locator("dialog").count() == 0
    # The namespace /metrics is refused: the list is read every 15 s, and at once when shown again.
    until(lambda: page.evaluate("tickwire.hub.state") == "live", what="the connection")
    site.post(f"/api/system/alerts/acknowledge/{alert.alert_id}", {"by": "eve"})

    def seen() -> bool:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        return row_of(page, alert).get_attribute("data-state") == "acknowledged"

    until(seen, what="the acknowledgement in the list")


def test_keys_filters_and_export(site: Site, page: Page) -> None:
    alert = raised(site, "MSFT", "critical")
    page.goto(site.view(f"{VIEW}&symbol=MSFT&state=firing"))
    shows(page, alert, "firing")
    assert page.locator(".alerts-row").count() == 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Alerts as CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 2
    assert alert.alert_id in lines[1]
    page.keyboard.press("a")
    page.locator("dialog").get_by_role("button", name="Cancel").click()
    page.keyboard.press("A")
    page.locator(".alerts-row").nth(1).wait_for()
    assert page.url.endswith("#/alerts")
    page.get_by_label("Severity").select_option("warning")
    row_of(page, alert).wait_for(state="detached")
    assert page.url.endswith("#/alerts?severity=warning")
