"""Latencies and throughput of the whole system: `GET /api/system/performance`. Pure."""

from __future__ import annotations

from typing import Any

from health.measures.stages import BUS, FANOUT, PUBLISH, SOCKETS, STORE, merged, percentiles_ms, stage_texts
from health.system.state import SystemState, number, total

STAGES = (PUBLISH, STORE, BUS, FANOUT, SOCKETS)
_ROLES = ("jobs", "hub", "observer", "rest")
_RATES = {PUBLISH: "published", STORE: "stored", SOCKETS: "relayed"}  # stage -> counter of its messages


def performance(state: SystemState) -> dict[str, Any]:
    """Return the answer of `GET /api/system/performance`; latencies are in ms.

    The throughput is that of the hub with the most messages, because every hub relays all of them.
    """
    parts = [report.part("metrics") for role in _ROLES for report in state.living(role)]
    texts = stage_texts(parts)
    stages = {stage: _stage(texts.get(stage, []), _rate(parts, stage)) for stage in dict.fromkeys((*STAGES, *texts))}
    sockets = stages[SOCKETS]
    return {
        "latency_p50": sockets["p50_ms"],
        "latency_p95": sockets["p95_ms"],
        "latency_p99": sockets["p99_ms"],
        "throughput_per_sec": sockets["per_second"],
        "cpu_usage": state.machine.cpu_percent,
        "memory_usage": state.machine.memory_percent,
        "queue_depth": queue_depth(state),
        "stages": stages,
    }


def queue_depth(state: SystemState) -> int | None:
    """Messages that are not stored yet: prices, trades, rows of books, reports.

    None if no process reports it.
    """
    writers = [report.part("writer").get("unstored") for role in ("jobs", "observer") if (report := state.acting(role)) is not None]
    counts = [count for unstored in writers if isinstance(unstored, dict) for count in unstored.values()]
    return total(counts) if counts else None


def _stage(texts: list[object], per_second: float | None) -> dict[str, Any]:
    histogram = merged(texts)
    p50, p95, p99 = percentiles_ms(histogram, 50, 95, 99)
    return {"count": int(histogram.get_total_count()), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "per_second": per_second}


def _rate(parts: list[Any], stage: str) -> float | None:
    """Messages per second of a stage; None if no process reports it."""
    name = _RATES.get(stage)
    rates = [found for part in parts if isinstance(part.get("rates"), dict) and (found := number(part["rates"].get(name))) is not None]
    return max(rates, default=None)
