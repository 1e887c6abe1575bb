"""Guessed credentials: 10,000 bad keys and 10,000 bad tokens, sent as fast as the hub answers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from tests.bench.access.credentials import SYMMETRIC, add_keys, token_settings
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.floods import Others
from tests.bench.servers import PEERS, ROOT

_COUNT = 10_000
_IDLE_SECONDS = 4.0

ACCEPTED = Bar("accepted", 0.0)
TRACEBACKS = Bar("tracebacks", 0.0)
CPU = Bar("CPU of the hub beyond that of the other clients, s", 2.0)
RATIO = Bar("p99 of another client ÷ its idle p99", 1.5)
LINES = Bar("lines in the log", 20.0)


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    add_keys(place, 1)
    log = place.folder / "tickwire.log"
    count, total = _COUNT // (10 if quick else 1), 0.0
    with place.server(PEERS["tickwire"], token_settings(SYMMETRIC, place.folder)) as server, Others(server.port) as others:
        others.measure(0.5)  # warms up
        before = log.read_text(errors="replace")
        for kind in ("keys", "tokens"):
            cpu = server.cpu()
            idle = others.measure(_IDLE_SECONDS)
            idle_cpu = (server.cpu() - cpu) / _IDLE_SECONDS
            argv = [sys.executable, "-m", "tests.bench.access.guesser", str(server.port), kind, str(count)]
            with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attack:
                assert attack.stdout is not None
                attack.stdout.readline()
                cpu, began = server.cpu(), time.monotonic()
                assert attack.stdin is not None
                attack.stdin.write("\n")
                attack.stdin.flush()
                during = []
                while attack.poll() is None:
                    during.append(others.round_trip())
                seconds = time.monotonic() - began
                used = server.cpu() - cpu - idle_cpu * seconds
                accepted = int(attack.stdout.read())
            during.sort()
            case, total = f"{count} bad {kind}", total + used
            yield Measured(case, float(accepted), ACCEPTED)
            yield Measured(case, during[int(len(during) * 0.99)] * 1000 / idle[1], RATIO)
            yield Measured(case, used, text=CPU.text)
            yield Measured(case, seconds, text="seconds of the attack")
        after = log.read_text(errors="replace")[len(before) :]
    yield Measured("both", total * _COUNT / count, CPU)
    yield Measured("both", float(after.count("Traceback")), TRACEBACKS)
    yield Measured("both", float(len(after.splitlines())), LINES)


PART = Part("Guessed credentials", _run)
