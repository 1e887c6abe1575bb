"""The shapes once more in a network namespace, with the kernel's receive side on another CPU.

On the loopback a sender pays for the receiver: the kernel runs the receive softirq within the
sender's `send()`. In a namespace of its own, `rps_cpus` of its loopback moves that part to the CPU
of the load generator. This is nearer to a server with a network card.

    python -m tests.bench.receive_side OPTIONS_AS_JSON FILE

This command runs inside the namespace and writes the runs as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tests.bench import fanout
from tests.bench.measure import Figures
from tests.bench.servers import ROOT
from tests.bench.shapes import RECEIVE_PEERS, RECEIVE_ROUNDS

_MASK = Path("/sys/class/net/lo/queues/rx-0/rps_cpus")
_ENTER = 'ip link set lo up && mount -t sysfs sysfs /sys && exec "$@"'
_UNSHARE = ("unshare", "--net", "--mount", "sh", "-c", _ENTER, "sh")


def unavailable() -> str | None:
    """Return the reason why there is no such namespace, or None."""
    if len(os.sched_getaffinity(0)) < 2:
        return "one CPU"
    if missing := [name for name in ("unshare", "ip") if shutil.which(name) is None]:
        return f"{missing[0]} is not installed"
    done = subprocess.run([*_UNSHARE, "test", "-w", str(_MASK)], capture_output=True, text=True, timeout=30)
    return None if done.returncode == 0 else f"no right to make a network namespace: {done.stderr.strip() or 'rps_cpus is read-only'}"


def run(options: fanout.Options, shapes: Sequence[str]) -> list[fanout.Run]:
    """Run these shapes if they are among those of the options; the log goes to stderr."""
    less = replace(
        options,
        shapes=tuple(key for key in options.shapes if key in shapes),
        peers=tuple(key for key in options.peers if key in RECEIVE_PEERS),
        rounds=min(options.rounds, RECEIVE_ROUNDS),
    )
    if not less.shapes or not less.peers:
        return []
    with tempfile.NamedTemporaryFile("r") as file:
        argv = [*_UNSHARE, sys.executable, "-m", "tests.bench.receive_side", json.dumps(asdict(less)), file.name]
        subprocess.run(argv, cwd=ROOT, check=True)
        return [fanout.Run(each["shape"], each["peer"], each["round"], Figures(**each["figures"])) for each in json.load(file)]


def main(options_text: str, file: str) -> None:
    """Run inside the namespace."""
    given = json.loads(options_text)
    options = fanout.Options(**{**given, "shapes": tuple(given["shapes"]), "peers": tuple(given["peers"])})
    with fanout.ground(options.pin) as place:
        _MASK.write_text(f"{sum(1 << cpu for cpu in place.cores.others):x}")
        runs = [asdict(run) for run in fanout.run_all(place, options)]
    Path(file).write_text(json.dumps(runs))


if __name__ == "__main__":
    main(*sys.argv[1:])
