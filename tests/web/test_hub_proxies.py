"""The page finds its hub at an IPv6 address, below a path, and behind TLS of the real proxies."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.pages import Pages
from tests.support.proxies import FILES, Proxy, make_certificate, program
from tests.support.sites import Site
from tests.web.conftest import StartSite


@pytest.fixture(scope="module")
def site(start_site: StartSite) -> Site:
    """A site on all addresses, IPv6 included."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    return start_site(API_HOST="::", WEBSOCKET_HOST="::", AUTH="off", AUTH_ALLOW_OPEN="true")


def assert_live(pages: Pages, url: str, hub: str) -> None:
    """Open the page and close it: it receives prices, and its policy forbids nothing."""
    pages.allow_origin(url, hub)
    page = pages.open(url, ignore_https_errors=True)
    expect(page.locator("html")).to_have_attribute("data-link", "live")
    expect(page.get_by_role("row").filter(has_text="EUR_USD").first).to_contain_text("43")
    sockets = [request for request in pages.requests if request.startswith("WS ")]
    assert sockets[-1].startswith(f"WS {hub}?"), sockets
    pages.check()
    pages.close()


def test_page_at_an_ipv6_address_finds_the_hub(pages: Pages, site: Site) -> None:
    assert_live(pages, f"http://[::1]:{site.rest.port}/", f"ws://[::1]:{site.hub.port}/socket.io/")


@pytest.mark.parametrize("name", FILES)
def test_page_below_a_path_of_a_proxy_finds_the_hub(pages: Pages, site: Site, name: str, tmp_path: Path) -> None:
    program(name)  # skips before anything is started
    certificate = make_certificate(tmp_path / "both.pem")
    with Proxy(name, tmp_path / name, hubs=(site.hub, site.hub), rest=site.rest.port) as proxy:
        assert_live(pages, f"{proxy.url}/tickwire", f"ws://127.0.0.1:{proxy.port}/tickwire/socket.io/")
    with Proxy(name, tmp_path / "tls", hubs=(site.hub, site.hub), rest=site.rest.port, certificate=certificate) as proxy:
        assert_live(pages, f"{proxy.url}/tickwire/", f"wss://127.0.0.1:{proxy.port}/tickwire/socket.io/")
