"""The frame of the dashboard in a page: its connection, its banner, the rows of its store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.sites import Site

# Console messages of Chromium itself about a server that is down.
DOWN = (r"WebSocket connection to .* failed", r"Failed to load resource")


def await_link(page: Page, state: str) -> None:
    """Wait until `data-link` of the root element has this value."""
    page.wait_for_function("(state) => document.documentElement.dataset.link === state", arg=state)


def await_banner(page: Page, text: str) -> None:
    """Wait until the banner contains the text; without a text, until it is empty."""
    test = "(text) => { const shown = document.getElementById('banner').textContent; return text ? shown.includes(text) : !shown; }"
    page.wait_for_function(test, arg=text)


def await_mid(page: Page, symbol: str, mid: str) -> None:
    """Wait until the row of the store has this mid."""
    page.wait_for_function("([symbol, mid]) => tickwire.store.rows.get(symbol)?.mid === mid", arg=[symbol, mid])


def await_text(page: Page, selector: str, text: str) -> None:
    """Wait until one of the elements contains the text."""
    test = "([selector, text]) => [...document.querySelectorAll(selector)].some((each) => each.textContent.includes(text))"
    page.wait_for_function(test, arg=[selector, text])


def opened(page: Page, url: str) -> Page:
    """Open a view, and wait until the hub is connected and each row has what `/symbols` lists."""
    page.goto(url)
    await_link(page, "live")
    page.wait_for_function("() => tickwire.store.symbols.length > 0")
    return page


def record_prices(page: Page) -> None:
    """From now on, note the `seq` of each price that the hub sends, alone or in a snapshot."""
    page.evaluate("""() => {
      globalThis.seqs = {};
      globalThis.snapshotSeqs = {};
      tickwire.hub.on('price', (body) => { (seqs[body.instrument] ??= []).push(body.seq); });
      tickwire.hub.on('snapshot', (body) => { (snapshotSeqs[body.instrument] ??= []).push(body.seq); });
    }""")


def recorded(page: Page) -> dict[str, list[int]]:
    """Return instrument -> the noted numbers, in their order of arrival."""
    found: dict[str, list[int]] = page.evaluate("() => seqs")
    return found


def newest_of_hub(page: Page) -> dict[str, int]:
    """Return instrument -> the last number that the hub has sent, as a price or in a snapshot."""
    found: dict[str, list[int]] = page.evaluate("() => snapshotSeqs")
    return {symbol: max(seqs[-1], *found.get(symbol, ())) for symbol, seqs in recorded(page).items()}


def shown_prices(page: Page) -> dict[str, Any]:
    """Return instrument -> `[mid, seq, epoch]` of the store."""
    found: dict[str, Any] = page.evaluate(
        "() => Object.fromEntries([...tickwire.store.rows].map(([name, row]) => [name, [row.mid, row.seq, row.epoch]]))"
    )
    return found


def bus_prices(site: Site, symbols: list[str]) -> dict[str, Any]:
    """Return the same of the bus."""
    bodies = {symbol: json.loads(body) for symbol, body in site.bus.latest_prices(symbols).items()}
    return {symbol: [body["price"]["mid"], body["seq"], body["epoch"]] for symbol, body in bodies.items()}
