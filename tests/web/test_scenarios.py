"""`#/scenarios` beside a real process `books`, and the frame of data that are not live."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pages import Chromium, Pages
from tests.support.polling import until
from tests.support.processes import Web
from tests.support.sites import Site
from tests.support.trading_page import figures, panel, state
from tests.web.conftest import StartSite

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

VIEWS = ("#/", "#/i/BTCUSDT", "#/book/BTCUSDT?depth=20", "#/analytics", "#/alerts", "#/trading", "#/scenarios", "#/system")
BAR = "REPLAY / SCENARIO – not live"
LIST = panel("Scenarios")


@pytest.fixture(scope="module")
def site(start_site: StartSite) -> Site:
    """The scenario `stable-mode` plays, and is in the answers of REST."""
    site = start_site("books", SOURCES="scenario")
    until(lambda: "scenario" in site.get("/health")["sources"], 60, "the source in /health")
    return site


def opened(page: Page, site: Site) -> Page:
    page.goto(site.view("#/scenarios"))
    page.locator(f"{LIST} tbody tr").nth(3).wait_for()
    until(lambda: figures(page, "Now").get("current_scenario"), what="the current scenario")
    return page


def now(page: Page, name: str) -> str:
    """Return a figure of the panel "Now"; empty while a busy machine sends no heartbeat."""
    return figures(page, "Now")[name].replace("–", "")


def running(page: Page) -> list[str]:
    """Return the names that the list marks as running."""
    found: list[str] = page.locator(f"{LIST} tbody tr").evaluate_all(
        "(rows) => rows.filter((row) => row.textContent.includes('running')).map((row) => row.dataset.scenario)"
    )
    return found


def refusing(status: int, code: str) -> Callable[[Route], None]:
    """Return a handler of a route that answers with this refusal."""
    body = json.dumps({"error": {"code": code, "message": "There is no such scenario.", "details": {}}})
    return lambda route: route.fulfill(status=status, body=body)


def switch(page: Page, name: str) -> None:
    page.locator(f'{LIST} button[data-scenario="{name}"]').click()
    dialog = page.locator("dialog[open]")
    assert dialog.locator("h2").text_content() == f"Switch to {name}? All clients receive it."
    dialog.get_by_role("button", name="Switch", exact=True).click()


def test_list_and_figures_are_those_of_rest(page: Page, site: Site) -> None:
    opened(page, site)
    body = site.get("/scenarios")
    rows = page.locator(f"{LIST} tbody tr")
    assert rows.evaluate_all("(rows) => rows.map((row) => row.dataset.scenario)") == body["available_scenarios"]
    assert [text.split() for text in rows.locator("td:nth-child(5)").all_text_contents()] == [
        [body["scenario_files"][name]] for name in body["available_scenarios"]
    ]
    description = site.get("/scenarios/burst-mode")["description"]
    assert page.locator('tr[data-scenario="burst-mode"] .scenarios-description').text_content() == description
    until(lambda: running(page) == ["stable-mode"], what="the mark of the running scenario")
    # A machine that is too busy sends no heartbeat, and REST has no run then.
    run: Any = until(lambda: site.get("/status")["scenario_run"], what="a heartbeat of the run")
    started = run["started"][:19].replace("T", " ")
    today = (started, started[11:])  # without the date if the run has begun today
    until(lambda: figures(page, "Now")["started"] in today, what="the start of the run")
    until(lambda: figures(page, "Now")["queue"].endswith(f"of {site.get('/status')['queue_max']}"), what="the queue of the run")
    counted: Any = until(lambda: now(page, "total_messages_processed"), what="a heartbeat in the page")
    until(lambda: int(now(page, "total_messages_processed") or 0) > int(counted), what="a later heartbeat")


def test_switch_of_one_page_appears_in_another(pages: Pages, site: Site) -> None:
    mine, other = (opened(pages.open(), site) for _ in range(2))
    switch(mine, "burst-mode")
    until(lambda: mine.locator("dialog").count() == 0, what="the end of the dialog")
    until(lambda: running(mine) == running(other) == ["burst-mode"], what="the new scenario in both lists")
    names = [page.locator(".frame-name") for page in (mine, other)]
    until(lambda: [name.text_content() for name in names] == ["burst-mode"] * 2, what="its name in both frames")
    assert site.get("/scenarios")["current_scenario"] == "burst-mode"
    # Restart the same one: the other page has a new start.
    started: Any = until(lambda: now(other, "started"), what="the start in the other page")
    mine.locator(f'{LIST} button[data-scenario="burst-mode"]').click()
    mine.locator("dialog[open]").get_by_role("button", name="Switch", exact=True).click()
    until(lambda: now(other, "started") > started, what="the new start in the other page")


def test_charts_have_values_a_summary_and_the_mark_of_the_run(page: Page, site: Site) -> None:
    opened(page, site)
    charts = page.locator("figure.series")
    assert charts.count() == 4
    for label in ("Queue size, messages", "Processing delay, ms", "Memory, MB", "Heartbeat age, s"):
        cells = page.locator(f'figure[aria-label="{label}"] tbody td')
        cells.filter(has_not_text="–").nth(3).wait_for()  # current, smallest, mean, largest
        assert cells.count() == 4
    assert page.locator(".series .u-wrap canvas").count() == 4


def test_error_of_a_switch_stays_in_the_dialog(pages: Pages, page: Page, site: Site) -> None:
    opened(page, site)
    pages.allow("404", "503")
    for status, code, text in (
        (404, "unknown_scenario", "This scenario no longer exists. There is no such scenario."),
        (503, "unavailable", "The switch is not confirmed. There is no such scenario."),
    ):
        page.route("**/scenarios/gradual-spike", refusing(status, code))
        switch(page, "gradual-spike")
        error = page.locator("dialog[open] .dialog-error")
        error.wait_for()
        assert (error.text_content() or "").startswith(text)
        page.keyboard.press("Escape")
        page.unroute("**/scenarios/gradual-spike")
    assert site.get("/scenarios")["current_scenario"] != "gradual-spike"


def test_switch_needs_the_scope_operate(pages: Pages, site: Site) -> None:
    page = pages.open(site.url)
    key = site.keys.add(("read", "observe"))
    page.evaluate("(key) => sessionStorage.setItem('tickwire.credential', key)", key)
    page.goto(site.view("#/scenarios"))
    page.reload()
    button = page.locator(f'{LIST} button[data-scenario="burst-mode"]')
    button.wait_for()
    until(button.is_disabled, what="the disabled button")
    reason = page.locator(f"#{button.get_attribute('aria-describedby')}")
    assert reason.text_content() == "Your key lacks the scope `operate`, which the switch needs."


def test_frame_is_in_every_view_of_a_scenario(page: Page, site: Site) -> None:
    page.goto(site.view("#/"))
    for view in VIEWS:
        page.evaluate("(hash) => { location.hash = hash; }", view)
        until(lambda: page.title().startswith("[not live] "), what=f"the title of {view}")
        assert BAR in (page.locator(".frame-bar").text_content() or "")
        edge = page.locator(".frame-edge")
        assert edge.is_visible()
        style = edge.evaluate("(edge) => [getComputedStyle(edge).borderTopWidth, getComputedStyle(edge).borderImageSource]")
        assert style[0] == "4px"
        assert "gradient" in style[1]  # hatched: not by colour alone
        assert page.locator("#frame button").count() == 0


@pytest.fixture(scope="module")
def replay(shared_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a REST process whose source is a replay, beside the shared hub."""
    folder = tmp_path_factory.mktemp("replay")
    recording = folder / "prices.csv"
    recording.write_text("time,bid,ask,instrument\n2025-11-18T12:00:00Z,1.09438,1.09452,EUR_USD\n")
    rest = Web(
        "rest", shared_site.settings, Path(folder / "rest.log"), WEBSOCKET_PORT=str(shared_site.hub.port), SOURCES=f"replay:{recording}"
    )
    with rest.popen_only():
        rest.await_ready()
        yield rest.url


