"""One publisher as fast as it can: prints its messages, their rate, and its CPU per message.

    publish_child.py URL SHARDS SECONDS INSTRUMENT …

It runs with the code of the checkout in PYTHONPATH, which may be an older one without shards.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

from db.bus import Bus
from db.messages import Tick
from db.timestamps import format_time

_BATCH = 100
_WARM_BATCHES = 10


def main(url: str, shards: int, seconds: float, instruments: list[str]) -> None:
    """Publish batches of 100 prices, the instruments in turn."""
    options = {}
    if shards > 1:
        from db.bus import BusSetup

        options = {"setup": BusSetup(shards=shards)}
    bus = Bus(url, lambda: datetime.now(UTC), **options)
    bus.set_instruments(dict.fromkeys(instruments, "fx"))
    number = batches = 0

    def publish() -> None:
        nonlocal number
        now, ticks = format_time(datetime.now(UTC)), []
        for _ in range(_BATCH):
            number += 1
            price = f"1.0{number % 10_000:04}"
            ticks.append(Tick(instruments[number % len(instruments)], bid=price, ask=price, mid=price, time=now, source="bench"))
        bus.publish_prices(ticks)

    for _ in range(_WARM_BATCHES):
        publish()
    began, cpu = time.monotonic(), time.process_time()
    while not batches or time.monotonic() < began + seconds:
        publish()
        batches += 1
    measured = batches * _BATCH
    row = {"per_s": measured / (time.monotonic() - began), "cpu_us": (time.process_time() - cpu) / measured * 1e6, "messages": number}
    print(json.dumps(row))
    bus.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
