"""A site in which every view has content, for tests that walk through all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import combinations
from pathlib import Path

from playwright.sync_api import Page

from db.bus import Bus
from db.correlations import write_correlations
from db.timestamps import utc_now
from db.volatility import VolatilityRow, write_volatility
from tests.conftest import Servers
from tests.support.polling import until
from tests.support.sites import PRICES, Site, started
from tests.web.screens import content

# name of the view in `data-view` -> address
VIEWS = {
    "market": "#/",
    "instrument": "#/i/EUR_USD",
    "book": "#/book/BTCUSDT",
    "analytics": "#/analytics",
    "alerts": "#/alerts",
    "trading": "#/trading",
    "scenarios": "#/scenarios",
    "system": "#/system",
    "unknown": "#/nowhere",
}
SNAPSHOT_SECONDS = "0.5"  # between two snapshots of an observer, which all processes and pages read
_ESTIMATORS = ("close_to_close", "parkinson", "garman_klass", "rogers_satchell", "yang_zhang", "ewma", "alert")
_SHOWN = """(name) => document.documentElement.dataset.view === name
    && Boolean(document.querySelector("#view > section")?.firstElementChild)
    && ![...document.querySelectorAll("[data-state=loading]")].some((each) => each.checkVisibility())"""


def show(page: Page, name: str) -> None:
    """Go to a view of an open page, and wait until no panel of it loads."""
    page.evaluate("(hash) => { location.hash = hash }", VIEWS[name])
    page.wait_for_function(_SHOWN, arg=name)


def visit(page: Page, site: Site, name: str = "market") -> None:
    """Load the page with a view, and wait until it is live and no panel loads."""
    page.goto(site.view(VIEWS[name]))
    page.wait_for_selector("html[data-link=live]")
    page.wait_for_function(_SHOWN, arg=name)


@contextmanager
def whole_site(servers: Servers, folder: Path) -> Iterator[Site]:
    """Start a site with an observer, and give it books, figures, alerts and bots."""
    with started(servers, folder, "observer", SOURCES="scenario", METRIC_COLLECTION_INTERVAL=SNAPSHOT_SECONDS) as site:
        now = utc_now()
        content.publish_books(site.bus, now)
        _store_figures(site)
        content.raise_alerts(site.store, now)
        with closing(Bus(str(site.settings.redis_url), lambda: now - timedelta(minutes=10))) as early:
            content.report_trades(site.bus, early, now)
        until(lambda: len(site.get("/positions")["positions"]) == len(content.BOTS), 60, "the positions of the bots")
        yield site


def _store_figures(site: Site) -> None:
    hour = utc_now().replace(minute=0, second=0, microsecond=0)
    midnight = hour.replace(hour=0)
    symbols = sorted(PRICES)
    figures = [
        VolatilityRow(symbol, name, hour, 0.0004 * (n + k + 1), 0.04 * (n + k + 1), 24)
        for n, symbol in enumerate(symbols)
        for k, name in enumerate(_ESTIMATORS)
    ]
    pairs = list(combinations(symbols, 2))
    values = [round(math.cos(number), 4) for number in range(len(pairs))]
    with site.store.transaction() as cursor:
        write_volatility(cursor, figures)
        write_correlations(cursor, midnight, "pearson", pairs, values, [120] * len(pairs))
