"""Sections and their two JSON texts: exact digits, no negative zero, absent figures are null."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.figures.conversion import Total
from jobs.observer.figures.models import ExecutionMetric, MarketDataMetric, ProcessMetric, StrategyMetric, SystemMetric
from jobs.observer.figures.sections import (
    Entries,
    decimal_text,
    execution_section,
    market_data_section,
    render,
    rounded,
    stale_section,
    strategy_section,
    system_section,
)

D = Decimal
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
EURUSD = MarketDataMetric(
    "EUR_USD",
    D("1.09450"),
    D("1.09440"),
    D("1.09460"),
    None,
    None,
    0,
    1.83,
    D(1) / 3,
    datetime(2025, 11, 18, 11, 59, 59, 5, tzinfo=UTC),
    "live",
)


def parsed(text: str) -> Any:
    """JSON with its decimals as they are written."""
    return json.loads(text, parse_float=Decimal)


def test_price_is_a_literal_with_its_digits_and_a_string() -> None:
    numbers, strings = render(market_data_section(NOON, [EURUSD]))
    assert numbers == (
        '{"timestamp":"2025-11-18T12:00:00.000000Z","symbols":{"EUR_USD":{"last_price":1.09450,"bid":1.09440,"ask":1.09460,'
        '"vwap":null,"volume":null,"trades":0,"spread_bps":1.83,"twap":0.3333333333333333,"time":"2025-11-18T11:59:59.000005Z",'
        '"state":"live"}},"total_trades":0,"total_volume":0,"symbols_tracked":1}'
    )
    entry = json.loads(strings)["symbols"]["EUR_USD"]
    assert (entry["last_price"], entry["twap"], entry["spread_bps"], entry["volume"]) == ("1.09450", "0.3333333333333333", 1.83, None)
    assert json.loads(strings)["total_volume"] == "0"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=10) | st.decimals("-1e20", "1e20"))
def test_literal_and_string_have_the_same_digits(value: Decimal) -> None:
    numbers, strings = render({"value": value})
    text = json.loads(strings)["value"]
    assert numbers == f'{{"value":{text}}}'
    assert Decimal(text) == value
    assert "E" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.09450", "1.09450"), ("1E+3", "1000"), ("1E-7", "0.0000001"), ("-0.00", "0.00"), ("-0", "0"), ("NaN", None), ("-Infinity", None)],
)
def test_text_of_a_decimal(value: str, text: str | None) -> None:
    assert decimal_text(D(value)) == text
    assert json.loads(render({"value": D(value)}).strings)["value"] == text


def test_cover_at_cost_is_zero_without_a_sign() -> None:
    profit = (D("1.0") - D("1.0")) * -3
    assert str(profit) == "-0.0"
    assert render({"pnl": profit}).numbers == '{"pnl":0.0}'


def test_float_that_is_negative_zero_or_not_finite() -> None:
    body = {"a": -0.0, "b": [-0.0, -0.05], "c": ProcessMetric(1, -0.0, None, 3), "d": float("nan"), "e": float("inf"), "f": "-0.0"}
    expected = '{"a":0.0,"b":[0.0,-0.05],"c":{"pid":1,"cpu_percent":0.0,"rss_bytes":null,"threads":3},"d":null,"e":null,"f":"-0.0"}'
    assert render(body) == (expected, expected)


def test_unknown_type_is_refused() -> None:
    with pytest.raises(TypeError):
        render({"value": object()})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.09450", "1.09450"),
        ("0.33333333333333333333", "0.3333333333333333"),
        ("0.99999999999999999999", "1"),
        ("-1E-20", "0"),
        ("0.12345678901234565", "0.1234567890123456"),
        ("NaN", "NaN"),
    ],
)
def test_rounding_is_for_more_than_sixteen_decimals(value: str, expected: str) -> None:
    result = rounded(D(value))
    assert result is not None
    assert str(result).lstrip("-") == expected
    assert rounded(None) is None


def test_strategy_section_has_the_fields_of_the_contract() -> None:
    metric = StrategyMetric(
        "mean_reversion",
        pnl=D(-1) / 3,
        positions=1,
        signals=7,
        win_rate=0.5,
        fees_by_currency={"BNB": D(2) / 3},
        bots=("mm-1", "mm-2"),
        last_report=NOON,
    )
    body = strategy_section(NOON, [metric], Total(D("-0.29"), "USD", {"BNB": D(3)}), D("0.10"))
    text = render(body).numbers
    entry = parsed(text)["strategies"]["mean_reversion"]
    assert " ".join(entry) == (
        "pnl daily_pnl positions signals win_rate realized_pnl unrealized_pnl position_notional profit_factor no_losses sharpe_ratio "
        "max_drawdown max_drawdown_ratio signals_approved signals_rejected fees fees_by_currency currency bots last_report state "
        "mark_stale pnl_complete"
    )
    assert (entry["pnl"], entry["daily_pnl"], entry["max_drawdown"]) == (D("-0.3333333333333333"), None, 0)
    assert (entry["fees_by_currency"], entry["bots"]) == ({"BNB": D("0.6666666666666667")}, ["mm-1", "mm-2"])
    rest = {name: value for name, value in parsed(text).items() if name not in ("timestamp", "strategies")}
    assert rest == {
        "total_pnl": D("-0.29"),
        "daily_pnl": D("0.10"),
        "open_positions": 1,
        "signals_generated": 7,
        "currency": "USD",
        "incomplete": True,
        "by_currency": {"BNB": 3},
    }


def test_execution_and_system_sections_have_the_fields_of_the_contract() -> None:
    execution = execution_section(NOON, ExecutionMetric(orders_today=3, avg_latency_ms=31.2))
    assert " ".join(execution) == (
        "timestamp orders_today fills_today cancelled rejected fill_rate avg_latency_ms avg_slippage_bps open_orders latency_p50_ms "
        "latency_p95_ms latency_p99_ms implementation_shortfall_bps market_impact_bps"
    )
    system = system_section(NOON, SystemMetric(cpu_percent=12.5, processes={"hub:5001@a1": ProcessMetric(17, 1.5, 4096, 3)}))
    assert " ".join(system) == (
        "timestamp cpu_percent memory_percent disk_usage_percent uptime health active_alerts network_bytes_sent network_bytes_recv "
        "process_count thread_count processes redis postgres writer_unstored sources"
    )
    process = parsed(render(system).numbers)["processes"]["hub:5001@a1"]
    assert process == {"pid": 17, "cpu_percent": D("1.5"), "rss_bytes": 4096, "threads": 3}
    assert parsed(render(execution).numbers)["fill_rate"] is None


def test_section_of_a_failed_collector_keeps_its_values() -> None:
    last = execution_section(NOON, ExecutionMetric(orders_today=3))
    assert stale_section(last) == {**last, "stale": True, "error_code": "internal"}
    assert stale_section({}) == {}


def test_entries_keep_their_texts_until_their_metric_is_another_object() -> None:
    entries = Entries()
    first = market_data_section(NOON, [EURUSD], entries)
    again = market_data_section(NOON, [EURUSD], entries)
    assert again["symbols"]["EUR_USD"] is first["symbols"]["EUR_USD"]
    assert render(again) == render(market_data_section(NOON, [EURUSD]))
    moved = replace(EURUSD, bid=D("1.09440"), spread_bps=-0.0)
    changed = render(market_data_section(NOON, [moved], entries))
    assert changed == render(market_data_section(NOON, [moved]))
    assert '"spread_bps":0.0' in changed.numbers