def test_frame_is_in_every_view_of_a_replay(chromium: Chromium, shared_site: Site, replay: str) -> None:
    with chromium.opened() as pages:
        pages.allow_origin(replay, shared_site.hub_url)
        page = pages.open(f"{replay}/#/")
        for view in (view for view in VIEWS if view not in ("#/scenarios", "#/book/BTCUSDT?depth=20")):
            page.evaluate("(hash) => { location.hash = hash; }", view)
            until(lambda: page.title().startswith("[not live] "), what=f"the title of {view}")
            assert BAR in (page.locator(".frame-bar").text_content() or "")
        assert page.locator(".frame-name").text_content() == "replay"
        assert page.locator('.top-views a[href="#/scenarios"]').count() == 0  # the feature is off


def test_live_data_have_no_frame_in_any_view(chromium: Chromium, shared_site: Site) -> None:
    with chromium.opened() as pages:
        pages.allow_origin(shared_site.url, shared_site.hub_url)
        page = pages.open(shared_site.view("#/system"))
        until(lambda: state(page, "Health") == "ready", what="an answer of /health")
        for view in VIEWS:
            page.evaluate("(hash) => { location.hash = hash; }", view)
            page.wait_for_url(f"**/{view}")
            assert not page.locator(".frame-edge").is_visible()
            assert not page.title().startswith("[")
        page.evaluate("() => { location.hash = '#/scenarios'; }")
        page.get_by_text("Scenarios are not enabled. Start Tickwire with SOURCES=scenario.").wait_for()


def test_missing_heartbeats_are_amber(page: Page, site: Site) -> None:
    """The last test of the module: it ends the process `books`."""
    opened(page, site)
    age = page.locator(f"{panel('Now')} [data-name=last_heartbeat]")
    until(lambda: "panels-warn" not in (age.get_attribute("class") or ""), what="a heartbeat in time")
    site.others["books"].kill()
    until(lambda: (age.text_content() or "").startswith("! "), what="the mark of the late heartbeat")
    assert "panels-warn" in (age.get_attribute("class") or "")
    until(lambda: figures(page, "Now")["status"] == "! unhealthy", what="the status")
