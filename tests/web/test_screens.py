"""Every view on four sizes of the screen and at 200 % zoom: parts are there, nothing overflows."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.support.pages import Chromium, Pages
from tests.support.polling import until
from tests.support.sites import Site
from tests.web.whole import VIEWS

# the last one is 1280×900 at 200 % zoom
SIZES = [(1440, 900), (1024, 768), (390, 844), (320, 568), (640, 450)]
# What exceeds the width of the page, if anything does.
_WIDER = """() => [document.documentElement, document.body]
    .filter((element) => element.scrollWidth > element.clientWidth)
    .map((element) => `${element.tagName} ${element.scrollWidth} > ${element.clientWidth}: ` + [...document.querySelectorAll("body *")]
        .filter((each) => each.getBoundingClientRect().right > innerWidth + 0.5 && each.checkVisibility())
        .slice(0, 5).map((each) => `${each.tagName}.${each.className}`))"""
_PARTS = """() => ({
    visible: ["#top", "#list", "#view", "#foot"].filter((part) => document.querySelector(part)?.checkVisibility()
        && document.querySelector(part).getBoundingClientRect().width > 0),
    headings: [...document.querySelectorAll("#view h1, #view h2, #view h3, #list h2")].filter((each) => each.checkVisibility()).length,
    loading: document.querySelectorAll("[data-state=loading]").length,
    failed: [...document.querySelectorAll("[data-state=error], [data-state=forbidden], [data-state=limited]")]
        .map((each) => each.textContent),
    tabs: [...document.querySelectorAll("nav a")].filter((each) => each.checkVisibility()).map((each) => each.textContent.trim()),
})"""


@pytest.fixture(scope="module")
def site(chromium: Chromium, whole: Site) -> Site:
    return whole


def shown(page: Page, site: Site, address: str) -> dict[str, list[str]]:
    """Go to the view and return its parts as soon as no panel loads."""
    page.evaluate("(hash) => { location.hash = hash }", address)
    until(lambda: not page.evaluate(_PARTS)["loading"], 30, lambda: f"{address}: {page.evaluate(_PARTS)}")
    return dict(page.evaluate(_PARTS))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_views_fit_the_screen_and_keep_their_parts(pages: Pages, site: Site, size: tuple[int, int]) -> None:
    width, height = size
    page = pages.open(site.view(), viewport={"width": width, "height": height})
    page.wait_for_selector("html[data-link=live]")
    for name, address in VIEWS.items():
        parts = shown(page, site, address)
        assert parts["failed"] == [], name
        assert page.evaluate(_WIDER) == [], name
        assert "#top" in parts["visible"], name
        assert "#view" in parts["visible"] or name == "market", name
        if width >= 1200:
            assert {"#list", "#view", "#foot"} <= set(parts["visible"]), name
        assert parts["headings"] or name == "market", name
        assert len(parts["tabs"]) >= 5, (name, parts["tabs"])
