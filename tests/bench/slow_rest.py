"""REST beside slow clients, and under malformed requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median

from db.bus import Bus
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.reads import SYMBOL, web
from tests.bench.slow_clients import SLOW_CONNECTIONS, live_latencies, requests_per_second, slow_connections
from tests.support.malformed import bad_answers, requests

_SEED = 20260101
_MALFORMED = 100_000
_DEADLINE_SECONDS = 13.0  # the slow connections are closed and replaced within this time
_RATE_SECONDS = 1.5  # short, so that other load of the machine affects both rates of a pair
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
    case = f"{SLOW_CONNECTIONS} slow connections"
    with web(place, "tickwire") as (port, _):
        requests_per_second(port, _PATH, 1.0)  # warms up
        yield Measured("no slow connections", max(live_latencies(port, 2.0)) * 1000, text=LATENCY.text)
        with slow_connections(port):
            yield Measured(case, max(live_latencies(port, _DEADLINE_SECONDS)) * 1000, LATENCY)
        pairs = [_rates(port) for _ in range(3 if quick else 7)]
        yield Measured("no slow connections", median(before for before, _ in pairs), text="`/price/latest` per second")
        yield Measured(case, median(during / before for before, during in pairs), RATIO)


def _rates(port: int) -> tuple[float, float]:
    """Return the rates without slow connections and, right after it, with them."""
    before = requests_per_second(port, _PATH, _RATE_SECONDS)
    with slow_connections(port):
        return before, requests_per_second(port, _PATH, _RATE_SECONDS)


def _malformed(place: Ground, quick: bool) -> Iterator[Measured]:
    _prices(place)
    count = _MALFORMED // (20 if quick else 1)
    with web(place, "tickwire") as (port, _):
        bad = len(bad_answers(port, requests(_SEED, count)))
    tracebacks = (place.folder / "tickwire.log").read_text(errors="replace").count("Traceback")
    yield Measured(f"{count} malformed requests", float(bad + tracebacks), BAD)


SLOW = Part("REST beside slow clients", _slow)
MALFORMED = Part("Malformed requests to REST", _malformed)
