"""`#/trading` beside a real observer: every figure on the page is that of REST."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.polling import until
from tests.support.sites import PRICES, Site
from tests.support.trading_page import equal, exact, figures, filled, panel, rows, state, value

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.pages import Chromium, Pages

PORTFOLIO = ("total_pnl", "daily_pnl", "open_positions", "signals_generated")
OF_STRATEGY = (
    "pnl", "daily_pnl", "realized_pnl", "unrealized_pnl", "positions", "position_notional", "signals", "signals_approved",
    "signals_rejected", "win_rate", "profit_factor", "sharpe_ratio", "max_drawdown", "fees",
)  # fmt: skip
OF_EXECUTION = (
    "orders_today", "fills_today", "open_orders", "cancelled", "rejected", "fill_rate", "avg_latency_ms", "latency_p50_ms",
    "latency_p95_ms", "latency_p99_ms", "avg_slippage_bps", "implementation_shortfall_bps", "market_impact_bps",
)  # fmt: skip
OF_FILL = ("quantity", "price", "realized_pnl", "latency_ms", "slippage_bps", "fee")


@pytest.fixture(scope="module")
def site(chromium: Chromium, observed_site: Site) -> Site:
    """Two bots have reported: the worked example of figures.md, a long and a short position."""
    site = observed_site
    example = [
        ("buy", "1000", "1.09450", "0.020"),
        ("buy", "500", "1.09510", "0.010"),
        ("sell", "600", "1.09530", "0.012"),
        ("sell", "1400", "1.09400", "0.028"),
        ("buy", "500", "1.09390", "0.010"),
    ]
    reports = [each for n, one in enumerate(example, 1) for each in filled(n, "mm-1", "mean_reversion", "EUR_USD", *one)]
    reports += filled(6, "mm-2", "carry", "GBP_USD", "buy", "3000", "1.26980", "0.1")
    reports += filled(7, "mm-2", "carry", "GBP_USD", "buy", "1000", "1.27001", "-0.05")
    reports += filled(8, "mm-2", "breakout", "AUD_USD", "sell", "2500", "0.65030", "0")
    send(site, reports)
    until(lambda: len(site.get("/fills")["fills"]) == 8, what="eight stored fills")
    return site


def send(site: Site, reports: list[dict[str, Any]]) -> None:
    answer = site.post("/reports", {"reports": reports})
    assert answer["rejected"] == []


@pytest.fixture
def view(module_page: Page, site: Site) -> Page:
    return opened(module_page, site)


def opened(page: Page, site: Site, address: str = "#/trading") -> Page:
    page.goto(site.view(address))
    page.locator(f"{panel('Recent fills')} tbody tr").first.wait_for()
    page.locator(f"{panel('Strategies')} tbody tr").first.wait_for()
    return page


def same(texts: dict[str, str], given: dict[str, Any], names: tuple[str, ...]) -> bool:
    return all(equal(texts[name], given[name]) for name in names)


def test_portfolio_and_strategies_equal_the_current_metrics(view: Page, site: Site) -> None:
    def agree() -> bool:
        section = exact(site, "/api/metrics/current")["strategy"]
        shown = {row["strategy"]: row for row in rows(view, "Strategies")}
        assert list(shown) == sorted(section["strategies"]) == ["breakout", "carry", "mean_reversion"]
        return same(figures(view, "Portfolio"), section, PORTFOLIO) and all(
            same(shown[name], entry, OF_STRATEGY) for name, entry in section["strategies"].items()
        )

    until(agree, what="figures that are equal to those of REST")
    mean = next(row for row in rows(view, "Strategies") if row["strategy"] == "mean_reversion")
    # The last line of the worked example in docs/observability/figures.md.
    assert value(mean["realized_pnl"]) == Decimal("-0.300")
    assert (mean["bots"], mean["currency"], mean["state"]) == ("mm-1", "USD", "live")
    factor = view.locator(f'{panel("Strategies")} tr:has-text("breakout") [data-name="profit_factor"]')
    assert (factor.text_content(), factor.get_attribute("title")) == ("–", "no closed round trip")


def test_executions_equal_the_current_metrics(view: Page, site: Site) -> None:
    until(lambda: figures(view, "Execution quality, today")["orders_today"] == "8", what="the orders of the reports")
    until(
        lambda: same(figures(view, "Execution quality, today"), exact(site, "/api/metrics/current")["execution"], OF_EXECUTION),
        what="executions that are equal to those of REST",
    )
    title = "Execution quality by strategy, 24 h"
    answer = exact(site, "/api/trades/execution/quality?time_range=24h")["by_strategy"]
    names = OF_EXECUTION[5:]
    until(
        lambda: {row["strategy"]: same(row, answer[row["strategy"]], names) for row in rows(view, title)} == dict.fromkeys(answer, True),
        what="the quality of each strategy",
    )


def test_positions_and_fills_equal_rest(view: Page, site: Site) -> None:
    given = {each["symbol"]: each for each in site.get("/positions")["positions"] if each["quantity"] != "0"}
    until(lambda: len(rows(view, "Positions")) == len(given) == 2, what="two open positions")
    for row in rows(view, "Positions"):
        position = given[row["symbol"]]
        assert [row[name] for name in ("bot", "strategy", "currency")] == [position[name] for name in ("bot", "strategy", "currency")]
        assert row["side"] == ("long" if row["symbol"] == "GBP_USD" else "short")
        assert same(row, position, ("quantity", "average_price", "mark", "unrealized_pnl"))
        bid, ask = (Decimal(text) for text in PRICES[row["symbol"]])
        assert value(row["mark"]) == (bid if row["side"] == "long" else ask)
    assert value(next(row["average_price"] for row in rows(view, "Positions") if row["symbol"] == "GBP_USD")) == Decimal("1.269852500")
    fills = site.get("/fills?order=desc&limit=100")["fills"]
    shown = rows(view, "Recent fills")
    assert len(shown) == len(fills)
    for row, fill in zip(shown, fills, strict=True):
        assert [row[name] for name in ("bot", "strategy", "symbol", "side", "liquidity")] == [
            fill[name] for name in ("bot", "strategy", "symbol", "side", "liquidity")
        ]
        assert same(row, fill, OF_FILL)
        assert row["price"] == fill["price"]  # with its trailing zeros


def test_new_fill_and_new_price_appear_without_reload(page: Page, site: Site) -> None:
    opened(page, site)
    before = len(rows(page, "Recent fills"))
    send(site, filled(20, "mm-3", "pairs", "USD_JPY", "sell", "700", "154.620", "0.01"))
    until(lambda: len(rows(page, "Recent fills")) == before + 1, what="the new fill")
    assert rows(page, "Recent fills")[0]["strategy"] == "pairs"
    until(lambda: "USD_JPY" in {row["symbol"] for row in rows(page, "Positions")}, what="the new position")
    site.publish("USD_JPY", "154.550", "154.571")

    def pnl() -> tuple[str, Decimal | None]:
        row = next(each for each in rows(page, "Positions") if each["symbol"] == "USD_JPY")
        return row["mark"], value(row["unrealized_pnl"])

    # A short position would close at the ask: (154.571 - 154.620) · -700.
    until(lambda: pnl() == ("154.571", Decimal("34.300")), what="the mark at the new ask")


def test_filter_is_in_the_address_and_exports_follow_it(page: Page, site: Site) -> None:
    opened(page, site, "#/trading?strategy=carry")
    until(lambda: {row["strategy"] for row in rows(page, "Recent fills")} == {"carry"}, what="fills of the strategy")
    assert [row["strategy"] for row in rows(page, "Strategies")] == ["carry"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Download fills as CSV").click()
    text = download.value.path().read_text()
    assert download.value.suggested_filename == "fills.csv"
    assert {line.split(",")[2] for line in text.splitlines()} == {"strategy", "carry"}
    page.locator("select[name=strategy]").select_option("")
    page.locator("select[name=bot]").select_option("mm-1")
    until(lambda: {row["bot"] for row in rows(page, "Recent fills")} == {"mm-1"}, what="fills of the bot")
    assert page.url.endswith("#/trading?bot=mm-1")
    until(lambda: state(page, "Positions") == "empty", what="no position of the bot")


def test_charts_draw_with_the_policy_of_the_page(pages: Pages, page: Page, site: Site) -> None:
    opened(page, site)
    page.locator(".series .u-wrap canvas").first.wait_for()
    assert page.evaluate("() => typeof globalThis.uPlot") == "function"
    assert page.locator('script[src$="uPlot.iife.min.js"]').count() == 1
    current = page.locator('figure[aria-label="Total P&L"] tbody td').first
    total = exact(site, "/api/metrics/current")["strategy"]["total_pnl"]
    until(lambda: equal(current.text_content() or "", total), what="the current value below the chart")
    pages.check()
