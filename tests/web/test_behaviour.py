"""A hidden tab, a slow browser, and the address of the hub."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.timestamps import format_time, utc_now
from db.topics import PRICES as PRICE_CHANNEL
from tests.conftest import until
from tests.support.pages import Pages
from tests.support.processes import Web
from tests.support.proxies import Proxy, make_certificate, program
from tests.support.shell import await_banner, await_link, await_mid, await_text, opened
from tests.support.sites import Site
from tests.support.slow_link import slow_link

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

SYMBOL, FAST = "AUD_USD", "ETHUSDT"
PRICES_OF_BURST = 3000
NOTE = "x" * 3000  # a field of each message: 9 MB in all, since the loopback interface itself keeps up to 4 MB
# Chromium without a window shows every page: the state is set as the browser would set it.
SET_HIDDEN = """(hidden) => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    Object.defineProperty(document, "visibilityState", {value: hidden ? "hidden" : "visible", configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
ADDRESSES = """async (cases) => {
    const {hubAddress} = await import(new URL("ui/src/config.js", document.baseURI));
    return cases.map(([url, api_port, base]) => {
        const {origin, path} = hubAddress({hub: {url, port: 5001}, api_port}, base);
        return `${origin} ${path}`;
    });
}"""


def test_hidden_tab_paints_nothing_and_shows_the_right_prices_afterwards(page: Page, pages: Pages, site: Site) -> None:
    opened(page, site.view())
    site.publish(SYMBOL, "0.65001", "0.65003")
    await_mid(page, SYMBOL, "0.65002")
    page.evaluate(SET_HIDDEN, True)
    page.evaluate("() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    until(lambda: _quiet(page, pages), what="the end of the requests that were sent before")
    painted, sent = page.evaluate("() => tickwire.paint.count"), len(pages.requests)
    for number in range(4, 9):
        site.publish(SYMBOL, f"0.6500{number}", f"0.6501{number}")
    await_mid(page, SYMBOL, "0.65013")  # the connection is kept
    page.evaluate("() => { tickwire.hub.emit('live', {again: true}); tickwire.hub.emit('instruments_changed', {}); }")  # as after a loss
    page.wait_for_timeout(6_000)  # longer than the shortest time between two polls
    assert page.evaluate("() => tickwire.paint.count") == painted
    assert pages.requests[sent:] == []
    page.evaluate(SET_HIDDEN, False)
    page.wait_for_function("(count) => tickwire.paint.count > count", arg=painted)
    page.wait_for_function("() => document.getElementById('list').textContent.includes('0.65008')")
    assert page.evaluate("() => document.documentElement.dataset.link") == "live"


def _quiet(page: Page, pages: Pages) -> bool:
    before = len(pages.requests)
    page.wait_for_timeout(500)
    return len(pages.requests) == before


def test_keys_of_the_page(page: Page, site: Site) -> None:
    opened(page, site.view())
    for key, address in (("a", "#/analytics"), ("l", "#/alerts"), ("t", "#/trading"), ("s", "#/system"), ("i", "#/i/AUD_JPY"), ("m", "#/")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_function("(address) => location.hash === address", arg=address)
    page.keyboard.press("?")
    await_text(page, "dialog[open] td", "Find an instrument")
    page.keyboard.press("f")  # keys of the page rest while a dialog is open
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.querySelector('dialog') === null")
    assert not page.evaluate("() => tickwire.paint.paused")
    page.keyboard.press("/")
    page.keyboard.type("gbpusd")
    assert page.input_value("input[type=search]") == "gbpusd"
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash === '#/i/GBP_USD'")
    assert page.input_value("input[type=search]") == ""
    page.keyboard.press("2")  # the keys of the instrument work without a click
    page.wait_for_function("() => location.hash === '#/i/GBP_USD?interval=5m'")
    page.evaluate("() => localStorage.setItem('tickwire.shortcuts', 'false')")
    page.reload()
    await_link(page, "live")
    page.keyboard.press("f")
    page.keyboard.press("?")
    page.keyboard.press("g")
    page.keyboard.press("a")
    state = page.evaluate("() => [location.hash, tickwire.paint.paused, document.querySelector('dialog')]")
    assert state == ["#/i/GBP_USD?interval=5m", False, None]


def test_slow_page(pages: Pages, site: Site) -> None:
    with slow_link(site.hub.port) as link:
        pages.allow_origin(f"http://127.0.0.1:{link.port}")
        other = opened(pages.open(), site.view())
        page = pages.open(bypass_csp=True)  # the policy names the port of the hub
        _use_port(page, site, link.port)
        opened(page, site.view()).evaluate("(symbol) => void tickwire.hub.fullRate(symbol)", FAST)
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 6})
        site.publish(FAST, "1.10000", "1.10002")
        await_mid(page, FAST, "1.10001")
        with link.held():
            last = _burst(site)
            await_mid(other, FAST, last)  # the hub has sent all prices
        await_banner(page, "This browser is too slow for")
        await_mid(page, FAST, last)
        await_text(page, "#foot", "price gaps")
        page.close()


def _burst(site: Site) -> str:
    """Publish large prices as another program does; return the last mid."""
    mids = [f"{mid / 1e5:.5f}" for mid in range(110_010, 110_010 + PRICES_OF_BURST)]
    now = format_time(utc_now())
    pipe = site.operator.pipeline(transaction=False)
    for mid in mids:
        price = {"bid": mid, "ask": mid, "mid": mid, "time": now}
        pipe.publish(PRICE_CHANNEL, json.dumps({"instrument": FAST, "price": price, "timestamp": now, "note": NOTE}))
    pipe.execute()
    return mids[-1]


def _use_port(page: Page, site: Site, port: int) -> None:
    """Let the page connect to another port of the hub."""

    def configuration(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=response.text().replace(str(site.hub.port), str(port)))

    page.route("**/config.json", configuration)


def test_polling_after_a_failed_handshake_and_no_request_before_retry_after(pages: Pages, site: Site) -> None:
    pages.allow("WebSocket", "Failed to load resource")
    page = pages.open()
    page.route_web_socket("**/socket.io/**", lambda socket: socket.close(code=1011))
    limited: list[float] = []  # times

    def refuse(route: Route) -> None:
        limited.append(time.monotonic())
        body = {"error": {"code": "too_many_requests", "message": "Too many requests.", "details": {}}}
        route.fulfill(status=429, headers={"Retry-After": "4"}, json=body)

    page.route("**/jobs*", refuse)
    opened(page, site.view("#/system"))
    assert any("transport=polling" in text for text in pages.requests)
    await_text(page, ".panel[data-state=limited]", "Next attempt in")
    sent = len([text for text in pages.requests if text.startswith(f"GET {site.url}/")])
    assert page.evaluate("() => document.querySelector('.panel[data-state=limited] .panel-note').textContent").endswith("s.")
    page.unroute("**/jobs*")
    page.wait_for_function("() => document.querySelector('.panel[data-state=limited]') === null")
    assert all(later - earlier >= 3.9 for earlier, later in pairwise(limited))
    assert len([text for text in pages.requests if text.startswith(f"GET {site.url}/")]) > sent


def test_hub_address(page: Page, site: Site) -> None:
    opened(page, site.view())
    cases: list[tuple[Any, int, str, str]] = [
        ("https://hub.example.com", 5000, "http://a.example.com:5000/", "https://hub.example.com /socket.io"),
        ("https://hub.example.com:8443/live", 5000, "https://a.example.com/", "https://hub.example.com:8443 /live/socket.io"),
        (None, 5000, "http://a.example.com:5000/", "http://a.example.com:5001 /socket.io"),
        (None, 80, "http://a.example.com/", "http://a.example.com:5001 /socket.io"),
        (None, 443, "https://a.example.com/", "https://a.example.com:5001 /socket.io"),
        (None, 5000, "http://[::1]:5000/", "http://[::1]:5001 /socket.io"),
        (None, 5000, "https://a.example.com/", "https://a.example.com /socket.io"),
        (None, 5000, "https://a.example.com/tickwire/", "https://a.example.com /tickwire/socket.io"),
        (None, 5000, "http://a.example.com:8080/tickwire/?x=1#/i/EUR_USD", "http://a.example.com:8080 /tickwire/socket.io"),
    ]
    found = page.evaluate(ADDRESSES, [case[:3] for case in cases])
    assert found == [case[3] for case in cases]


def test_hub_address_of_the_setting(pages: Pages, site: Site, tmp_path: Path) -> None:
    with Web("rest", site.settings, tmp_path / "rest.log", HUB_PUBLIC_URL=site.hub_url) as rest:  # its hub.port is another one
        pages.allow_origin(rest.url)
        opened(pages.open(), f"{rest.url}/").close()
    assert f"WS {site.hub_url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket" in pages.requests


def test_hub_address_below_a_path_with_https(pages: Pages, site: Site, tmp_path: Path) -> None:
    program("nginx")  # skips without it
    certificate = make_certificate(tmp_path / "both.pem")
    with Proxy("nginx", tmp_path / "nginx", hubs=(site.hub, site.hub), rest=site.rest.port, certificate=certificate) as proxy:
        pages.allow_origin(proxy.url)
        page = opened(pages.open(ignore_https_errors=True), f"{proxy.url}/tickwire/#/i/EUR_USD")
        page.wait_for_selector(".view-instrument .panel")
        page.close()
    below = f"{proxy.url}/tickwire/"
    assert all(text.startswith((f"GET {below}", f"WS {below.replace('http', 'ws')}")) for text in pages.requests), pages.requests
