"""The view of volatility and correlation: figures, order, notes, keys, exports, reload."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from db.correlations import write_correlations
from db.job_runs import begin_run, end_run, write_jobs
from db.timestamps import utc_now
from db.volatility import ESTIMATORS, VolatilityRow, write_volatility
from tests.support.polling import until
from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.pages import Pages

HOUR = datetime(2025, 11, 18, 12, tzinfo=UTC)
DAY = datetime(2025, 11, 18, tzinfo=UTC)
SYMBOLS = ["AAPL", "BTCUSDT", "ETHUSDT", "EUR_USD", "GBP_USD", "USD_JPY"]
# Of the pairs (i < j) in the order of SYMBOLS; None: too few common hours.
VALUES: list[float | None] = [0.31, 0.284, 0.12, 0.08, None, 0.91, 0.05, -0.113, 0.0, 0.107, -0.04, 0.199, 0.714, -0.62, -0.551]
PAIRS = [(SYMBOLS[i], SYMBOLS[j]) for i in range(6) for j in range(i + 1, 6)]
COUNTS = [120 if "AAPL" in pair else 522 for pair in PAIRS]


def matrix() -> np.ndarray:
    found = np.eye(len(SYMBOLS))
    for (first, second), value in zip(PAIRS, VALUES, strict=True):
        i, j = SYMBOLS.index(first), SYMBOLS.index(second)
        found[i, j] = found[j, i] = 0.0 if value is None else value
    return found


def store_matrix(site: Site, day: datetime, values: list[float | None], counts: list[int]) -> None:
    with site.store.transaction() as cursor:
        write_correlations(cursor, day, "pearson", PAIRS, values, counts)


def store_volatility(site: Site, hour: datetime, first: float) -> None:
    """Store estimates of two instruments; those of EUR_USD begin with `first`."""
    rows = []
    for symbol, start in (("EUR_USD", first), ("BTCUSDT", 0.004)):
        for place, name in enumerate(ESTIMATORS):
            hourly = start * (1 + place / 10)
            shown = hourly * math.sqrt(24) if name == "alert" else hourly
            rows.append(VolatilityRow(symbol, name, hour, shown, hourly * math.sqrt(6257), 24))
    with site.store.transaction() as cursor:
        write_volatility(cursor, [row for row in rows if (row.symbol, row.estimator) != ("BTCUSDT", "yang_zhang")])


def test_before_the_first_matrix_the_next_run_is_shown(site: Site, page: Page) -> None:
    now = utc_now()
    with site.store.transaction() as cursor:
        jobs = [("daily_correlation_job", "every day at 00:00", now + timedelta(hours=3)), ("hourly_job", "every hour at :00", None)]
        write_jobs(cursor, jobs, now)
    page.goto(site.view("#/analytics"))
    page.locator('.heat-panel[data-state="empty"]', has_text="Correlation is computed at 00:00 UTC: next run in 3 h").wait_for()
    page.locator('.vol-panel[data-state="empty"]', has_text="Volatility is computed at every full hour").wait_for()


@pytest.fixture(scope="module")
def computed(site: Site) -> None:
    """Runs of both jobs, with their figures."""
    store_volatility(site, HOUR, 0.0009)
    store_matrix(site, DAY - timedelta(days=1), [0.5] * len(PAIRS), COUNTS)
    store_matrix(site, DAY, VALUES, COUNTS)
    now = utc_now()
    with site.store.transaction() as cursor:
        write_jobs(cursor, [(job, "", now + timedelta(hours=2)) for job in ("daily_correlation_job", "hourly_job")], now)
        for job, time in (("daily_correlation_job", DAY), ("hourly_job", HOUR)):
            end_run(cursor, begin_run(cursor, job, time, now), now, rows=1)


def shown_symbols(page: Page) -> list[str]:
    return page.locator(".heat-table tbody th").all_inner_texts()


@pytest.mark.usefixtures("computed")
def test_correlations_are_ordered_by_clusters_or_by_the_strongest_pair(site: Site, page: Page) -> None:
    from scipy.cluster.hierarchy import leaves_list, linkage  # type: ignore[import-untyped]
    from scipy.spatial.distance import squareform  # type: ignore[import-untyped]

    page.goto(site.view("#/analytics"))
    page.locator(".heat-cell").first.wait_for()
    distances = squareform(np.sqrt(2 * (1 - matrix())) * (1 - np.eye(len(SYMBOLS))), checks=False)
    assert shown_symbols(page) == [SYMBOLS[place] for place in leaves_list(linkage(distances, "average"))]
    page.get_by_label("Order").select_option("strongest")
    until(lambda: shown_symbols(page)[:4] == ["BTCUSDT", "ETHUSDT", "EUR_USD", "GBP_USD"], what="the strongest pairs")
    assert page.url.endswith("order=strongest")
    cell = page.locator('[data-key="EUR_USD|USD_JPY"]')
    assert cell.inner_text() == "−0.62"
    assert cell.get_attribute("data-sign") == "negative"
    assert page.locator('[data-key="ETHUSDT|GBP_USD"]').get_attribute("class") == "heat-cell heat-faded"
    assert page.locator('[data-key="AAPL|USD_JPY"]').inner_text() == "–"
    assert page.locator('[data-key="AAPL|AAPL"]').inner_text() == ""
    about = page.locator(".heat-panel .analytics-about").inner_text()
    assert about.startswith("As of 2025-11-18 00:00:00 · computed at ")
    assert about.endswith("next run in 2 h")


@pytest.mark.usefixtures("computed")
def test_chosen_cell_shows_observations_and_history(site: Site, page: Page) -> None:
    page.goto(site.view("#/analytics"))
    page.locator('[data-key="EUR_USD|GBP_USD"]').hover()
    detail = page.locator(".heat-detail")
    detail.filter(has_text="2 days, 2025-11-17 to 2025-11-18: lowest +0.50, highest +0.71").wait_for()
    assert "EUR_USD · GBP_USD +0.71, 522 observations" in detail.inner_text()
    assert detail.locator(".heat-path").get_attribute("d") == "M2.0 13.0L238.0 8.3"


@pytest.mark.usefixtures("computed")
def test_one_cell_is_reached_by_tab_and_arrows_move_from_it(site: Site, page: Page) -> None:
    page.goto(site.view("#/analytics?order=strongest"))
    table = page.locator(".heat-table")
    table.locator(".heat-cell").first.wait_for()
    assert table.locator('tbody [tabindex="0"]').count() == 1
    table.locator('tbody [tabindex="0"]').focus()
    focused = "document.activeElement.dataset.key"
    order = shown_symbols(page)
    for key, place in (
        ("ArrowRight", (0, 1)),
        ("ArrowDown", (1, 1)),
        ("End", (1, 5)),
        ("Control+End", (5, 5)),
        ("Home", (5, 0)),
        ("ArrowUp", (4, 0)),
    ):
        page.keyboard.press(key)
        assert page.evaluate(focused) == f"{order[place[0]]}|{order[place[1]]}", key
    assert table.locator('tbody [tabindex="0"]').count() == 1
    page.locator(".heat-detail", has_text=f"{order[4]} · {order[0]}").wait_for()


@pytest.mark.usefixtures("computed")
def test_volatilities_have_units_thresholds_and_an_order(site: Site, page: Page) -> None:
    page.goto(site.view("#/analytics"))
    cell = page.locator('[data-key="EUR_USD|close_to_close"]')
    cell.wait_for()
    assert cell.inner_text().strip() == f"{0.0009 * math.sqrt(6257):.2%}".replace("%", " %")
    alert = page.locator('[data-key="EUR_USD|alert"]')
    assert alert.inner_text().strip() == f"▲▲ {0.0009 * 1.6 * math.sqrt(24):.2%}".replace("%", " %")
    assert alert.get_attribute("data-severity") == "critical"
    assert "warning above 0.40 %" in (alert.get_attribute("title") or "")
    assert page.locator('[data-key="BTCUSDT|alert"]').get_attribute("data-severity") == "warning"
    assert page.locator('[data-key="BTCUSDT|yang_zhang"]').inner_text() == "–"
    assert page.locator(".vol-table thead").get_by_role("button", name="Sum of squares (alerts)").count() == 1
    page.locator(".vol-table").get_by_role("button", name="EWMA").click()
    names = page.locator(".vol-table tbody th")
    until(lambda: names.all_inner_texts() == ["BTCUSDT", "EUR_USD"], what="the order by EWMA")
    assert page.locator('[aria-sort="descending"]').inner_text().startswith("EWMA")
    assert page.evaluate("document.activeElement.textContent") == "EWMA"
    page.locator(".vol-table").get_by_role("button", name="EWMA").click()
    until(lambda: names.all_inner_texts() == ["EUR_USD", "BTCUSDT"], what="the other order")
    page.get_by_label("Scale").select_option("hour")
    until(lambda: cell.inner_text().strip() == "0.090 %", what="the scale")


@pytest.mark.usefixtures("computed")
def test_exports_are_those_of_rest(site: Site, page: Page) -> None:
    page.goto(site.view("#/analytics"))
    page.locator(".heat-cell").first.wait_for()
    with page.expect_download() as correlations:
        page.get_by_role("button", name="Download correlations as CSV").click()
    lines = correlations.value.path().read_text().splitlines()
    assert lines[0] == "," + ",".join(SYMBOLS)
    assert lines[4].split(",")[5] == "0.714"
    with page.expect_download() as volatilities:
        page.get_by_role("button", name="Download volatilities as CSV").click()
    rows = volatilities.value.path().read_text().splitlines()
    assert len(rows) == 1 + 2 * len(ESTIMATORS) - 1
    assert correlations.value.suggested_filename == "correlation_pearson.csv"


@pytest.mark.usefixtures("computed")
def test_new_figures_are_loaded_on_data_ready(site: Site, page: Page) -> None:
    page.goto(site.view("#/analytics"))
    page.locator(".heat-cell").first.wait_for()
    assert "Few observations" not in page.locator(".heat-panel").inner_text()
    until(lambda: page.evaluate("tickwire.hub.state") == "live", what="the connection")
    store_volatility(site, HOUR + timedelta(hours=1), 0.0011)
    site.bus.publish_data_ready("volatility", ["EUR_USD"], HOUR + timedelta(hours=1))
    text = f"{0.0011 * math.sqrt(6257):.2%}".replace("%", " %")
    page.locator('[data-key="EUR_USD|close_to_close"]', has_text=text).wait_for()
    store_matrix(site, DAY + timedelta(days=1), [0.25] * len(PAIRS), [87] * len(PAIRS))
    site.bus.publish_data_ready("correlation", SYMBOLS, DAY + timedelta(days=1))
    page.locator(".heat-panel", has_text="Few observations: 87").wait_for()
    assert page.locator('[data-key="EUR_USD|GBP_USD"]').inner_text() == "+0.25"


@pytest.mark.usefixtures("computed")
def test_list_of_the_address_limits_both_tables(site: Site, page: Page) -> None:
    page.add_init_script("""localStorage.setItem('tickwire.lists', '{"Majors": ["GBP_USD", "EUR_USD"]}')""")
    page.goto(site.view("#/analytics?list=majors"))
    until(lambda: sorted(shown_symbols(page)) == ["EUR_USD", "GBP_USD"], what="the list")
    assert page.locator(".vol-table tbody th").all_inner_texts() == ["EUR_USD"]
    page.locator("select[name=list]").select_option("crypto")
    until(lambda: sorted(shown_symbols(page)) == ["BTCUSDT", "ETHUSDT"], what="the kind")


@pytest.mark.usefixtures("computed")
def test_hidden_tab_loads_new_figures_when_it_is_shown(site: Site, pages: Pages) -> None:
    page = pages.open(site.view("#/analytics"))
    page.locator(".heat-cell").first.wait_for()
    until(lambda: page.evaluate("tickwire.hub.state") == "live", what="the connection")
    page.evaluate("globalThis.heard = 0; tickwire.hub.on('data_ready', () => { heard += 1; }); null")
    show = "(hidden) => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
    show += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(show, True)
    store_volatility(site, HOUR + timedelta(hours=2), 0.0013)
    before = [text for text in pages.requests if "/volatility" in text]
    site.bus.publish_data_ready("volatility", ["EUR_USD"], HOUR + timedelta(hours=2))
    until(lambda: page.evaluate("heard"), what="the event")
    assert [text for text in pages.requests if "/volatility" in text] == before
    page.evaluate(show, False)
    text = f"{0.0013 * math.sqrt(6257):.2%}".replace("%", " %")
    page.locator('[data-key="EUR_USD|close_to_close"]', has_text=text).wait_for()
