"""One run: a fresh server, its clients and the resulting figures.

CPU and memory are measured at the server, everything else at the clients.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench import connections
from tests.bench.bystanders import Bystanders
from tests.bench.client import Plan
from tests.bench.control import LoadGenerator
from tests.bench.feed import Feed
from tests.bench.servers import BenchError, Server

WARM_SECONDS = 0.5
DRAIN_SECONDS = 45.0  # time limit for a server that fell behind to deliver the rest
WINDOW = 32  # messages in flight at full speed
DISTURBED = "disturbed"
_DISTURBED_PERCENT = 20.0
_BUSY_PERCENT = 90.0
_SETTLE_SECONDS = 4.0
_IDLE_SECONDS = 3.0
_WARM_CLIENTS = 50
_MISSED = 50  # prices of a returning client
# About 4.6 MB per stalled client: more than the largest send queue of Linux, 4 MiB by default.
_FILL_MESSAGES = 20_000
_LOG_MESSAGES = 1200  # more than the hub keeps of a topic
_VISITS_PER_S = 100.0
_ON_TIME = 0.9  # share of the wanted rate


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

    def phase(self, publish: Callable[[], int], receivers: float | Mapping[str, int]) -> Figures:
        """Publish, wait until all deliveries have arrived, and return the figures.

        `receivers` is the number of clients of each instrument, or the average number per message.
        """
        bystanders = Bystanders()
        self.load.command("begin")
        before = self.feed.published.copy()
        cpu, began = self.server.cpu(), time.time()
        published = publish()
        publishing = time.time() - began
        if isinstance(receivers, Mapping):
            expected = sum(count * receivers.get(name, 0) for name, count in (self.feed.published - before).items())
        else:
            expected = round(published * receivers)
        complete = self.load.wait(expected, DRAIN_SECONDS)
        cpu = self.server.cpu() - cpu
        figures = _account(self.load.command("report"), expected, complete, cpu, began, publishing)
        figures.values |= {"published": published, "published_per_s": published / publishing, "message_us": cpu / published * 1e6}
        figures.values["others_cpu_percent"] = bystanders.percent()
        if figures.values["others_cpu_percent"] > _DISTURBED_PERCENT:
            figures.notes.append(f"{DISTURBED}: other programs used {figures.values['others_cpu_percent']:.0f} % of a CPU")
        return figures


def _account(report: dict[str, Any], expected: int, complete: bool, cpu: float, began: float, publishing: float) -> Figures:
    received = report["received"]
    figures = Figures(faults=_faults(report))
    if not complete or received != expected:
        figures.faults.append(f"received {received} of {expected} deliveries")
    figures.values["delivered_percent"] = received / expected * 100
    if not received:
        return figures
    seconds = report["last"] - began
    figures.values |= {
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


def _faults(report: dict[str, Any]) -> list[str]:
    """Return the faults that the clients have found."""
    found = []
    if report["problem_count"]:
        found.append(f"{report['problem_count']} problems, first: {report['problems'][0]}")
    if report["unequal"]:
        found.append(f"{report['unequal']} clients without exactly the messages of their topics")
    return found


def traffic(session: Session, seconds: float) -> Figures:
    """Measure CPU per delivery, deliveries and latency at the shape's rate."""
    session.load.connect(session.plans)
    return _steady(session, seconds, session.plans)


def _steady(session: Session, seconds: float, plans: Sequence[Plan]) -> Figures:
    feed, receivers = session.feed, Counter(pair for plan in plans for pair in plan.pairs)
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


