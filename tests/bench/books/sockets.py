"""Books from the bus to the sockets of 500 clients, against Node, and beside stalled clients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from statistics import median
from typing import Any

import click

from db.bus import Bus
from tests.bench import npm
from tests.bench.bars import Bar, Measured, Part
from tests.bench.books.publisher import BEAT_SECONDS, DEPTH, INSTRUMENTS, BookFeed
from tests.bench.client import Plan
from tests.bench.control import LoadGenerator
from tests.bench.fanout import Ground
from tests.bench.measure import Figures, Session
from tests.bench.servers import PEERS, BenchError

NODE = Bar("hub: p99 from message to socket ÷ Socket.IO on Node", 0.5)
MEMORY = Bar("KiB of memory growth per stalled client", 256)
SNAPSHOTS = Bar("snapshots of stalled clients ÷ holes in their chains", 1)
EACH = Bar("snapshots per stalled client and book", 1, at_least=True)
OTHERS = Bar("p99 of the others ÷ without stalled clients", 1.1)
CLIENTS, _STALLED_EVERY = 500, 10
_SECONDS, _QUICK_SECONDS = 8.0, 2.0
_PAIRS, _WARM_SECONDS, _REST_SECONDS, _DRAIN_SECONDS = 3, 1.0, 2.0, 60.0
_FILL_MESSAGES = 3_000  # of all books together, more than the kernel buffers
_PATIENT = {"OUTBOX_TIMEOUT": "300", "WEBSOCKET_PING_INTERVAL": "300"}  # a stalled client answers no ping
_WINDOW = 24
_CASE = f"{CLIENTS} clients on {len(INSTRUMENTS)} books of depth {DEPTH}, 10 Hz"


@contextmanager
def _session(place: Ground, key: str, stalled_every: int = 0) -> Iterator[tuple[Session, BookFeed]]:
    """A server with its clients, and the first snapshots on the bus."""
    place.empty_bus()
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(INSTRUMENTS, "crypto"))
        feed = BookFeed(bus)
        feed.begin()
        with place.server(PEERS[key], _PATIENT) as server, LoadGenerator() as load:
            plans = [
                Plan(
                    port=server.port,
                    protocol="socketio",
                    books=INSTRUMENTS,
                    depth=DEPTH,
                    greeting=server.peer.greeting,
                    stalls=bool(stalled_every) and client % stalled_every == 0,
                )
                for client in range(CLIENTS)
            ]
            load.connect(plans)
            yield Session(server, load, feed, plans), feed


def _steady(session: Session, feed: BookFeed, seconds: float, clients: int = CLIENTS) -> Figures:
    session.phase(lambda: feed.steady(round(_WARM_SECONDS / BEAT_SECONDS)), clients)
    return _checked(session.phase(lambda: feed.steady(round(seconds / BEAT_SECONDS)), clients))


def _checked(figures: Figures) -> Figures:
    if figures.faults:
        raise BenchError("; ".join(figures.faults))
    return figures


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    if missing := npm.NODE.install():
        click.echo(f"without Socket.IO on Node: {missing}", err=True)
    found: dict[str, list[Figures]] = {key: [] for key in (("tickwire",) if missing else ("tickwire", "node"))}
    for number in range(1 if quick else _PAIRS):
        for key in list(found) if number % 2 else reversed(found):
            with _session(place, key) as (session, feed):
                found[key].append(_steady(session, feed, _QUICK_SECONDS if quick else _SECONDS))
    for key, each in found.items():
        for name, unit in (("p50_ms", "p50, ms"), ("p99_ms", "p99, ms"), ("cpu_us", "CPU per delivery, µs")):
            yield Measured(_CASE, median(one.values[name] for one in each), text=f"{PEERS[key].label}: {unit}")
    if not missing:
        ratios = [ours.values["p99_ms"] / other.values["p99_ms"] for ours, other in zip(found["tickwire"], found["node"], strict=True)]
        yield Measured(_CASE, median(ratios), NODE)


def _run_stalled(place: Ground, quick: bool) -> Iterator[Measured]:
    case = f"{CLIENTS // _STALLED_EVERY} of {CLIENTS} clients on {len(INSTRUMENTS)} books stop reading"
    seconds = _QUICK_SECONDS if quick else _SECONDS
    with _session(place, "tickwire", _STALLED_EVERY) as (session, feed):
        control = _steady(session, feed, seconds)
        before = session.server.memory()
        stalled = session.load.command("stall")["stalled"]
        reading = CLIENTS - stalled
        _checked(session.phase(lambda: feed.flood(60.0, _WINDOW, lambda: session.load.received // reading, _FILL_MESSAGES), reading))
        others = _steady(session, feed, seconds, reading)
        grown = (session.server.memory().uss - before.uss) / stalled / 1024
        snapshots, holes = _snapshots_after(session)
    yield Measured(case, grown, MEMORY)
    yield Measured(case, snapshots / max(1, holes), SNAPSHOTS)
    yield Measured(case, snapshots / stalled / len(INSTRUMENTS), EACH)
    yield Measured(case, control.values["p99_ms"], text="p99 without stalled clients, ms")
    yield Measured(case, others.values["p99_ms"] / control.values["p99_ms"], OTHERS)


def _snapshots_after(session: Session) -> tuple[int, int]:
    """Let the stalled clients read everything; return their snapshots and holes.

    A socket that accepts data during the stall takes a snapshot; the next hole begins after it.
    """
    before = session.load.command("report")
    session.load.command("resume")
    report: dict[str, Any] = {"snapshots": -1, "received": -1}
    rests, deadline = False, time.monotonic() + _DRAIN_SECONDS
    while not rests and time.monotonic() < deadline:
        time.sleep(_REST_SECONDS)
        last, report = report, session.load.command("report")
        rests = all(last[name] == report[name] for name in ("snapshots", "received"))
    if report["problem_count"]:
        raise BenchError(f"after the stall: {report['problems'][0]}")
    return report["snapshots"] - before["snapshots"], report["holes"] - before["holes"]


PART = Part("From the message to the socket", _run)
STALLED_PART = Part("Stalled clients", _run_stalled)
