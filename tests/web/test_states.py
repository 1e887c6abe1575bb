"""The states of the page: loading, empty, paused, refused, no hub, another version, gap."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from db.topics import PRICES as PRICE_CHANNEL
from db.topics import stream_key
from tests.conftest import until
from tests.support import exported
from tests.support.answers import get
from tests.support.pages import Chromium, Pages
from tests.support.shell import DOWN, await_banner, await_link, await_mid, await_text, bus_prices, opened
from tests.support.sites import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

MISSED = 12


@pytest.fixture(scope="module")
def site(chromium: Chromium, start_site: Callable[..., Site]) -> Site:
    """A site whose hub accepts one client, and soon notices the end of one over polling."""
    return start_site(WEBSOCKET_MAX_CLIENTS="1", WEBSOCKET_PING_INTERVAL="2", WEBSOCKET_PING_TIMEOUT="5")


@pytest.fixture(autouse=True)
def _free_place(site: Site) -> None:
    """Wait for the end of the client before: a page that is refused waits for half a minute."""

    def clients() -> float:
        _, text = get(site.hub_url, "/hub/metrics")
        return sum(exported.of(exported.parsed(text.decode()), "tickwire_hub_clients", "transport").values())

    until(lambda: clients() == 0, what="a hub without clients")


def test_rows_are_there_before_the_hub_and_skeletons_before_rest(pages: Pages, site: Site) -> None:
    page = pages.open()
    held: list[Route] = []
    page.route("**/symbols", lambda route: held.append(route))
    page.route_web_socket("**/socket.io/**", lambda socket: None)  # accepts the connection and never answers
    page.goto(site.view())
    page.wait_for_selector(".grid[data-state=loading] .grid-skeleton", state="visible")
    assert page.evaluate("() => document.documentElement.dataset.link") == "connecting"
    until(lambda: page.title() and held, what="the request for the instruments")
    for route in held:
        route.continue_()
    await_text(page, ".grid", "EUR_USD")
    assert not page.is_visible(".grid-skeleton")
    await_banner(page, f"No hub at {site.hub_url}. Set HUB_PUBLIC_URL.")  # after 10 s
    assert page.evaluate("() => tickwire.store.rows.get('EUR_USD').mid"), "the prices of REST stay"


def test_list_shows_why_it_is_empty_and_tries_again(pages: Pages, site: Site) -> None:
    pages.allow("status of 503")
    page = pages.open()
    answer = {"error": {"code": "unavailable", "message": "the database does not answer", "details": {}}}
    page.route("**/symbols", lambda route: route.fulfill(status=503, json=answer))
    page.goto(site.view())
    page.wait_for_selector(".grid[data-state=error] .grid-note", state="visible")
    await_text(page, ".grid-note", "The instruments are not loaded. The database does not answer. The page tries again.")
    assert not page.is_visible(".grid-skeleton")
    page.unroute("**/symbols")
    page.wait_for_selector(".grid[data-state=ready] .grid-row[data-symbol=EUR_USD]", state="visible")
    assert page.is_hidden(".grid-note")


def test_pause_keeps_the_connection_and_counts_the_updates(pages: Pages, site: Site) -> None:
    page = opened(pages.open(), site.view())
    page.keyboard.press("f")
    await_link(page, "paused")
    await_banner(page, "Paused at ")
    painted = page.evaluate("() => tickwire.paint.count")
    site.publish("EUR_USD", "1.30001", "1.30003")
    await_mid(page, "EUR_USD", "1.30002")
    await_banner(page, "1 update waiting")
    assert page.evaluate("() => tickwire.paint.count") == painted
    page.get_by_role("button", name="Continue", exact=True).click()
    await_link(page, "live")
    await_banner(page, "")
    page.wait_for_function("(count) => tickwire.paint.count > count", arg=painted)
    assert page.evaluate("() => tickwire.paint.waiting") == 0


def test_a_full_hub_and_a_restart_have_sentences_and_countdowns(pages: Pages, site: Site) -> None:
    pages.allow(*DOWN)
    first = opened(pages.open(), site.view())
    second = pages.open(site.view())
    await_link(second, "refused")
    await_banner(second, "The hub has reached its number of clients.")
    await_banner(second, "Next attempt in")
    assert "Prices continue" in second.inner_text("#banner")
    second.close()
    site.hub.ask_to_stop()
    try:
        await_link(first, "refused")
        await_banner(first, "The hub is restarting or not ready.")
        _change_version(first)
    finally:
        site.hub.start()
    await_link(first, "live")
    await_banner(first, "A new version is running.")
    first.get_by_role("button", name="Reload").click()
    await_link(first, "live")
    assert first.evaluate("() => tickwire.version") == "9.9.9"
    await_banner(first, "")


def _change_version(page: Page) -> None:
    """From now on, `/config.json` has another version."""

    def answer(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=json.dumps({**response.json(), "version": "9.9.9"}))

    page.route("**/config.json", answer)


def test_prices_that_are_lost_are_marked(pages: Pages, site: Site) -> None:
    pages.allow(*DOWN)
    page = opened(pages.open(), site.view())
    page.evaluate("() => void tickwire.hub.fullRate('GBP_USD')")
    site.publish("GBP_USD", "1.26990", "1.26992")
    await_mid(page, "GBP_USD", "1.26991")
    with site.hub.down():
        await_link(page, "reconnecting")
        for number in range(MISSED + 1):
            site.publish("GBP_USD", f"1.27{number:02d}0", f"1.27{number:02d}2")
        site.operator.xtrim(stream_key(PRICE_CHANNEL), maxlen=1, approximate=False)
    await_link(page, "live")
    page.wait_for_function("() => tickwire.store.rows.get('GBP_USD').gap !== null")
    assert page.evaluate("() => tickwire.store.rows.get('GBP_USD').gap.count") == MISSED
    assert page.evaluate("() => tickwire.store.rows.get('GBP_USD').mid") == bus_prices(site, ["GBP_USD"])["GBP_USD"][0]
    await_text(page, ".grid", f"gap {MISSED}")
    await_text(page, "#foot", f"{MISSED} price gaps")


def test_an_unknown_address_and_an_unknown_instrument_have_a_note(pages: Pages, site: Site) -> None:
    pages.allow("Failed to load resource")  # 404 of the instrument
    page = opened(pages.open(), site.view("#/nowhere"))
    await_text(page, ".view", "There is no such view")
    page.goto(site.view("#/i/EURUSD"))
    await_text(page, ".view [data-state=empty]", "did you mean EUR_USD")
    page.get_by_role("link", name="Open the market").click()
    page.wait_for_function("() => location.hash === '#/' && document.querySelector('.view-market') !== null")