def _flood(session: Session, seconds: float, clients: int, feed: Feed | None = None, most: int = 1_000_000) -> Figures:
    """Publish as fast as the clients read; each message has `clients` receivers."""
    source = feed or session.feed
    return session.phase(lambda: source.flood(seconds, WINDOW, lambda: session.load.received // clients, most), clients)


def idle(session: Session, _: float) -> Figures:
    """Measure CPU per new connection, memory per idle client and CPU of all idle clients.

    Of Socket.IO also the CPU of a connection with a subscription.
    """
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
    load.command("close")
    subscribed = _subscribed(session) if server.peer.protocol == "socketio" else {}
    return Figures(
        {
            **subscribed,
            "connect_cpu_us": cpu / clients * 1e6,
            "connections_per_s": clients / took,
            "pss_kib": (after.pss - before.pss) / clients / 1024,
            "uss_kib": (after.uss - before.uss) / clients / 1024,
            "rss_kib": (after.rss - before.rss) / clients / 1024,
            "idle_cpu_percent": resting / _IDLE_SECONDS * 100,
        }
    )


def _subscribed(session: Session) -> dict[str, float]:
    """Return the cost of connections with a subscription.

    `storm_s` is the time until all clients are back at once. Those of Tickwire, which alone has
    `since`, have all missed prices then.
    """
    server, clients = session.server, len(session.plans)
    costs = connections.measure(server, session.feed.instruments[:1], clients)
    found = {name: costs[name] for name in ("one_cpu_us", "some_cpu_us", "all_cpu_us")}
    if not server.peer.greeting:
        return {**found, "storm_s": clients / costs["all_per_s"]}
    position = session.feed.stamped(1)
    session.feed.stamped(_MISSED)
    storm = connections.returning(server, [position], _MISSED, clients)
    return {**found, "storm_s": clients / storm["storm_all_per_s"], "storm_cpu_us": storm["storm_all_cpu_us"]}


def stalled(session: Session, seconds: float) -> Figures:
    """Measure the memory of clients that stop reading, and the latency of the others.

    The memory includes the kernel's. The control is the same run before the stall. The clients that
    stop have an instrument of their own, which fills their queues. One further client reads it, and
    shows the progress.
    """
    server, load = session.server, session.load
    load.connect(session.plans)
    reading = [plan for plan in session.plans if not plan.stalls]
    own = session.feed.of(reading[-1].pairs)
    control = _steady(session, seconds, session.plans)
    full_log = _flood(session, DRAIN_SECONDS, len(session.plans) - len(reading) + 1, own, _LOG_MESSAGES)
    before, kernel = server.memory(), kernel_bytes()
    count = load.command("stall")["stalled"]
    fill = _flood(session, DRAIN_SECONDS, 1, own, _FILL_MESSAGES)
    others = _steady(session, seconds, reading)
    after, kernel = server.memory(), kernel_bytes() - kernel
    phases = {"before the stall": control, "with a full log": full_log, "while filling": fill, "with stalled clients": others}
    figures = _joined(phases)
    figures.values = {f"others_{name}": others.values[name] for name in ("p50_ms", "p99_ms", "cpu_us") if name in others.values}
    figures.values["growth_kib"] = (after.uss - before.uss) / count / 1024
    figures.values["kernel_kib"] = kernel / count / 1024
    figures.values["stalled_kib"] = figures.values["growth_kib"] + figures.values["kernel_kib"]
    if "p99_ms" in control.values and "p99_ms" in others.values:
        figures.values["before_p99_ms"] = control.values["p99_ms"]
        figures.values["p99_ratio"] = others.values["p99_ms"] / control.values["p99_ms"]
    return figures


def kernel_bytes() -> int:
    """Return the bytes of all TCP sockets of this machine, their overhead included."""
    with open("/proc/net/sockstat") as file:
        [line] = (line.split() for line in file if line.startswith("TCP:"))
    return int(line[line.index("mem") + 1]) * resource.getpagesize()


def many(session: Session, seconds: float) -> Figures:
    """Measure the cost of a message, latency and loss at 10,000 and 25,000 messages/s."""
    session.load.connect(session.plans)
    phases = {}
    for name, per_beat in (("10k", 100), ("25k", 250)):
        session.feed.per_beat = per_beat
        phases[name] = phase = _steady(session, seconds, session.plans)
        wanted, done = per_beat / session.feed.beat, phase.values["published_per_s"]
        lost = round(phase.values["published"] * len(session.plans) * (1 - phase.values["delivered_percent"] / 100))
        if done < _ON_TIME * wanted:
            phase.notes.append(f"the publisher reached {done:,.0f} of {wanted:,.0f} messages/s; {lost} lost")
        else:
            phase.values["lost"] = lost
    figures = _joined(phases)
    for name, phase in phases.items():
        keys = ("lost", "message_us", "p99_ms", "published_per_s")
        figures.values |= {f"{key}_{name}": phase.values[key] for key in keys if key in phase.values}
    return figures


def churn(session: Session, seconds: float) -> Figures:
    """Measure the cost of a delivery while clients come and go.

    The cost of their connections is measured without messages and subtracted.
    """
    session.load.connect(session.plans)
    alone = _steady(session, seconds, session.plans)
    resting, visits = _visited(session, seconds, lambda: time.sleep(seconds))
    if not visits:
        raise BenchError("no client connects beside the others")
    connection = resting / visits
    session.load.command("begin")
    cpu, visits = _visited(session, seconds, lambda: session.feed.steady(round(seconds / session.feed.beat)))
    report = session.load.command("report")
    figures = _joined({"without visitors": alone})
    figures.faults += _faults(report)
    with_visits = (cpu - connection * visits) / report["received"] * 1e6
    figures.values = {
        "alone_us": alone.values["cpu_us"],
        "churn_us": with_visits,
        "visit_cpu_us": connection * 1e6,
        "visits": visits,
    }
    if visits < _ON_TIME * _VISITS_PER_S * seconds:
        figures.notes.append(f"{visits} of {_VISITS_PER_S * seconds:.0f} visitors")
    else:
        figures.values["churn_ratio"] = with_visits / alone.values["cpu_us"]
    return figures


def _visited(session: Session, seconds: float, work: Callable[[], object]) -> tuple[float, int]:
    """Return the CPU seconds of the server and the number of visitors during `work`."""
    load, plan = session.load, asdict(session.plans[0])
    cpu = session.server.cpu()
    load.command("visit", per_second=_VISITS_PER_S, seconds=seconds / 4, plan={**plan, "visits": True})
    work()
    visits = load.command("visit", per_second=0)["visits"]
    received = -1  # the last deliveries, and the ends of the visitors' connections, belong to the work
    while received != load.received:
        received = load.received
        time.sleep(_SETTLE_SECONDS / 8)
    return session.server.cpu() - cpu, visits


def _joined(phases: Mapping[str, Figures]) -> Figures:
    """Return the notes and the faults of phases, without values."""
    return Figures(
        notes=[f"{when}: {note}" for when, phase in phases.items() for note in phase.notes],
        faults=[f"{when}: {fault}" for when, phase in phases.items() for fault in phase.faults],
    )
