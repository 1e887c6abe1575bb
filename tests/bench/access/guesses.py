"""Guessed credentials: 10,000 bad keys and 10,000 bad tokens, sent as fast as the hub answers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from tests.bench.access.credentials import SYMMETRIC, add_keys, token_settings
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.floods import Others
from tests.bench.servers import PEERS, ROOT, Server

_COUNT = 10_000
_IDLE_SECONDS = 4.0

ACCEPTED = Bar("accepted", 0.0)
TRACEBACKS = Bar("tracebacks", 0.0)
CPU = Bar("CPU of the hub beyond that of the other clients, s", 2.0)
RATIO = Bar("p99 of another client ÷ its idle p99", 1.5)
LINES = Bar("lines in the log", 20.0)


class _Attack(NamedTuple):
    accepted: int
    ratio: float  # p99 of another client ÷ its idle p99
    cpu: float  # seconds of the hub
    seconds: float


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    add_keys(place, 1)
    log = place.folder / "tickwire.log"
    count, total = _COUNT // (10 if quick else 1), 0.0
    with place.server(PEERS["tickwire"], token_settings(SYMMETRIC, place.folder)) as server, Others(server.port) as others:
        others.measure(0.5)  # warms up
        before = log.read_text(errors="replace")
        for kind in ("keys", "tokens"):
            attack = _attack(server, others, kind, count)
            case, total = f"{count} bad {kind}", total + attack.cpu
            yield Measured(case, float(attack.accepted), ACCEPTED)
            yield Measured(case, attack.ratio, RATIO)
            yield Measured(case, attack.cpu, text=CPU.text)
            yield Measured(case, attack.seconds, text="seconds of the attack")
        single = _attack(server, others, "single-keys", count // 10)
        yield Measured("bad keys, one connection each", single.cpu / (count // 10) * 1e6, text="CPU per key, µs")
        after = log.read_text(errors="replace")[len(before) :]
    yield Measured("both", total * _COUNT / count, CPU)
    yield Measured("both", float(after.count("Traceback")), TRACEBACKS)
    yield Measured("both", float(len(after.splitlines())), LINES)


def _attack(server: Server, others: Others, kind: str, count: int) -> _Attack:
    cpu = server.cpu()
    idle = others.measure(_IDLE_SECONDS)
    idle_cpu = (server.cpu() - cpu) / _IDLE_SECONDS
    argv = [sys.executable, "-m", "tests.bench.access.guesser", str(server.port), kind, str(count)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guesser:
        assert guesser.stdout is not None
        guesser.stdout.readline()
        cpu, began = server.cpu(), time.monotonic()
        assert guesser.stdin is not None
        guesser.stdin.write("\n")
        guesser.stdin.flush()
        during = []
        while guesser.poll() is None:
            during.append(others.round_trip())
        seconds = time.monotonic() - began
        used = server.cpu() - cpu - idle_cpu * seconds
        accepted = int(guesser.stdout.read())
    during.sort()
    return _Attack(accepted, during[int(len(during) * 0.99)] * 1000 / idle[1], used, seconds)


PART = Part("Guessed credentials", _run)
