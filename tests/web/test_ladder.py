"""The ladder of a recorded book: exact figures, the five states, and the rate of repaints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import accumulate
from typing import Any

import pytest
from playwright.sync_api import Page

from db.timestamps import utc_now
from jobs.books.book import Book
from tests.support.depth import SPOT_BTC, diffs, snapshot
from tests.support.hub_books import state
from tests.support.polling import until
from tests.support.rest_books import heartbeat, publish_book, row
from tests.support.sites import Site
from tests.web.conftest import StartSite

SYMBOL = "BTCUSDT"
FRAME_MS = 20
_TABLE = """() => [...document.querySelectorAll(".ladder-table tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent))"""
_SHOWN = """() => ({
    text: document.querySelector(".ladder-state [role=status]")?.textContent,
    measures: document.querySelector(".ladder-measures")?.textContent,
    state: document.querySelector(".ladder")?.dataset.state,
    dimmed: document.querySelector(".ladder")?.dataset.dimmed,
    table: document.querySelector(".ladder-scroll")?.checkVisibility(),
    skeleton: document.querySelector(".ladder .skeleton")?.checkVisibility(),
    repaints: Number(document.querySelector(".ladder")?.dataset.repaints ?? 0),
    draws: Number(document.querySelector(".depth")?.dataset.draws ?? 0),
})"""
_UPDATE_ID = """([symbol, depth]) => globalThis.tickwire.hub.client.books.get(`${symbol}|${depth}`)?.update_id ?? null"""


class Recording:
    """The recorded book after each diff: one to publish, and one of Decimals to compare with."""

    def __init__(self) -> None:
        begin = snapshot(SPOT_BTC)
        self.book = Book(begin.window)
        self.book.replace(begin.bids, begin.asks)
        self._sides = [{Decimal(price): (price, size) for price, size in side} for side in (begin.bids, begin.asks)]
        self._diffs: Iterator[Any] = (each for each in diffs(SPOT_BTC) if each.last_id > begin.last_id)
        self.update_id = 0

    def step(self, site: Site) -> None:
        """Apply the next diff, and publish the book."""
        diff = next(self._diffs)
        self.book.apply(diff.bids, diff.asks)
        for side, levels in zip(self._sides, (diff.bids, diff.asks), strict=True):
            for price, size in levels:
                side.pop(Decimal(price), None)
                if Decimal(size):
                    side[Decimal(price)] = (price, size)
        self.update_id = diff.last_id
        publish_book(site.bus, SYMBOL, self.book, self.update_id, utc_now())

    def rows(self, depth: int) -> list[list[str]]:
        """The texts of the table."""
        bids = [self._sides[0][price] for price in sorted(self._sides[0], reverse=True)[:depth]]
        asks = [self._sides[1][price] for price in sorted(self._sides[1])[:depth]]
        sums = [[format(total, "f") for total in accumulate(Decimal(size) for _, size in side)] for side in (bids, asks)]
        return [
            [sums[0][n], bid[1], bid[0], ask[0], ask[1], sums[1][n]]
            for n, (bid, ask) in enumerate(zip(bids, asks, strict=True))
        ]  # fmt: skip

    def measures(self, depth: int) -> str:
        """The line of figures."""
        rows = self.rows(depth)
        bid, ask, bids, asks = (Decimal(text) for text in (rows[0][2], rows[0][3], rows[-1][0], rows[-1][5]))
        bps = ((ask - bid) / ((ask + bid) / 2) * 10_000).quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
        imbalance = ((bids - asks) / (bids + asks)).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
        signed = f"{'+' if imbalance > 0 else ''}{imbalance}".replace("-", "\N{MINUS SIGN}")
        return f"Spread {ask - bid} · {bps} bps · Imbalance of {depth} levels {signed}"


@pytest.fixture(scope="module")
def site(start_site: StartSite) -> Site:
    site = start_site(SOURCES="scenario", HEARTBEAT_INTERVAL="60")
    site.bus.put_books({SYMBOL: row(SYMBOL, utc_now(), "syncing")}, whole=True)
    site.bus.publish_heartbeat(heartbeat({SYMBOL: "syncing"}))
    return site


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording()


def shown(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(_SHOWN)
    return found


def eventually(page: Page, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Return what the ladder shows as soon as the condition is true of it."""
    until(lambda: condition(shown(page)), 30, lambda: f"{shown(page)}")
    return shown(page)


def await_rows(page: Page, recording: Recording, depth: int) -> None:
    until(lambda: page.evaluate(_TABLE) == recording.rows(depth), 30, lambda: f"{page.evaluate(_TABLE)[:2]} {shown(page)}")


def test_levels_figures_and_states(page: Page, site: Site, recording: Recording) -> None:
    page.goto(site.view(f"#/book/{SYMBOL}"))
    page.wait_for_selector("html[data-link=live]")
    found = eventually(page, lambda found: "Synchronising" in (found["text"] or ""))
    assert (found["table"], found["skeleton"]) == (False, True)
    assert "snapshot requested at" in found["text"]

    def publish(name: str, previous: str, reason: str, **ids: int) -> None:
        site.bus.put_books({SYMBOL: row(SYMBOL, utc_now(), name, reason, book=recording.book)})
        site.bus.publish_book_state({**state(SYMBOL, name, previous, reason), **ids})

    publish("live", "syncing", "start")
    for depth in (20, 10, 50):
        recording.step(site)
        page.click(f".ladder-depths >> text='{depth}'")
        await_rows(page, recording, depth)
        assert shown(page)["measures"] == recording.measures(depth)
    assert (shown(page)["text"], shown(page)["dimmed"], shown(page)["skeleton"]) == ("live", "false", False)
    assert "depth=50" in page.url

    last = recording.rows(50)
    publish("gap", "live", "missing_update", expected_id=50093239230, received_id=50093239233)
    found = eventually(page, lambda found: found["state"] == "gap")
    assert found["text"] == "Gap at update 50093239230: the book is rebuilt (missing update, 3 updates missing)"
    publish("resyncing", "gap", "missing_update")
    eventually(page, lambda found: found["text"] == "Resynchronising: missing update")
    publish("stale", "resyncing", "disconnected")
    eventually(page, lambda found: found["text"] == "stale: disconnected")
    assert (page.evaluate(_TABLE), shown(page)["dimmed"]) == (last, "true")
    publish("syncing", "stale", "scenario")
    eventually(page, lambda found: found["skeleton"] and not found["table"])
    publish("live", "syncing", "start")
    recording.step(site)
    await_rows(page, recording, 50)

    page.goto(site.view("#/book/EUR_USD"))
    eventually(page, lambda found: found["text"] == "No order book for EUR_USD: its source delivers prices only.")


def test_repaints_are_limited_and_hold_freezes(page: Page, site: Site, recording: Recording) -> None:
    page.clock.install()
    page.goto(site.view(f"#/i/{SYMBOL}?ladder=1"))
    page.wait_for_selector("html[data-link=live]")
    recording.step(site)
    await_rows(page, recording, 20)
    page.clock.pause_at(utc_now().timestamp() + 5)
    page.clock.run_for(1000)
    before = shown(page)
    for _ in range(1000 // FRAME_MS):
        recording.step(site)
        until(lambda: page.evaluate(_UPDATE_ID, [SYMBOL, 20]) == recording.update_id, 30, "the update")
        page.clock.run_for(FRAME_MS)
    after = shown(page)
    assert 5 <= after["repaints"] - before["repaints"] <= 10
    assert 1 <= after["draws"] - before["draws"] <= 5
    page.clock.run_for(300)
    assert page.evaluate(_TABLE) == recording.rows(20)

    frozen = recording.rows(20)
    page.hover(".ladder-table")
    page.click(".ladder-hold")
    recording.step(site)
    until(lambda: page.evaluate(_UPDATE_ID, [SYMBOL, 20]) == recording.update_id, 30, "the update")
    page.clock.run_for(1500)
    assert page.evaluate(_TABLE) == frozen
    assert str(shown(page)["text"]).startswith("Held at ")
    page.click(".ladder-hold")
    page.clock.run_for(300)
    assert page.evaluate(_TABLE) == recording.rows(20)

    page.keyboard.press("b")  # leaving the pane ends its subscription
    page.clock.resume()
    until(lambda: page.evaluate("() => globalThis.tickwire.hub.client.books.size") == 0, 30, "the end of the book")
