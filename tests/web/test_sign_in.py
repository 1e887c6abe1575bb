"""Access control in the page: the sign-in, its refusals, and the places of the credential."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.conftest import until
from tests.support.access import REQUIRED, UNKNOWN_KEY, jwt_of
from tests.support.pages import Chromium, Pages
from tests.support.shell import DOWN, await_link, await_text
from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

NEEDED = "This Tickwire needs an API key or token."
REFUSED = "The key or token was refused."
# Everything in the page that could contain a text, except sessionStorage.
PLACES = """() => JSON.stringify([location.href, document.title, document.documentElement.outerHTML, {...localStorage}, document.cookie,
    [...document.querySelectorAll("input")].map((each) => each.value),
    performance.getEntriesByType("resource").map((each) => each.name)])"""


@pytest.fixture(scope="module")
def site(chromium: Chromium, start_site: Callable[..., Site]) -> Site:
    return start_site(**REQUIRED)


def sign_in(page: Page, credential: str) -> None:
    page.fill("#credential", credential)
    page.press("#credential", "Enter")


def new_key(site: Site, scopes: tuple[str, ...], instruments: tuple[str, ...] = ("*",)) -> str:
    """Return a key that hub and REST accept."""
    key = site.keys.add(scopes, instruments)
    path = "symbols" if "read" in scopes else "jobs"
    for url in (f"{site.url}/{path}", f"{site.hub_url}/hub/health"):
        until(partial(_accepts, url, key), what="the new key")
    return key


def _accepts(url: str, key: str) -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def stored(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate("() => ({...sessionStorage})")
    return found


def test_sign_in_refusals_scopes_and_revocation(pages: Pages, site: Site) -> None:
    pages.allow(*DOWN)  # 401 and 403, and a connection that is closed with them
    key = new_key(site, ("read",), ("EUR_USD", "BTCUSDT"))
    page = pages.open(site.view("#/system"))
    await_text(page, "#signin", NEEDED)
    await_link(page, "signed-out")
    assert page.evaluate("() => tickwire.store.symbols.length") == 0
    assert all("/config.json" in text or "/ui/" in text or text == f"GET {site.url}/" for text in pages.requests), "no other data"

    sign_in(page, UNKNOWN_KEY)
    await_text(page, "#signin", REFUSED)
    assert stored(page) == {}

    sign_in(page, key)
    await_link(page, "live")
    page.wait_for_function("() => tickwire.store.symbols.length === 2")
    assert page.is_hidden("#signin")
    for panel in ("Jobs", "Hub"):  # refused by REST, and by the hub
        await_text(page, f".panel[aria-label={panel}][data-state=forbidden]", "Your key lacks the scope `observe`")
    assert page.evaluate("() => tickwire.hub.state") == "live", "the session stays"
    page.goto(site.view("#/i/GBP_USD"))
    await_text(page, ".view [data-state=forbidden]", "Your key has no right to GBP_USD")
    page.goto(site.view("#/i/EUR_USD"))
    page.wait_for_selector(".view-instrument .panel")

    assert stored(page) == {"tickwire.credential": key}
    secret = key.split("_", 2)[2]  # it may contain the sign itself
    for place, text in {
        "the page": page.evaluate(PLACES),
        "requests": "\n".join(pages.requests),
        "the consoles": "\n".join(pages.complaints),
        "the log of REST": site.rest.output(),
        "the log of the hub": site.hub.output(),
    }.items():
        assert secret not in text, place

    page.keyboard.press("?")
    await_text(page, "dialog[open]", "Keys")
    site.keys.revoke(key)
    await_text(page, "#signin", "the key or token was revoked")
    page.wait_for_function("() => document.querySelector('dialog') === null")
    await_link(page, "signed-out")
    assert page.evaluate("() => tickwire.store.symbols.length") == 2, "the data stay, dimmed"
    assert page.get_attribute("#signin", "data-over") == "data"
    assert stored(page) == {}


def test_sign_out_clears_the_page(pages: Pages, site: Site) -> None:
    page = pages.open(site.view())
    sign_in(page, new_key(site, ("read", "observe")))
    await_link(page, "live")
    page.wait_for_function("() => tickwire.store.symbols.length > 2")
    page.get_by_role("button", name="Sign out").click()
    await_text(page, "#signin", NEEDED)
    assert stored(page) == {}
    assert page.evaluate("() => tickwire.store.symbols.length") == 0
    assert "EUR_USD" not in page.inner_text("#work")
    before = len(pages.requests)
    sign_in(page, new_key(site, ("read",), ("EUR_USD",)))
    await_link(page, "live")
    page.wait_for_function("() => tickwire.store.symbols.length === 1")
    assert len(pages.requests) > before


def test_a_key_without_read_sees_the_state_of_the_system(pages: Pages, site: Site) -> None:
    pages.allow(*DOWN)  # 403
    page = pages.open(site.view("#/system"))
    sign_in(page, new_key(site, ("observe",)))
    await_link(page, "live")
    page.wait_for_selector(".panel[data-state=ready]")
    assert page.is_hidden("#signin")


def test_a_token_expires_and_is_replaced(pages: Pages, site: Site) -> None:
    page = pages.open(site.view())
    sign_in(page, jwt_of(life=66))
    await_link(page, "live")
    page.wait_for_function("() => document.querySelector('#banner [data-key=expiring]') !== null")
    page.get_by_role("button", name="Enter a new token").click()
    sign_in(page, jwt_of(life=3600, jti="another"))
    page.wait_for_function("() => document.querySelector('#banner [data-key=expiring]') === null")
    await_link(page, "live")
    assert page.is_hidden("#signin")
