"""The figures of the four sections of a snapshot, as values. Pure.

`Decimal` fields are prices, quantities and amounts: number literals on `/ws/metrics` and
`/api/metrics`, strings elsewhere. Float fields are ratios, percentages, basis points and
milliseconds: numbers everywhere. None is an absent figure. `sections` makes the bodies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from db.figures.positions import ZERO


@dataclass(frozen=True, slots=True)
class MarketDataMetric:
    """Figures of one symbol; volume, trades and vwap cover the UTC day so far.

    `twap` replaces `vwap` if the symbol has no exchange trades (FX). `time` is that of the price.
    """

    symbol: str
    last_price: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    vwap: Decimal | None = None
    volume: Decimal | None = None
    trades: int = 0
    spread_bps: float | None = None
    twap: Decimal | None = None
    time: datetime | None = None
    state: Literal["live", "stale", "closed"] = "stale"


@dataclass(frozen=True, slots=True)
class StrategyMetric:
    """Figures of one strategy name, summed over `bots`; amounts are in `currency`.

    `positions` is the number of open positions, `signals` that of signals since 00:00 of
    `OBS_DAY_ZONE`. `no_losses` is true if `profit_factor` is None for lack of a loss.
    `pnl_complete` is false if an amount could not be converted.
    """

    strategy_name: str
    pnl: Decimal | None = None
    daily_pnl: Decimal | None = None
    positions: int = 0
    signals: int = 0
    win_rate: float | None = None
    realized_pnl: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    position_notional: Decimal | None = None
    profit_factor: float | None = None
    no_losses: bool = False
    sharpe_ratio: float | None = None
    max_drawdown: Decimal = ZERO
    max_drawdown_ratio: float | None = None
    signals_approved: int = 0
    signals_rejected: int = 0
    fees: Decimal | None = None
    fees_by_currency: Mapping[str, Decimal] = field(default_factory=dict)
    currency: str = "USD"
    bots: Sequence[str] = ()
    last_report: datetime | None = None
    state: Literal["live", "silent"] = "silent"
    mark_stale: bool = False
    pnl_complete: bool = True


@dataclass(frozen=True, slots=True)
class ExecutionMetric:
    """Figures of all orders and fills since 00:00 of `OBS_DAY_ZONE`."""

    orders_today: int = 0
    fills_today: int = 0
    cancelled: int = 0
    rejected: int = 0
    fill_rate: float | None = None
    avg_latency_ms: float | None = None
    avg_slippage_bps: float | None = None
    open_orders: int = 0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    implementation_shortfall_bps: float | None = None
    market_impact_bps: float | None = None


@dataclass(frozen=True, slots=True)
class ProcessMetric:
    """Figures of one process."""

    pid: int
    cpu_percent: float | None
    rss_bytes: int | None
    threads: int | None


@dataclass(frozen=True, slots=True)
class SystemMetric:
    """Figures of the machine and of our processes. `uptime` is in seconds.

    `processes` is name -> figures, for example `hub:5001@a1`. `redis`, `postgres`,
    `writer_unstored` and `sources` are name -> figure.
    """

    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_usage_percent: float | None = None
    uptime: float | None = None
    health: str | None = None
    active_alerts: int = 0
    network_bytes_sent: int | None = None
    network_bytes_recv: int | None = None
    process_count: int | None = None
    thread_count: int | None = None
    processes: Mapping[str, ProcessMetric] = field(default_factory=dict)
    redis: Mapping[str, float | int | None] = field(default_factory=dict)
    postgres: Mapping[str, float | int | None] = field(default_factory=dict)
    writer_unstored: Mapping[str, int | None] = field(default_factory=dict)
    sources: Mapping[str, object] = field(default_factory=dict)
