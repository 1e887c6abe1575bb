"""One run: a fresh server, its clients and the resulting figures.

CPU and memory are measured at the server, everything else at the clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.bench.bystanders import Bystanders
from tests.bench.client import Plan
from tests.bench.control import LoadGenerator
from tests.bench.feed import Feed
from tests.bench.servers import Server

WARM_SECONDS = 1.0
DRAIN_SECONDS = 45.0  # time limit for a server that fell behind to deliver the rest
WINDOW = 32  # messages in flight at full speed
_DISTURBED_PERCENT = 20.0
_BUSY_PERCENT = 90.0
_SETTLE_SECONDS = 4.0
_IDLE_SECONDS = 3.0
_WARM_CLIENTS = 50
_FILL_MESSAGES = 2500  # about 600 KiB per stalled client, more than the kernel buffers


@dataclass(slots=True)
class Figures:
    """The figures of a run (name -> value in the unit of the name), notes and faults."""

    values: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Session:
    """A server with its load generator and its publisher."""

    server: Server
    load: LoadGenerator
    feed: Feed
    plans: list[Plan]

    def phase(self, publish: Callable[[], int], receivers: float) -> Figures:
        """Publish, wait until all deliveries have arrived, and return the figures.

        `receivers` is the average number of clients per message.
        """
        bystanders = Bystanders()
        self.load.command("begin")
        cpu, began = self.server.cpu(), time.time()
        published = publish()
        publishing = time.time() - began
        expected = round(published * receivers)
        complete = self.load.wait(expected, DRAIN_SECONDS)
        cpu = self.server.cpu() - cpu
        figures = _account(self.load.command("report"), expected, complete, cpu, began, publishing)
        figures.values["others_cpu_percent"] = bystanders.percent()
        if figures.values["others_cpu_percent"] > _DISTURBED_PERCENT:
            figures.notes.append(f"disturbed: other programs used {figures.values['others_cpu_percent']:.0f} % of a CPU")
        return figures


def _account(report: dict[str, Any], expected: int, complete: bool, cpu: float, began: float, publishing: float) -> Figures:
    received = report["received"]
    figures = Figures()
    if report["problem_count"]:
        figures.faults.append(f"{report['problem_count']} problems, first: {report['problems'][0]}")
    if not complete or received != expected:
        figures.faults.append(f"received {received} of {expected} deliveries")
    if not received:
        return figures
    seconds = report["last"] - began
    figures.values = {
        "cpu_us": cpu / received * 1e6,
        "deliveries_per_s": received / seconds,
        "p50_ms": report["p50"] * 1e3,
        "p99_ms": report["p99"] * 1e3,
        "server_cpu_percent": cpu / seconds * 100,
        "load_cpu_percent": report["cpu"] / seconds * 100,
        "deliveries": received,
    }
    if seconds > publishing + 0.5:
        figures.notes.append(f"fell behind: published in {publishing:.1f} s, delivered in {seconds:.1f} s")
    if figures.values["load_cpu_percent"] > _BUSY_PERCENT:
        figures.notes.append("the load generator was busy all the time: its own speed limited these figures")
    return figures


def traffic(session: Session, seconds: float) -> Figures:
    """Measure CPU per delivery, deliveries and latency at the shape's rate."""
    session.load.connect(session.plans)
    return _steady(session, seconds, len(session.plans))


def _steady(session: Session, seconds: float, clients: int) -> Figures:
    feed = session.feed
    receivers = sum(len(plan.pairs) for plan in session.plans) / len({pair for plan in session.plans for pair in plan.pairs})
    receivers *= clients / len(session.plans)
    session.phase(lambda: feed.steady(round(WARM_SECONDS / feed.beat)), receivers)
    return session.phase(lambda: feed.steady(round(seconds / feed.beat)), receivers)


def saturation(session: Session, seconds: float) -> Figures:
    """Measure deliveries per second if only the server's speed limits the publisher."""
    session.load.connect(session.plans)
    _flood(session, WARM_SECONDS, len(session.plans))
    figures = _flood(session, seconds, len(session.plans))
    for latency in ("p50_ms", "p99_ms"):
        figures.values.pop(latency, None)  # depends on the window, not on the server
    return figures


def _flood(session: Session, seconds: float, clients: int, most: int = 1_000_000) -> Figures:
    """Publish to one room as fast as the clients read."""
    return session.phase(lambda: session.feed.flood(seconds, WINDOW, lambda: session.load.received // clients, most), clients)


def idle(session: Session, _: float) -> Figures:
    """Measure CPU per new connection, memory per idle client and CPU of all idle clients."""
    server, load = session.server, session.load
    load.connect(session.plans[:_WARM_CLIENTS])
    load.command("close")
    time.sleep(_SETTLE_SECONDS / 4)
    before, cpu, clients = server.memory(), server.cpu(), len(session.plans)
    took = load.connect(session.plans)
    cpu = server.cpu() - cpu
    time.sleep(_SETTLE_SECONDS - _IDLE_SECONDS)
    resting = server.cpu()
    time.sleep(_IDLE_SECONDS)
    resting, after = server.cpu() - resting, server.memory()
    return Figures(
        {
            "connect_cpu_us": cpu / clients * 1e6,
            "connections_per_s": clients / took,
            "pss_kib": (after.pss - before.pss) / clients / 1024,
            "uss_kib": (after.uss - before.uss) / clients / 1024,
            "rss_kib": (after.rss - before.rss) / clients / 1024,
            "idle_cpu_percent": resting / _IDLE_SECONDS * 100,
        }
    )


def stalled(session: Session, seconds: float) -> Figures:
    """Measure the memory of clients that stop reading and the latency of the others.

    The control is the same run before the stall.
    """
    server, load = session.server, session.load
    load.connect(session.plans)
    control = _steady(session, seconds, len(session.plans))
    before = server.memory()
    count = load.command("stall")["stalled"]
    reading = len(session.plans) - count
    fill = _flood(session, DRAIN_SECONDS, reading, most=_FILL_MESSAGES)
    others = _steady(session, seconds, reading)
    after = server.memory()
    phases = {"before the stall": control, "while filling": fill, "with stalled clients": others}
    figures = Figures(
        notes=[f"{when}: {note}" for when, phase in phases.items() for note in phase.notes],
        faults=[f"{when}: {fault}" for when, phase in phases.items() for fault in phase.faults],
    )
    figures.values = {f"others_{name}": others.values[name] for name in ("p50_ms", "p99_ms", "cpu_us") if name in others.values}
    figures.values["growth_kib"] = (after.uss - before.uss) / count / 1024
    if "p99_ms" in control.values and "p99_ms" in others.values:
        figures.values["before_p99_ms"] = control.values["p99_ms"]
        figures.values["p99_ratio"] = others.values["p99_ms"] / control.values["p99_ms"]
    return figures
