"""A publisher for tests of faults: a process that publishes as a source does, and its record.

    python -m tests.support.cluster_publisher SETUP FILE

SETUP is JSON: `name`, `setup` (the fields of `BusSetup`) and `instruments`. Each batch is published
again under its number until it is accepted; then a line goes to FILE: instrument, epoch, seq and
the volume of the price, which no other price has. The process ends with its standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from db.bus import Bus, BusError, BusSetup
from db.messages import Tick
from db.timestamps import utc_now

ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_SECONDS = 1.0  # of one request
_PAUSE_SECONDS = 0.05  # before a repeat


class Accepted(NamedTuple):
    """A price that was accepted."""

    instrument: str
    epoch: str
    seq: int
    volume: str


def publish(name: str, setup: BusSetup, instruments: Sequence[str], stop: threading.Event, note: Callable[[Accepted], None]) -> None:
    """Publish prices of the instruments until `stop`; call `note` with each accepted one.

    `name` is a digit, the first of each volume.
    """
    with closing(Bus("", utc_now, setup=setup, timeout=_TIMEOUT_SECONDS)) as bus:
        number = 0
        while not stop.is_set():
            number += 1
            batch = [
                Tick(each, "1.1", "1.3", "1.2", "2025-11-18T12:30:00.000000Z", "test", f"{name}{number:08}.{place}")
                for place, each in enumerate(instruments)
            ]
            while not stop.is_set():
                try:
                    stamps = bus.publish_prices(batch, f"{name}/{number}")
                except BusError as error:
                    print(f"{time.monotonic():.2f} {number} {error}", file=sys.stderr, flush=True)
                    stop.wait(_PAUSE_SECONDS)
                    continue
                for tick, stamp in zip(batch, stamps, strict=True):
                    note(Accepted(tick.instrument, stamp.epoch, stamp.seq, str(tick.volume)))
                break


class Publisher:
    """A running publisher. `accepted` are the prices that it has noted so far."""

    def __init__(self, process: subprocess.Popen[bytes], file: Path) -> None:
        self._process, self._file = process, file

    def accepted(self) -> list[Accepted]:
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return [Accepted(name, epoch, int(seq), volume) for name, epoch, seq, volume in map(str.split, lines)]

    def stop(self) -> list[Accepted]:
        """End it after the batch that it publishes; return all accepted prices."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(60)
        return self.accepted()


@contextmanager
def publishing(
    folder: Path, name: str, setup: BusSetup, instruments: Sequence[str], argv: Callable[..., Sequence[str]] = lambda *words: words
) -> Iterator[Publisher]:
    """Run a publisher for the block; `argv` runs it on another host."""
    file = folder / f"{name}.accepted"
    described = json.dumps({"name": name, "setup": asdict(setup), "instruments": list(instruments)})
    words = argv(sys.executable, "-m", "tests.support.cluster_publisher", described, str(file))
    with (folder / f"{name}.errors").open("wb") as errors:
        process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stderr=errors)
    try:
        yield Publisher(process, file)
    finally:
        process.kill()
        process.wait()


def main(described: str, file: str) -> None:
    """Publish until the standard input ends."""
    chosen = json.loads(described)
    setup = BusSetup(**{**chosen["setup"], "seeds": tuple(chosen["setup"]["seeds"])})
    stop = threading.Event()
    with Path(file).open("a", buffering=1) as out:

        def note(price: Accepted) -> None:
            out.write(" ".join(map(str, price)) + "\n")

        arguments = (chosen["name"], setup, chosen["instruments"], stop, note)
        thread = threading.Thread(target=publish, args=arguments)
        thread.start()
        sys.stdin.buffer.read()
        stop.set()
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
