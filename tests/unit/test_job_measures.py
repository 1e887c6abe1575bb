"""Counts of sources and the figures of the last minute, with a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from config.exposition import Collected
from config.metrics import SOURCE_DELAY_BUCKETS
from db.messages import Tick, Trade
from db.timestamps import format_time
from jobs.measures.counts import JobsMeasures
from jobs.measures.performance import Performance
from jobs.measures.sources import MAX_MEASURED_PER_BATCH, REFUSAL_KINDS, SourceCounts

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)


def trade(symbol: str, quantity: str = "1", before: float = 0.0) -> Trade:
    return Trade(symbol, 1, format_time(NOON - timedelta(seconds=before)), "5", quantity, "buy")


def tick(symbol: str, before: float = 0.0) -> Tick:
    return Tick(symbol, "1", "2", "1.5", format_time(NOON - timedelta(seconds=before)), "test")


def test_trades_of_a_batch_count_and_their_prices_do_not() -> None:
    counts = SourceCounts()
    trades = [trade("BTCUSDT", "0.25"), trade("ETHUSDT", "3"), trade("BTCUSDT", "1.5")]
    counts.accepted("binance", [tick("BTCUSDT"), tick("ETHUSDT")], trades, NOON, is_live=True)
    assert counts.ingested.values() == {("BTCUSDT",): 2, ("ETHUSDT",): 1}
    assert counts.prices.values() == {("BTCUSDT",): 1, ("ETHUSDT",): 1}
    assert counts.quantities.values() == {("BTCUSDT",): 1.75, ("ETHUSDT",): 3}
    assert counts.records.values() == {("binance",): 3}


def test_prices_count_if_there_are_no_trades() -> None:
    counts = SourceCounts()
    counts.accepted("oanda", [tick("EUR_USD"), tick("EUR_USD"), tick("USD_JPY")], [], NOON, is_live=True)
    assert counts.ingested.values() == counts.prices.values() == {("EUR_USD",): 2, ("USD_JPY",): 1}
    assert (counts.quantities.values(), counts.records.values()) == ({}, {("oanda",): 3})


def test_delay_of_each_record_of_a_small_batch() -> None:
    counts = SourceCounts()
    counts.accepted(
        "oanda", [tick("EUR_USD", before=0.004), tick("EUR_USD", before=0.3), tick("EUR_USD", before=9)], [], NOON, is_live=True
    )
    numbers, total = counts.delays.get("oanda").read()
    found = dict(zip((*SOURCE_DELAY_BUCKETS, float("inf")), numbers, strict=True))
    assert {bound: number for bound, number in found.items() if number} == {0.005: 1, 0.5: 1, float("inf"): 1}
    assert total == pytest.approx(9.304)


@pytest.mark.parametrize("number", [1, MAX_MEASURED_PER_BATCH, MAX_MEASURED_PER_BATCH + 1, 500, 1_003])
def test_delays_of_a_large_batch_stand_for_all_its_records(number: int) -> None:
    counts = SourceCounts()
    counts.accepted("binance", [], [trade("BTCUSDT", before=0.02)] * number, NOON, is_live=True)
    numbers, total = counts.delays.get("binance").read()
    assert sum(numbers) == numbers[SOURCE_DELAY_BUCKETS.index(0.025)] == number
    assert total == pytest.approx(0.02 * number)


def test_recording_has_no_delay_and_a_time_ahead_counts_as_0() -> None:
    counts = SourceCounts()
    counts.accepted("replay:eur.csv", [tick("EUR_USD", before=3600)], [], NOON, is_live=False)
    counts.accepted("oanda", [tick("EUR_USD", before=-2)], [], NOON, is_live=True)
    [((source,), buckets)] = counts.delays.items()
    assert (source, buckets.read()[0][0], buckets.read()[1]) == ("oanda", 1, 0)


def test_expected_counts_are_0_from_the_start() -> None:
    counts = SourceCounts()
    counts.expect("oanda", is_live=True)
    counts.expect("replay:eur.csv", is_live=False)
    counts.expect_symbols(["EUR_USD"], has_trades=False)
    counts.expect_symbols(["BTCUSDT"], has_trades=True)
    found = Collected("jobs")
    found.add_counts("trades_ingested_total", counts.ingested)
    found.add_counts("tickwire_trade_quantity_total", counts.quantities)
    found.add_counts("tickwire_records_refused_total", counts.refused)
    found.add_counts("tickwire_source_errors_total", counts.errors)
    found.add_counts("tickwire_bus_retries_total", counts.retries)
    found.add_many("tickwire_source_delay_seconds", counts.delays.items())
    assert all(value == 0 for samples in found.families.values() for _, _, value in samples)
    numbers = {name: len(samples) for name, samples in found.families.items()}
    assert numbers == {
        "trades_ingested_total": 2,
        "tickwire_trade_quantity_total": 1,
        "tickwire_records_refused_total": 2 * len(REFUSAL_KINDS),
        "tickwire_source_errors_total": 4,
        "tickwire_bus_retries_total": 5,
        "tickwire_source_delay_seconds": len(SOURCE_DELAY_BUCKETS) + 3,
    }
    assert len(REFUSAL_KINDS) == 9  # eight of `db.admission.Kind`, and `unreadable`


def test_performance_covers_the_last_minute_and_the_totals_everything() -> None:
    measures, seconds = JobsMeasures(), [0.0]
    performance = Performance(measures, lambda: seconds[0])
    performance.mark()
    assert performance.part() == {
        "tradesPerSecond": 0.0,
        "averageLatency": 0.0,
        "errorCount": 0,
        "reconnectionCount": 0,
        "batchProcessingTime": 0.0,
        "totalTrades": 0,
        "totalBatches": 0,
        "measuredRecords": 0,
        "measuredBatches": 0,
    }
    for second in range(1, 101):  # two trades a second, of 20 ms and then of 40 ms; a batch of 5 ms
        seconds[0] = float(second)
        delay = 0.02 if second <= 40 else 0.04
        measures.sources.accepted("binance", [], [trade("BTCUSDT", before=delay)] * 2, NOON, is_live=True)
        measures.writer.durations.observe(0.005, "raw_trades")
        performance.mark()
    measures.sources.errors.add("binance", "transient")
    measures.writer.failures.add("prices", by=2)
    measures.sources.reconnects.add("binance")
    assert performance.part() == {
        "tradesPerSecond": 2.0,
        "averageLatency": pytest.approx(40.0),
        "errorCount": 3,
        "reconnectionCount": 1,
        "batchProcessingTime": pytest.approx(5.0),
        "totalTrades": 200,
        "totalBatches": 100,
        "measuredRecords": 120,
        "measuredBatches": 60,
    }
    seconds[0] = 200.0  # a minute without records
    performance.mark()
    seconds[0] = 260.0
    performance.mark()
    figures = performance.part()
    assert (figures["tradesPerSecond"], figures["averageLatency"], figures["totalTrades"]) == (0.0, 0.0, 200)
