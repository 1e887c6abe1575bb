"""The whole page without a mouse: every control by Tab, every key of the page, shortcuts off."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.support.pages import Chromium
from tests.support.sites import Site
from tests.web.whole import VIEWS, show, visit

# A text for a control that survives a new rendering of it.
_NAME = """(element) => [element.tagName.toLowerCase(), element.type ?? "", element.getAttribute("href") ?? "",
    element.getAttribute("aria-label") ?? element.name ?? "", element.className, element.id].join("|")"""
_CONTROLS = f"""() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
    .filter((each) => each.tabIndex >= 0 && !each.disabled && each.checkVisibility({{ visibilityProperty: true }})
        && !each.closest("[inert]"))
    .map({_NAME})"""
# Notes the name of each control that receives the focus.
_WATCH = f"""() => {{
    globalThis.reached = new Set();
    document.addEventListener("focusin", ({{ target }}) => reached.add(({_NAME})(target)));
}}"""
_MISSED = f"() => ({_CONTROLS})().filter((name) => !reached.has(name))"
_STEPS = 10  # presses of Tab between two looks at the page
# letter after `g` -> view
_GO = {
    "m": "market", "i": "instrument", "b": "book", "a": "analytics", "l": "alerts", "t": "trading", "c": "scenarios", "s": "system",
}  # fmt: skip


@pytest.fixture(scope="module")
def site(chromium: Chromium, whole: Site) -> Site:
    return whole


def view(page: Page) -> str:
    """The name of the open view."""
    return str(page.evaluate("() => document.documentElement.dataset.view"))


def test_tab_reaches_every_control_of_every_view(page: Page, site: Site) -> None:
    visit(page, site)
    page.evaluate(_WATCH)
    for name in VIEWS:
        show(page, name)
        page.evaluate("() => reached.clear()")
        for _ in range(2 * len(page.evaluate(_CONTROLS)) // _STEPS + 2):
            for _ in range(_STEPS):
                page.keyboard.press("Tab")
            if not page.evaluate(_MISSED):
                break
        assert page.evaluate(_MISSED) == [], name


def test_first_tab_reaches_the_link_to_the_market(page: Page, site: Site) -> None:
    visit(page, site, "alerts")
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#list")).to_be_focused()


def go(page: Page, letter: str) -> None:
    page.keyboard.press("g")
    page.keyboard.press(letter)


def test_keys_open_every_view(page: Page, site: Site) -> None:
    visit(page, site, "alerts")
    for letter, name in _GO.items():
        go(page, letter)
        expect(page.locator("html")).to_have_attribute("data-view", name)


def test_keys_find_pause_and_list_the_keys(page: Page, site: Site) -> None:
    visit(page, site)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("gm?f")  # keys are letters in a field
    expect(page.get_by_role("searchbox")).to_have_value("gm?f")
    assert page.evaluate("() => globalThis.tickwire.paint.paused") is False
    page.keyboard.press("Escape")
    expect(page.get_by_role("searchbox")).not_to_be_focused()
    page.keyboard.press("?")
    keys = page.locator("dialog[open] kbd")
    expect(keys.first).to_be_visible()
    assert {"/", "?", "f", *(f"g {letter}" for letter in _GO)} <= set(keys.all_inner_texts())
    page.keyboard.press("f")  # a dialog keeps the keys
    assert page.evaluate("() => globalThis.tickwire.paint.paused") is False
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    for state in ("paused", "live"):
        page.keyboard.press("f")
        expect(page.locator("html")).to_have_attribute("data-link", state)
    for modifier in ("Control", "Alt", "Meta"):
        page.locator("#view").press(f"{modifier}+f")
        assert page.evaluate("() => globalThis.tickwire.paint.paused") is False, modifier


def test_no_key_works_after_shortcuts_are_switched_off(page: Page, site: Site) -> None:
    visit(page, site, "system")
    box = page.locator("input[name=shortcuts]")
    box.focus()
    page.keyboard.press("Space")
    expect(box).not_to_be_checked()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-link", "live")
    expect(page.locator("input[name=shortcuts]")).not_to_be_checked()
    for key in ("/", "?", "f", "a", "d", "1"):
        page.keyboard.press(key)
    go(page, "m")
    assert view(page) == "system"
    assert page.evaluate("() => [globalThis.tickwire.paint.paused, document.querySelectorAll('dialog[open]').length]") == [False, 0]
    expect(page.get_by_role("searchbox")).not_to_be_focused()
    page.locator("input[name=shortcuts]").check()
    go(page, "m")
    expect(page.locator("html")).to_have_attribute("data-view", "market")
