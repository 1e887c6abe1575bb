"""REST beside slow clients, and under malformed requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from db.bus import Bus
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.reads import SYMBOL, web
from tests.bench.slow_clients import SLOW_CONNECTIONS, live_latencies, requests_per_second, slow_connections
from tests.support.malformed import bad_answers, requests

_SEED = 20260101
_MALFORMED = 100_000
_DEADLINE_SECONDS = 13.0  # the slow connections are closed and replaced within this time
_PATH = f"/price/latest?symbol={SYMBOL}"

LATENCY = Bar("longest `/health/live`, ms", 100.0)
RATIO = Bar("`/price/latest` per second ÷ without slow connections", 0.8, at_least=True)
BAD = Bar("answers of 500, and tracebacks", 0.0)


def _prices(place: Ground) -> None:
    """Put one price on an empty bus."""
    place.empty_bus()
    bus = Bus(place.redis_url, lambda: datetime.now(UTC))
    bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
    bus.cache_price(SYMBOL, bid="1.0945", ask="1.0947", mid="1.0946", time=datetime.now(UTC))
    bus.close()


def _slow(place: Ground, quick: bool) -> Iterator[Measured]:
    _prices(place)
    seconds = 2.0 if quick else 4.0
    case = f"{SLOW_CONNECTIONS} slow connections"
    with web(place, "tickwire") as (port, _):
        requests_per_second(port, _PATH, 1.0)  # warms up
        yield Measured("no slow connections", max(live_latencies(port, seconds)) * 1000, text=LATENCY.text)
        before = requests_per_second(port, _PATH, seconds)
        yield Measured("no slow connections", before, text="`/price/latest` per second")
        with slow_connections(port):
            yield Measured(case, max(live_latencies(port, _DEADLINE_SECONDS)) * 1000, LATENCY)
            during = requests_per_second(port, _PATH, seconds)
        after = requests_per_second(port, _PATH, seconds)
        yield Measured(case, during * 2 / (before + after), RATIO)


def _malformed(place: Ground, quick: bool) -> Iterator[Measured]:
    _prices(place)
    count = _MALFORMED // (20 if quick else 1)
    with web(place, "tickwire") as (port, _):
        bad = len(bad_answers(port, requests(_SEED, count)))
    tracebacks = (place.folder / "tickwire.log").read_text(errors="replace").count("Traceback")
    yield Measured(f"{count} malformed requests", float(bad + tracebacks), BAD)


SLOW = Part("REST beside slow clients", _slow)
MALFORMED = Part("Malformed requests to REST", _malformed)
