"""The first view of the dashboard: rows with prices, and nothing that the page should not do."""

from __future__ import annotations

import base64
import hashlib
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from playwright.sync_api import expect

from tests.support.sites import PRICES, Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.pages import Pages

INDEX = Path(__file__).parents[2] / "clients" / "web" / "index.html"
_IN_VIEW = """() => {
    const list = document.querySelector('.grid-body').getBoundingClientRect();
    return [...document.querySelectorAll('.grid-row:not([hidden])')].filter((row) => {
        const box = row.getBoundingClientRect();
        return box.height > 0 && box.top >= list.top && box.bottom <= list.bottom && box.bottom <= innerHeight;
    }).length;
}"""


def test_first_view_shows_rows_with_prices_and_complains_of_nothing(page: Page, pages: Pages, site: Site) -> None:
    instruments = site.get("/symbols")["symbols"]
    latest = {symbol: orjson.loads(body)["price"] for symbol, body in site.bus.latest_prices(PRICES).items()}
    page.goto(site.view())
    expect(page.locator('.grid-row[aria-rowindex="2"] > .grid-price').first).to_have_text(re.compile(r"^[\d.]+$|^–$"))
    assert page.evaluate(_IN_VIEW) >= 20
    expect(page.get_by_role("grid", name="Market")).to_have_attribute("aria-rowcount", str(len(instruments) + 1))
    for symbol in PRICES:
        page.get_by_label("Find an instrument").fill(symbol)
        row = page.locator(f'.grid-row[data-symbol="{symbol}"]')
        expect(row.locator(".grid-price")).to_have_text([latest[symbol]["bid"], latest[symbol]["ask"]])
    entry = site.get("/market?symbols=EUR_USD")["instruments"]["EUR_USD"]
    page.get_by_label("Find an instrument").fill("eur/usd")
    percent = (float(entry["mid"]) / float(entry["reference"]) - 1) * 100
    expect(page.locator('.grid-row[data-symbol="EUR_USD"] > .grid-change')).to_have_text(f"{percent:+.2f}%".replace("-", "\u2212"))
    # Chromium reaches this machine alone; other origins, messages and violations are complaints.
    pages.check()


def test_policy_allows_the_import_map_and_the_hub_alone(site: Site) -> None:
    with urllib.request.urlopen(urllib.request.Request(site.view(), headers={"Accept": "text/html"}), timeout=60) as answer:  # noqa: S310
        policy = answer.headers["Content-Security-Policy"]
    import_map = re.search(r'<script type="importmap">(.*?)</script>', INDEX.read_text(), re.S)
    assert import_map
    digest = base64.b64encode(hashlib.sha256(import_map[1].encode()).digest()).decode()
    hub = f"127.0.0.1:{site.hub.port}"
    assert policy == (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' http://{hub} ws://{hub}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
