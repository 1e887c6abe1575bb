"""States of `#/trading`: a missing stream, silent bots, old and incomplete figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from db.bus import Bus
from db.bus.observability.snapshots import Snapshot
from db.timestamps import format_time, utc_now
from tests.support.observed import STRATEGY_ROW
from tests.support.polling import until
from tests.support.sites import Site
from tests.support.trading_page import figures, panel, rows, state

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.pages import Pages

MISSING = "The metrics stream is not available."
NULLS = dict.fromkeys(("profit_factor", "sharpe_ratio", "max_drawdown_ratio", "daily_pnl", "position_notional", "max_drawdown"))
Publish = Callable[..., None]


@pytest.fixture
def publish(site: Site) -> Publish:
    """Publish a snapshot of the sections `strategy` and `execution`, as the observer does."""
    numbers = count(1)

    def publish(strategies: dict[str, dict[str, Any]], **changes: Any) -> None:
        now = utc_now()
        strategy = {
            "timestamp": format_time(now), "strategies": strategies, "total_pnl": "-0.290", "daily_pnl": "-0.290", "open_positions": 1,
            "signals_generated": 4, "currency": "USD", "incomplete": False, "by_currency": {}, **changes,
        }  # fmt: skip
        execution = {"timestamp": format_time(now), "orders_today": 5, "fill_rate": 0.30000000000000004}
        with closing(Bus(site.settings.redis_url, utc_now)) as bus:
            bus.publish_snapshot(
                Snapshot(
                    format_time(now), next(numbers), "states", {}, {"strategy": json.dumps(strategy), "execution": json.dumps(execution)}
                )
            )

    return publish


def entry(**changes: Any) -> dict[str, Any]:
    row = {**NULLS, **STRATEGY_ROW, **changes}
    return {name: value for name, value in row.items() if name not in ("bot", "strategy_name")}


def row_of(page: Page, name: str) -> dict[str, str]:
    return next((row for row in rows(page, "Strategies") if row["strategy"] == name), {})


def test_without_snapshots_the_view_names_the_missing_stream(page: Page, site: Site) -> None:
    page.goto(site.view("#/trading"))
    note = page.locator(".panels-note")
    note.wait_for()
    assert (note.text_content() or "").startswith(MISSING)
    until(lambda: state(page, "Portfolio") == "error", what="the state of the portfolio")
    # Lists of REST do not need the stream.
    until(lambda: state(page, "Positions") == "empty", what="no position")
    assert state(page, "Recent fills") == "empty"


def test_without_a_strategy_the_view_says_what_to_do(page: Page, site: Site, publish: Publish) -> None:
    page.goto(site.view("#/trading"))

    def empty() -> bool:
        publish({})
        return state(page, "Strategies") == "empty"

    until(empty, what="the empty state")
    text = page.locator(f"{panel('Strategies')} .section-empty")
    assert (text.text_content() or "").startswith("No strategy has reported. See POST /reports.")
    assert text.locator("a").get_attribute("href") == "docs"
    until(lambda: state(page, "Profit and loss, 24 h") == "empty", what="the empty chart")
    assert page.locator(".series:visible").count() == 0


def test_silent_bots_and_incomplete_figures_are_named(page: Page, site: Site, publish: Publish) -> None:
    page.goto(site.view("#/trading"))
    long_ago = format_time(utc_now() - timedelta(seconds=185))
    quiet = entry(state="silent", last_report=long_ago, mark_stale=True, pnl_complete=False, fees_by_currency={"JPY": "7"})
    strategies = {"quiet": quiet, "winner": entry(no_losses=True), "new": entry(win_rate=None, unrealized_pnl=None)}

    def shown() -> bool:
        publish(strategies, incomplete=True, by_currency={"JPY": "-1200", "EUR": "3.50"}, total_pnl=None)
        return len(rows(page, "Strategies")) == 3

    until(shown, what="three strategies")
    assert row_of(page, "quiet")["state"] == "! silent 3 min"
    assert row_of(page, "quiet")["pnl"] == "incomplete \u22120.290"
    assert row_of(page, "quiet")["unrealized_pnl"] == "! +0.05000"
    assert figures(page, "Portfolio")["total_pnl"] == "–"
    warning = page.locator(f"{panel('Portfolio')} [data-name=incomplete]").text_content()
    assert warning == "! incomplete: not converted: JPY \u22121200, EUR 3.50."
    reasons = {
        ("winner", "profit_factor"): "no losses",
        ("new", "profit_factor"): "no closed round trip",
        ("new", "win_rate"): "no closed round trip",
        ("new", "unrealized_pnl"): "a position has no price",
    }
    for (strategy, name), reason in reasons.items():
        cell = page.locator(f'{panel("Strategies")} tr:has(a:text-is("{strategy}")) [data-name="{name}"]')
        assert (cell.text_content(), cell.get_attribute("title")) == ("–", reason)
    # A number has all its digits in the document.
    assert figures(page, "Execution quality, today")["fill_rate"] == "0.30000000000000004"


def test_section_that_cannot_be_computed_is_dimmed(page: Page, site: Site, publish: Publish) -> None:
    page.goto(site.view("#/trading"))
    note = page.locator(f"{panel('Portfolio')} .section-note")

    def shown() -> bool:
        publish({"mr": entry()}, stale=True, error_code="internal")
        return note.is_visible() and note.text_content() == "! These figures are old: the observer cannot compute them (internal)."

    until(shown, what="the note of the section")
    assert "dim" in (page.locator(f"{panel('Portfolio')} .section-figures").get_attribute("class") or "")
    assert figures(page, "Portfolio")["total_pnl"] == "\u22120.290"


def test_refused_stream_and_lists_name_the_missing_scope(pages: Pages, site: Site) -> None:
    pages.allow("403")
    page = pages.open(site.url)
    key = site.keys.add(("read",))
    page.evaluate("(key) => sessionStorage.setItem('tickwire.credential', key)", key)
    page.goto(site.view("#/trading"))
    page.reload()
    until(lambda: state(page, "Positions") == "forbidden", what="the state of the positions")
    assert "`observe`" in (page.locator(f"{panel('Positions')} .panel-note").text_content() or "")
    note = page.locator(".panels-note")
    note.wait_for()
    assert (note.text_content() or "").startswith(MISSING)
