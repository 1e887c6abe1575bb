"""Every view on four sizes of the screen and at 200 % zoom: parts are there, nothing overflows."""

from __future__ import annotations

import pytest

from tests.support.pages import Chromium, Pages
from tests.support.sites import Site
from tests.web.whole import VIEWS, show, visit

# the last one is 1280×900 at 200 % zoom
SIZES = [(1440, 900), (1024, 768), (390, 844), (320, 568), (640, 450)]
# What exceeds the width of the page, if anything does.
_WIDER = """() => [document.documentElement, document.body]
    .filter((element) => element.scrollWidth > element.clientWidth)
    .map((element) => `${element.tagName} ${element.scrollWidth} > ${element.clientWidth}: ` + [...document.querySelectorAll("body *")]
        .filter((each) => each.getBoundingClientRect().right > innerWidth + 0.5 && each.checkVisibility())
        .slice(0, 5).map((each) => `${each.tagName}.${each.className}`))"""
# Cells of the ladder whose text reaches into the next one.
_MERGED = """() => [...document.querySelectorAll(".ladder-table td")]
    .filter((cell) => cell.clientWidth > 0 && cell.scrollWidth > cell.clientWidth).slice(0, 5).map((cell) => cell.textContent)"""
_PARTS = """() => ({
    visible: ["#top", "#list", "#view", "#foot"].filter((part) => document.querySelector(part)?.checkVisibility()
        && document.querySelector(part).getBoundingClientRect().width > 0),
    headings: [...document.querySelectorAll("#view h1, #view h2, #view h3, #list h2")].filter((each) => each.checkVisibility()).length,
    failed: [...document.querySelectorAll("[data-state=error], [data-state=forbidden], [data-state=limited]")]
        .map((each) => each.textContent),
    tabs: [...document.querySelectorAll("nav a")].filter((each) => each.checkVisibility()).map((each) => each.textContent.trim()),
})"""


@pytest.fixture(scope="module")
def site(chromium: Chromium, whole: Site) -> Site:
    return whole


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_views_fit_the_screen_and_keep_their_parts(pages: Pages, site: Site, size: tuple[int, int]) -> None:
    width, height = size
    page = pages.open(viewport={"width": width, "height": height})
    visit(page, site)
    found: list[str] = []
    for name in VIEWS:
        show(page, name)
        parts = page.evaluate(_PARTS)
        assert parts["failed"] == [], name
        if wider := page.evaluate(_WIDER):
            found.append(f"{name}: {wider}")
        if merged := page.evaluate(_MERGED):
            found.append(f"{name}: levels touch each other: {merged}")
        assert "#top" in parts["visible"], name
        assert "#view" in parts["visible"] or name == "market", name
        if width >= 1200:
            assert {"#list", "#view", "#foot"} <= set(parts["visible"]), name
        assert parts["headings"] or name == "market", name
        assert len(parts["tabs"]) >= 5, (name, parts["tabs"])
    assert found == []
