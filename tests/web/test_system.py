"""`#/system`: figures of REST and the hub, settings of the page, links and licences."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from db.bus import Bus
from db.bus.observability.snapshots import Snapshot
from db.timestamps import format_time, utc_now
from tests.support.polling import until
from tests.support.processes import ROOT
from tests.support.sites import Site
from tests.support.trading_page import exact, figures, panel, rows, state

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.pages import Pages

LINKS = ("docs", "redoc", "openapi.json", "asyncapi.json", "health", "symbols")
VENDOR = ROOT / "clients" / "web" / "vendor"
PANELS = (
    "Health", "Sources", "Writer", "Hub", "Machine and processes", "Delay of prices, bus to page", "Jobs", "Gaps",
    "Settings of this page", "Notices", "Documents and data", "About",
)  # fmt: skip
PROCESS = {"pid": 24433, "cpu_percent": 35.0, "rss_bytes": 65343488, "threads": 12}
_numbers = count(1)


def opened(page: Page, site: Site) -> Page:
    page.goto(site.view("#/system"))
    until(lambda: state(page, "Health") == "ready", what="an answer of /health")
    return page


@pytest.fixture
def view(page: Page, site: Site) -> Page:
    return opened(page, site)


@pytest.fixture
def read_view(module_page: Page, site: Site) -> Page:
    """The view for tests that change no setting."""
    return opened(module_page, site)


def publish_system(site: Site, processes: dict[str, Any]) -> None:
    """Publish a snapshot with the section `system`, as the observer does."""
    now = format_time(utc_now())
    section = {
        "timestamp": now, "cpu_percent": 61.5, "memory_percent": 15.1, "disk_usage_percent": 35.8, "active_alerts": 1,
        "processes": processes, "redis": {"used_memory_bytes": 1838384, "ops_per_sec": 134},
        "postgres": {"connections": 8, "commits_per_sec": None}, "writer_unstored": {"prices": 31, "trades": 2, "reports": 15},
    }  # fmt: skip
    with closing(Bus(site.settings.redis_url, utc_now)) as bus:
        bus.publish_snapshot(Snapshot(now, next(_numbers), "system", {}, {"system": json.dumps(section)}))


def test_panels_and_figures_are_those_of_health(read_view: Page, site: Site) -> None:
    assert read_view.locator("section.panel").evaluate_all("(all) => all.map((one) => one.getAttribute('aria-label'))") == list(PANELS)

    def agree() -> bool:
        health, shown = exact(site, "/health"), figures(read_view, "Health")
        names = ("database", "redis", "hub")
        assert all(shown[name].lstrip("●! ") == health[name] for name in names)
        assert figures(read_view, "Writer")["parked"] == str(health["writer"]["parked"])
        return figures(read_view, "Writer")["unstored"] == str(health["writer"]["unstored"])

    until(agree, what="the figures of /health")
    sources = site.get("/health")["sources"]
    assert [row["source"] for row in rows(read_view, "Sources")] == list(sources)
    if not sources:
        assert "Set SOURCES=" in (read_view.locator(f"{panel('Sources')} .panel-note").text_content() or "")


def test_jobs_and_gaps_are_those_of_rest(read_view: Page, site: Site) -> None:
    until(lambda: state(read_view, "Jobs") in ("ready", "empty"), what="an answer of /jobs")
    jobs = site.get("/jobs")["jobs"]
    assert [(row["job"], row["schedule"]) for row in rows(read_view, "Jobs")] == [(job["id"], job["schedule"]) for job in jobs]
    until(lambda: state(read_view, "Gaps") == "ready", what="an answer of /gaps")
    assert "0 price messages were not recovered" in (read_view.locator(panel("Gaps")).text_content() or "")


def test_hub_has_its_statistics(read_view: Page, site: Site) -> None:
    def agree() -> bool:
        stats = read_view.evaluate("() => globalThis.tickwire.hub.client?.getServerStats()")
        return bool(stats) and figures(read_view, "Hub").get("connected_clients") == str(stats["connected_clients"])

    until(agree, what="the statistics of the hub")
    assert figures(read_view, "Hub")["slow_clients"] == "0"
    until(lambda: figures(read_view, "Hub")["relayed"].endswith("/s"), what="the rate between two polls")


def test_processes_are_those_of_the_stream(read_view: Page, site: Site) -> None:
    processes = {"rest:5000@a1": PROCESS, "hub:5001@a1": PROCESS, "hub:5002@a1": {**PROCESS, "cpu_percent": 2.0}}

    def shown() -> bool:
        publish_system(site, processes)
        return len(rows(read_view, "Machine and processes")) == 3

    until(shown, what="three processes")
    first = rows(read_view, "Machine and processes")[0]
    assert first == {"process": "hub:5001@a1", "cpu_percent": "35", "rss_bytes": "65.3 MB", "threads": "12", "pid": "24433"}
    machine = figures(read_view, "Machine and processes")
    assert (machine["cpu_percent"], machine["redis"], machine["backlog"]) == ("61.5", "1.8 MB", "31 prices, 2 trades, 15 reports")
    assert machine["commits"] == "–"
    # Several hubs have their own figures.
    assert read_view.locator(f"{panel('Hub')} h2").text_content() == "Hub: this hub of 2"


def test_delays_of_prices_are_counted(read_view: Page, site: Site) -> None:
    def total() -> int:
        site.publish("ETHUSDT", "2650.10", "2650.20")
        cells = read_view.locator(".system-histogram tbody td.num").all_text_contents()
        return sum(int(text or 0) for text in cells)

    until(lambda: total() >= 3, what="three counted prices")
    assert read_view.locator(".system-histogram tbody th").all_text_contents()[-1] == "> 1000 ms"


def test_charts_take_the_colours_of_a_new_theme(pages: Pages, view: Page) -> None:
    pages.allow("willReadFrequently")  # Chromium notes that this test reads the canvas
    canvas = view.locator(f"{panel('Writer')} canvas")
    canvas.wait_for()

    def has(colour: str) -> bool:
        """Return whether a pixel of the chart has the colour."""
        pixels = """(canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const found = new Set();
            for (let i = 0; i < data.length; i += 4) found.add(`${data[i]} ${data[i + 1]} ${data[i + 2]} ${data[i + 3]}`);
            return [...found];
        }"""
        return colour in canvas.evaluate(pixels)

    dark, light = "42 49 59 255", "211 218 227 255"  # `--line`: #2a313b and #d3dae3
    until(lambda: has(dark) and not has(light), what="the lines of the dark theme")
    view.locator(".top-right button[aria-label='Use the light theme']").click()
    until(lambda: has(light) and not has(dark), what="the lines of the light theme")


def test_links_and_licences_are_served(read_view: Page, site: Site) -> None:
    documents = read_view.locator(f"{panel('Documents and data')} a")
    addresses = documents.evaluate_all("(links) => links.map((link) => link.getAttribute('href'))")
    assert addresses == list(LINKS)
    for address in addresses:
        assert read_view.request.get(f"{site.url}/{address}").ok
    about = read_view.locator(panel("About"))
    until(lambda: state(read_view, "About") == "ready", what="the licences")
    assert about.locator("pre").text_content() == (VENDOR / "NOTICE").read_text()
    assert "TradingView" in (about.text_content() or "")
    files = json.loads((VENDOR / "vendor.json").read_text()).values()
    table = about.locator("tbody tr")
    assert set(table.locator("th").all_text_contents()) == {file["package"] for file in files}
    for link in about.locator("tbody a").evaluate_all("(links) => links.map((link) => link.getAttribute('href'))"):
        assert read_view.request.get(f"{site.url}/{link}").ok
    assert site.get("/config.json")["version"] in (about.text_content() or "")


def test_settings_are_applied_and_kept(view: Page, site: Site) -> None:
    settings = view.locator(panel("Settings of this page"))
    settings.locator("select[name=theme]").select_option("light")
    settings.locator("select[name=palette]").select_option("green-red")
    settings.locator("select[name=density]").select_option("compact")
    settings.locator("input[name=zone]").fill("Asia/Tokyo")
    settings.locator("input[name=zone]").press("Enter")
    settings.locator("input[name=shortcuts]").uncheck()
    attributes = "() => ((root) => [root.theme, root.palette, root.density])(document.documentElement.dataset)"
    assert view.evaluate(attributes) == ["light", "green-red", "compact"]
    view.reload()
    until(lambda: state(view, "Health") == "ready", what="the view after a reload")
    assert view.evaluate(attributes) == ["light", "green-red", "compact"]
    assert settings.locator("input[name=zone]").input_value() == "Asia/Tokyo"
    assert view.locator(".top-zone").input_value() == "Asia/Tokyo"
    assert not settings.locator("input[name=shortcuts]").is_checked()
    view.keyboard.press("g")
    view.keyboard.press("m")
    assert view.evaluate("() => location.hash") == "#/system"  # no shortcut works


def test_unknown_zone_is_refused_with_an_example(view: Page) -> None:
    field = view.locator("input[name=zone]")
    field.fill("Middle/Earth")
    field.press("Enter")
    assert field.get_attribute("aria-invalid") == "true"
    view.get_by_text("There is no zone “Middle/Earth”. Example: Europe/Berlin.").wait_for()
    assert view.evaluate("() => JSON.parse(localStorage.getItem('tickwire.zone') ?? 'null')") is None
