"""axe-core finds nothing in any view, theme and state; reduced motion and forced colours hold."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute

from tests.support.pages import Chromium, Pages
from tests.support.polling import until
from tests.support.sites import Site
from tests.web.axe import violations
from tests.web.whole import VIEWS, show, visit

THEMES = ("dark", "light")


@pytest.fixture(scope="module")
def site(chromium: Chromium, whole: Site) -> Site:
    return whole


def assert_accessible(page: Page, place: str) -> None:
    """Fail if axe finds a violation in either theme.

    The list is part of every view. Its rows are checked in the view `market` alone, as axe is slow.
    Themes differ in colours alone, so that the second one needs the rules about colours alone.
    """
    exclude = () if "market" in place else ("#list",)
    found = []
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.wait_for_function("(theme) => getComputedStyle(document.documentElement).colorScheme === theme", arg=theme)
        found += [f"{place}, {theme}: {text}" for text in violations(page, exclude, only_colours=theme != THEMES[0])]
    assert found == [], "\n".join(found)


def test_views_have_no_violation_in_both_themes(page: Page, site: Site) -> None:
    visit(page, site)
    for name in VIEWS:
        show(page, name)
        assert_accessible(page, name)


def test_narrow_views_have_no_violation(pages: Pages, site: Site) -> None:
    page = pages.open(viewport={"width": 390, "height": 844})
    visit(page, site)
    for name in ("market", "instrument", "alerts"):
        show(page, name)
        assert_accessible(page, f"narrow {name}")


# states: what the test causes, with the view in which it is seen


def _answer(status: int, code: str, **details: object) -> Callable[[Route], None]:
    error = {"code": code, "message": "A test causes this.", "details": details}
    return lambda route: route.fulfill(status=status, json={"error": error}, headers={"Retry-After": "20"})


def _loading(page: Page, site: Site) -> None:
    """The answers of REST are still under way."""
    for path in ("market", "volatility/latest*", "alerts*"):
        page.route(f"{site.url}/{path}", lambda route: None)
    page.goto(site.view("#/analytics"))
    page.wait_for_selector("[data-state=loading]")


def _refusing(status: int, code: str, **details: object) -> Callable[[Page, Site], None]:
    """Each request of REST for data is answered with an error."""

    def cause(page: Page, site: Site) -> None:
        page.route(re.compile(r":\d+/(alerts|volatility)"), _answer(status, code, **details))
        page.goto(site.view("#/analytics"))
        page.wait_for_selector("[data-state=error], [data-state=forbidden], [data-state=limited]")

    return cause


def _empty(page: Page, site: Site) -> None:
    """No alert was ever raised."""
    page.route(re.compile(r":\d+/alerts"), lambda route: route.fulfill(json={"alerts": [], "count": 0, "next_page_token": None}))
    page.goto(site.view("#/alerts"))
    page.wait_for_selector("[data-state=empty]")


def _config(page: Page, site: Site, **changes: object) -> None:
    body = {**site.get("/config.json"), **changes}
    page.route(f"{site.url}/config.json", lambda route: route.fulfill(json=body))


def _signed_out(page: Page, site: Site) -> None:
    _config(page, site, auth="required")
    page.goto(site.view())
    page.wait_for_selector("html[data-link=signed-out]")


def _paused(page: Page, site: Site) -> None:
    visit(page, site)
    page.keyboard.press("f")
    page.wait_for_selector("html[data-link=paused]")


def _keys_shown(page: Page, site: Site) -> None:
    visit(page, site)
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")


def _reconnecting(page: Page, site: Site) -> None:
    """The connection to the hub ends, and no other one begins."""
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        if not sockets:
            socket.connect_to_server()
        else:
            socket.close()
        sockets.append(socket)

    page.route_web_socket(lambda url: url.startswith("ws"), connect)
    visit(page, site)
    sockets[0].close()
    page.wait_for_selector("html[data-link=reconnecting]")


def _new_version(page: Page, site: Site) -> None:
    page.clock.install()
    visit(page, site)
    _config(page, site, version="9.9.9")
    page.clock.fast_forward(61_000)
    page.get_by_text("A new version is running").wait_for()


STATES: dict[str, Callable[[Page, Site], None]] = {
    "loading": _loading,
    "empty": _empty,
    "unavailable": _refusing(503, "unavailable"),
    "forbidden": _refusing(403, "forbidden", scope="operate"),
    "limited": _refusing(429, "too_many_requests"),
    "signed out": _signed_out,
    "paused": _paused,
    "dialog": _keys_shown,
    "reconnecting": _reconnecting,
    "new version": _new_version,
}


@pytest.mark.parametrize("state", STATES)
def test_states_have_no_violation_in_both_themes(page: Page, pages: Pages, site: Site, state: str) -> None:
    pages.allow("status of (503|403|429)", "WebSocket")
    STATES[state](page, site)
    assert_accessible(page, state)


# preferences of the user

# Notes of each tinted row: the outline of its prices, and what moves.
_WATCH = """() => {
    globalThis.seen = [];
    new MutationObserver(() => {
        const cell = document.querySelector(".grid-up > .grid-price, .grid-down > .grid-price");
        if (cell) seen.push(getComputedStyle(cell).outlineStyle);
    }).observe(document.querySelector(".grid-body"), { subtree: true, attributeFilter: ["class"] });
}"""


def _move(page: Page, site: Site, condition: str) -> object:
    """Move EUR_USD up and down until the page fulfils the condition; return its value."""
    prices = itertools.cycle([("1.09538", "1.09552"), ("1.09438", "1.09452")])

    def moved() -> object:
        site.publish("EUR_USD", *next(prices))
        return page.evaluate(condition)

    return until(moved, 30, condition)


def test_reduced_motion_keeps_the_colour_and_moves_nothing(page: Page, site: Site) -> None:
    page.emulate_media(reduced_motion="reduce")
    visit(page, site)
    page.evaluate(_WATCH)
    direction = "document.querySelector('.grid-row[data-symbol=EUR_USD]').dataset.direction"
    assert _move(page, site, f"() => {direction}") in ("up", "down")
    colours = "() => [...document.querySelectorAll('.grid-row[data-symbol=EUR_USD] b')].map((each) => getComputedStyle(each).color)"
    shown = page.evaluate("() => ['up', 'down'].map((name) => { document.body.style.color = `var(--${name})`;"
                          " return getComputedStyle(document.body).color })")  # fmt: skip
    assert set(page.evaluate(colours)) <= set(shown)
    assert page.evaluate("() => [globalThis.seen.length, document.getAnimations().length]") == [0, 0]


def test_forced_colors_have_borders_in_place_of_tints(page: Page, site: Site) -> None:
    page.emulate_media(forced_colors="active")
    visit(page, site)
    page.evaluate(_WATCH)
    seen = _move(page, site, "() => globalThis.seen.length > 1 && globalThis.seen")
    assert isinstance(seen, list)
    assert set(seen) <= {"solid", "dashed"}
    assert page.evaluate("() => getComputedStyle(document.querySelector('.frame-edge')).borderStyle") == "double"
    assert violations(page) == []
