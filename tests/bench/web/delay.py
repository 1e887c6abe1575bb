"""From the publication of a price to its text in a frame, for the visible rows."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.web import feeder
from tests.bench.web.chromium import dashboard
from tests.bench.web.site import Site, site
from tests.bench.web.waiting import percentile, seconds_of

_CASE = "500 × 5 Hz, without `max_rate`"
_AT_RATE = "500 × 5 Hz, `max_rate` 5"
_P95 = Bar("published → text on screen, p95, ms", 80)
_FULL_RATE = "() => { for (const symbol of tickwire.store.symbols) tickwire.hub.fullRate(symbol); }"


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    with site(place, 500) as running, feeder.prices(place.redis_url, running.symbols, 5):
        delays = _delays(running, quick, at_rate=True)
        for share in (0.5, 0.95):
            yield Measured(_AT_RATE, percentile(delays, share), text=f"published → text on screen, p{share * 100:.0f}, ms")
        delays = _delays(running, quick, at_rate=False)
        yield Measured(_CASE, percentile(delays, 0.5), text="published → text on screen, p50, ms")
        yield Measured(_CASE, percentile(delays, 0.95), _P95)


def _delays(running: Site, quick: bool, *, at_rate: bool) -> list[float]:
    """Return the milliseconds of each price.

    The rate of the page lets a price wait for the next tick of its slot, at most 200 ms. The goal
    is about the delivery and the page, so that it is measured without the rate.
    """
    with dashboard(running, quick) as page:
        if not at_rate:
            page.page.evaluate(_FULL_RATE)
            page.page.wait_for_timeout(3000)
        page.page.evaluate("() => { bench.delaying = true; }")
        found: list[float] = page.watch(seconds_of(quick)).probe["delays"]
    return found


PART = Part("Published → text on screen", _run)
